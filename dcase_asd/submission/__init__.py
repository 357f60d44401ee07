"""Scores -> the packaged entry, and all that is wrong with one."""
