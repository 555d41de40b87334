"""The prototype classifier, its towers, X-CLIP and the released checkpoints."""
