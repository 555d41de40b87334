"""One configured run: its data, its trained models, its records."""
