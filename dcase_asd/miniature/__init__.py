"""A generated miniature of the challenge."""
