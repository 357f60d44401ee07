"""Anomalous sound detection for machine condition monitoring, from data to challenge package."""

__version__ = "0.1.0"
