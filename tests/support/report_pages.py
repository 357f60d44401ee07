"""Reports without resampling, and the words of their pages."""

from __future__ import annotations

import re

from dcase_asd.reports.report import report as step


def report(runs, edition, ground_truth=None, out=None, **options):
    runs = [runs] if hasattr(runs, "name") else runs
    return step(runs, edition, ground_truth, out, **{"resamples": 0, **options})


def words(page):
    """The text of a page, with the alternatives of its pictures."""
    text = page.read_text(encoding="utf-8")
    text = re.sub(r"<style>.*?</style>", "", text, flags=re.DOTALL)
    return re.sub(r"\s+", " ", text)
