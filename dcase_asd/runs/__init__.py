"""Recipes -> results: every step in order, each doing only what is not done yet."""
