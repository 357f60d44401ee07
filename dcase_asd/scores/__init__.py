"""Embeddings -> anomaly scores."""
