"""What a model uses: other texts, other frames, minimal pairs."""
