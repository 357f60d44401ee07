"""Whole runs: the steps in order, each doing only what is not done yet."""

from dcase_asd.pipeline.demo import DEMO_EDITION, Demo, make_demo_data, run_demo
from dcase_asd.pipeline.recipes import is_submission
from dcase_asd.pipeline.submission import Submission, Submissions, check_recipes, run_submissions
from dcase_asd.pipeline.systems import Setup, SystemRun, finetune_recipe, run_recipe

__all__ = [
    "DEMO_EDITION", "Demo", "Setup", "Submission", "Submissions", "SystemRun", "check_recipes",
    "finetune_recipe", "is_submission", "make_demo_data", "run_demo", "run_recipe",
    "run_submissions",
]  # fmt: skip
