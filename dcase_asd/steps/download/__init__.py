"""Fetch what the challenge publishes into the official data tree."""

from dcase_asd.steps.download.files import PlannedFile, Request
from dcase_asd.steps.download.labels import LabelPlan, fetch_labels, plan_labels
from dcase_asd.steps.download.plan import Plan, plan_download
from dcase_asd.steps.download.run import Outcome, download

__all__ = [
    "LabelPlan",
    "Outcome",
    "Plan",
    "PlannedFile",
    "Request",
    "download",
    "fetch_labels",
    "plan_download",
    "plan_labels",
]
