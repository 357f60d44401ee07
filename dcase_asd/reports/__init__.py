"""Runs -> one page, and its pictures."""
