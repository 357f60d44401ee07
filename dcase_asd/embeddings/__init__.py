"""Recordings -> embeddings, machine by machine."""
