"""Scores, results, fusions and training of runs -> pictures, and one page that shows them."""

from __future__ import annotations

from dcase_asd.steps.report.run import Reported, report

__all__ = ["Reported", "report"]
