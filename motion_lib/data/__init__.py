"""Video to frames to clips to batches; data sets in their layouts; the frame cache; downloads."""
