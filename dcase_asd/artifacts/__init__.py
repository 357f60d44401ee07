"""What the steps leave on disk: whole or absent, with provenance, its marker written last."""
