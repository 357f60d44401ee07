"""One year of the challenge, read from its TOML file; the only door to such facts."""

from __future__ import annotations

import difflib
import re
import tomllib
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import resources
from typing import Any, Literal

from dcase_asd.editions.publication import (
    LabelSource,
    Part,
    Record,
    read_label_source,
    read_records,
)
from dcase_asd.errors import EditionError, nearest_name

Stage = Literal["dev", "eval"]
Metric = Literal["2020", "2021", "2022"]
SubCenterRule = Literal["all", "without_attributes", "none"]

STAGE_FOLDERS: dict[str, Stage] = {"dev_data": "dev", "eval_data": "eval"}
"""Folder of the official data tree -> stage."""


@dataclass(frozen=True)
class TrainingRules:
    """Which editions' recordings may be trained on, mixed in as noise or choose checkpoints.

    `certain` is false where the year's rule was not found, so that another edition may be allowed
    all the same; `source` says who says so. No editions: anything may be trained on.
    """

    editions: tuple[str, ...] = ()
    certain: bool = True
    source: str = ""


@dataclass(frozen=True)
class SubmissionRules:
    """What a challenge package of an edition looks like.

    `score_file` and `decision_file` are patterns with ``{machine}``, ``{section}`` and
    (2021) ``{domain}``; `decision_file` is empty where no decisions are asked for. `results` maps
    a metric to its name in the meta file's development table. `meta_seen` is false where no meta
    file of the year was found, so that its fields are those of its neighbors.
    """

    score_file: str
    decision_file: str
    maximum_systems: int
    abbreviation_length: int
    meta_seen: bool
    description: tuple[str, ...]
    complexity: tuple[str, ...]
    external_datasets: bool
    results: dict[str, str]


@dataclass(frozen=True)
class Edition:
    """Machines, rules and metric of one year, or of a folder of one's own (`year` is None).

    `records` and `ground_truth` say what is published where: nothing, for a folder of one's own.
    """

    name: str
    year: int | None
    title: str
    metric: Metric
    class_key: Literal["section", "attributes"]
    sub_centers: SubCenterRule
    transductive: bool
    machines: dict[Stage, dict[str, tuple[str, ...]]]
    submission: SubmissionRules
    training: TrainingRules = field(default_factory=TrainingRules)
    records: dict[Part, Record] = field(default_factory=dict)
    ground_truth: LabelSource | None = None

    @property
    def official(self) -> bool:
        """Whether this is a year of the challenge."""
        return self.year is not None

    @property
    def folder(self) -> str:
        """Name of the edition's folder in the data tree: ``dcase2025t2``, or its own name."""
        return f"{self.name}t2" if self.official else self.name


def edition_name(folder: str) -> str:
    """The edition whose clips a folder of the tree holds (``dcase2025t2`` -> ``dcase2025``)."""
    return folder.removesuffix("t2") if re.fullmatch(r"dcase\d{4}t2", folder) else folder


@cache
def official_editions() -> tuple[str, ...]:
    """Names of the editions that this version knows, oldest first."""
    folder = resources.files("dcase_asd.editions")
    names = (entry.name for entry in folder.iterdir())
    return tuple(sorted(name.removesuffix(".toml") for name in names if name.endswith(".toml")))


@cache
def load_edition(name: str) -> Edition:
    """Read one edition's facts.

    Args:
        name: ``dcase2025``, ``2025``, ``dcase2025t2``, or the folder name of one's own machines.

    Returns:
        The edition; for a name that is no DCASE year, one with no machine list, AUC and pAUC
        of each machine (the metric of 2020), and the newest file formats.

    Raises:
        EditionError: The name reads as a DCASE year that does not exist.
    """
    wanted = re.sub(r"^(\d{4})$", r"dcase\1", edition_name(name.strip()))
    known = official_editions()
    if wanted in known:
        return _read(wanted)
    # A folder of one's own may be called anything but what reads as a misspelt year.
    misspelt = re.match(r"(?i)dcase", wanted) or difflib.get_close_matches(
        wanted, known, cutoff=0.8
    )
    if not wanted or misspelt:
        raise EditionError(f"there is no edition {name!r}; {nearest_name(wanted, known)}")
    newest = _read(known[-1])
    return Edition(
        name=wanted, year=None, title="recordings of one's own", metric="2020",
        class_key=newest.class_key, sub_centers=newest.sub_centers, transductive=True,
        machines={"dev": {}, "eval": {}},
        submission=replace(newest.submission, results={"auc": "auc", "pauc": "pauc"}),
    )  # fmt: skip


def _read(name: str) -> Edition:
    source = resources.files("dcase_asd.editions") / f"{name}.toml"
    facts: dict[str, Any] = tomllib.loads(source.read_text(encoding="utf-8"))
    lists = {"submission": ("description", "complexity"), "training": ("editions",)}
    tables = {
        table: facts[table] | {name: tuple(facts[table][name]) for name in names}
        for table, names in lists.items()
    }
    machines = {
        stage: {machine: tuple(sections) for machine, sections in machines.items()}
        for stage, machines in facts["machines"].items()
    }
    read: dict[str, Any] = {
        "machines": machines,
        "submission": SubmissionRules(**tables["submission"]),
        "training": TrainingRules(**tables["training"]),
        "records": read_records(facts["records"]),
        "ground_truth": read_label_source(facts["ground_truth"]),
    }
    return Edition(**(facts | read))
