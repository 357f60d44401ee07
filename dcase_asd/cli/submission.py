"""Commands that are on their way."""
