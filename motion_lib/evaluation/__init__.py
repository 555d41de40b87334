"""Features, retrieval, metrics, intervals and protocols."""
