"""Anomalous sound detection for machine condition monitoring, from data to challenge package.

Every step of the command line is a function here (see docs/python.md). Each is imported when it is
first used, so that ``import dcase_asd`` brings neither torch nor pandas.
"""

from importlib import import_module
from typing import Any

__version__ = "0.2.0"

_HOMES = {
    "plan_download": "downloads.plan",
    "download": "downloads.download",
    "Request": "downloads.request",
    "make_demo_data": "runs.demo",
    "prepare": "clips.prepare",
    "read_manifest": "clips.manifest",
    "System": "recipe.system",
    "Embedding": "recipe.system",
    "Training": "recipe.training",
    "Pretraining": "recipe.pretraining",
    "Detector": "recipe.detector",
    "Subset": "recipe.subset",
    "Fusion": "recipe.fusion",
    "read_system": "recipe.system",
    "load_backbone": "registry",
    "pool": "backbone.time_pooling",
    "cancel_far": "embeddings.two_microphones",
    "subtract_far": "embeddings.two_microphones",
    "write_shards": "training.recordings",
    "pretrain": "training.pretrain",
    "finetune": "training.finetune",
    "embed": "embeddings.embed",
    "read_embeddings": "embeddings.store",
    "score": "scores.score",
    "read_scores": "scores.table",
    "score_embeddings": "scores.named",
    "import_scores": "submission.import_scores",
    "fuse": "fusion.fuse",
    "evaluate": "metrics.evaluate",
    "Monitor": "monitor.monitor",
    "Verdict": "monitor.verdict",
    "leaderboard": "reports.leaderboard",
    "report": "reports.report",
    "submit": "submission.submit",
    "validate": "submission.validate",
    "Setup": "runs.runner",
    "run": "runs.runner",
    "sweep": "runs.sweep",
    "Search": "runs.trials",
    "demo": "runs.demo",
}
"""Public name -> module that defines it, in the order of the pipeline."""
_NAMES = {
    "evaluate": "evaluate_run_or_folder",
    "leaderboard": "read_leaderboard",
    "run": "run_recipe",
    "sweep": "run_sweep",
    "demo": "run_demo",
}
"""What a public name is called in its module, where that is not the same."""

__all__ = [*_HOMES, "__version__"]  # noqa: PLE0604 - the names of the table are text


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'dcase_asd' has no attribute {name!r}")
    return getattr(import_module(f"dcase_asd.{_HOMES[name]}"), _NAMES.get(name, name))


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
