"""From embeddings to anomaly scores and decisions; numpy only."""
