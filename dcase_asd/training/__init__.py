"""Recordings -> fine-tuned checkpoints."""
