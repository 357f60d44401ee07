"""Scores of several systems -> those of one."""
