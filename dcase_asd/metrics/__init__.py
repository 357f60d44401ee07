"""Scores and labels -> the official result of a year."""
