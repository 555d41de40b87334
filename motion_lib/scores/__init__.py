"""Any video-text model by its name: its scores, its card, and the cards of many on one board."""
