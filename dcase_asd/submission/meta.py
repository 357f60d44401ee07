"""The meta file of a submitted system, with the fields that its year asks for.

The fields are those of meta files seen for 2020, 2021, 2022, 2025 and 2026; for the other years an
edition's TOML says which neighbors they were taken from. An empty value is written ``!!null``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from dcase_asd.editions.edition import Edition, load_edition, official_editions
from dcase_asd.embeddings.rules import published_weights, subsystem_count
from dcase_asd.errors import SubmissionError, nearest_name
from dcase_asd.metrics.evaluate import evaluate_stage
from dcase_asd.scores.table import read_provenance

Results = dict[str, dict[str, float | None]]
"""Machine -> name in the meta file -> percent, None where there are no labelled scores."""

HERTZ_IN_KILOHERTZ = 1000
PERCENT = 100
DECIMALS = 4
"""Of the percentages in the results table ("no need to round", says the official template)."""


@dataclass(frozen=True)
class Affiliation:
    """Where an author works; `location` is a city and a country."""

    institution: str
    location: str
    department: str = ""


@dataclass(frozen=True)
class Author:
    """One author; exactly one of a submission is the corresponding author."""

    lastname: str
    firstname: str
    email: str
    affiliation: Affiliation
    corresponding: bool = False


@dataclass(frozen=True)
class ExternalDataset:
    """A dataset, or pre-trained weights, from outside the challenge."""

    name: str
    url: str


@dataclass(frozen=True)
class SubmissionForm:
    """What only the authors know, as they write it in ``submissions/*.toml``.

    `description` maps a field of the meta file to comma-separated tags. One form serves every
    year: what a year does not ask for is left out of its meta file.

    `label`, `edition`, `system` (a recipe, relative to the form) and `report` (a PDF, likewise)
    say what the form is for; `dcase-asd run` needs all but the report, `submit` is told by flags.
    """

    label: str = ""
    edition: str = ""
    system: str = ""
    report: str = ""
    name: str = ""
    abbreviation: str = ""
    authors: tuple[Author, ...] = ()
    description: dict[str, str | int] = field(default_factory=dict)
    external_datasets: tuple[ExternalDataset, ...] = ()
    source_code: str = ""

    def __post_init__(self) -> None:
        corresponding = sum(author.corresponding for author in self.authors)
        if self.authors and corresponding != 1:
            raise ValueError(
                f"{corresponding} authors are marked 'corresponding = true'; mark exactly one"
            )
        editions = map(load_edition, official_editions())
        known = {name for edition in editions for name in edition.submission.description}
        for name in sorted(set(self.description) - known):
            raise ValueError(f"no year asks for description.{name}; {nearest_name(name, known)}")


@dataclass(frozen=True)
class SystemFacts:
    """What the program knows of a system.

    `sample_rate` is in Hz, None where clips are taken at their own rate; `parameters` counts all
    weights; `macs` are multiply-accumulate operations for one clip, None where nobody counted;
    `subsystems` is the number of networks, None where it is not known; `weights` are those of
    others that it starts from.
    """

    sample_rate: int | None
    parameters: int | None
    macs: int | None
    results: Results
    subsystems: int | None = None
    weights: tuple[str, ...] = ()

    def unnamed_weights(self, external_datasets: object) -> str:
        """What to say where the meta file names no external data though there is; else empty."""
        if external_datasets or not self.weights:
            return ""
        return (
            f"external_datasets is null, but the run starts from {', '.join(self.weights)}, which "
            "is external data; name it in the form's external_datasets"
        )


def build_meta(label: str, edition: Edition, form: SubmissionForm, facts: SystemFacts) -> Any:
    """The meta file's content as nested dictionaries, in the order of the official template.

    Raises:
        SubmissionError: The abbreviation is too long, or the form states what the program knows.
    """
    rules = edition.submission
    if len(form.abbreviation) > rules.abbreviation_length:
        raise SubmissionError(
            f"the abbreviation {form.abbreviation!r} has {len(form.abbreviation)} characters; "
            f"{edition.name} allows {rules.abbreviation_length}: shorten it in the form"
        )
    stated = dict(form.description)
    if facts.sample_rate is not None:
        if "input_sampling_rate" in stated:
            raise SubmissionError(
                "description.input_sampling_rate is filled in from the run; take it out of the form"
            )
        stated["input_sampling_rate"] = f"{facts.sample_rate / HERTZ_IN_KILOHERTZ:g}kHz"
    if facts.subsystems is not None and facts.subsystems > 1:  # null where there is no ensemble
        stated.setdefault("ensemble_method_subsystem_count", facts.subsystems)
    complexity = {"total_parameters": facts.parameters, "MACS": facts.macs}
    system: dict[str, Any] = {
        "description": {name: _filled(stated.get(name, "")) for name in rules.description},
        "complexity": {name: complexity[name] for name in rules.complexity},
    }
    if rules.external_datasets:
        datasets = [{"name": entry.name, "url": entry.url} for entry in form.external_datasets]
        system["external_datasets"] = datasets or None
    system["source_code"] = _filled(form.source_code)
    return {
        "submission": {
            "label": label,
            "name": _filled(form.name),
            "abbreviation": _filled(form.abbreviation),
            "authors": [_author(author) for author in form.authors] or None,
        },
        "system": system,
        "results": {"development_dataset": dict(facts.results) or None},
    }


def left_empty(meta: Any) -> list[str]:
    """Names of the fields that are null, results apart."""
    return [
        name.rpartition(".")[2]
        for name, value in _leaves({key: meta[key] for key in ("submission", "system")}, "")
        if value is None
    ]


def development_results(scores: pd.DataFrame, edition: Edition) -> Results:
    """The results table of the meta file, in percent.

    Args:
        scores: A run's scores of the edition, of which the development test clips count; their
            labels are in their names.
        edition: Its development machines are listed even where there is no score of them.

    Returns:
        The values of each machine; None where they are not defined, as for one without labels.
    """
    test = scores[(scores["stage"] == "dev") & (scores["split"] == "test")]
    listed = list(edition.machines["dev"])
    results: Results = {}
    for machine in [*listed, *sorted(set(test["machine"]) - set(listed))]:
        of_machine = test[test["machine"] == machine]
        found = evaluate_stage(of_machine, edition)
        # A machine that lacks a domain or a label has no official values: they are null.
        whole = found.evaluation if len(found.labelled) == len(of_machine) else None
        values = {} if whole is None else whole.machines[machine]
        results[machine] = {
            name: round(PERCENT * values[metric], DECIMALS) if metric in values else None
            for metric, name in edition.submission.results.items()
        }
    return results


def meta_text(meta: Any) -> str:
    """Write a meta file; every text is quoted, so that no value is taken for another type."""
    return "\n".join(_lines(meta, "")) + "\n"


def parse_meta(content: bytes) -> dict[str, Any]:
    """Read a meta file.

    Raises:
        ValueError: It is not UTF-8, not YAML, not a table at its top, or says something twice;
            with the reason.
    """
    try:
        meta = yaml.load(content.decode("utf-8"), _Loader)  # noqa: S506 - a safe loader
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"not a readable YAML file ({reason})") from error
    if not isinstance(meta, dict):
        raise ValueError("holds no table: it must begin with 'submission:'")  # noqa: TRY004
    return meta


class _Loader(yaml.SafeLoader):
    """Refuses a name that stands twice in a table, of which YAML's own loader keeps the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = [str(key.value) for key, _ in node.value]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"{', '.join(twice)} stands twice in a table")
        return super().construct_mapping(node, deep)


def _filled(value: str | int) -> str | int | None:
    text = " ".join(value.split()) if isinstance(value, str) else value
    return None if text == "" else text


def _author(author: Author) -> dict[str, Any]:
    mark = {"corresponding": True} if author.corresponding else {}
    return {
        "lastname": _filled(author.lastname),
        "firstname": _filled(author.firstname),
        "email": _filled(author.email),
        **mark,
        "affiliation": {
            "institution": _filled(author.affiliation.institution),
            "department": _filled(author.affiliation.department),
            "location": _filled(author.affiliation.location),
        },
    }


def _leaves(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, entry in value.items():
            yield from _leaves(entry, f"{name}.{key}" if name else key)
    else:
        yield name, value


def _lines(table: Mapping[str, Any], indent: str) -> Iterator[str]:
    for name, value in table.items():
        key = f"{indent}{name}:"
        if isinstance(value, dict):
            yield key
            yield from _lines(value, indent + "  ")
        elif isinstance(value, list):
            yield key
            for entry in value:
                first, *rest = _lines(entry, indent + "    ")
                yield f"{indent}  - {first.strip()}"
                yield from rest
        else:
            yield f"{key} {_scalar(value)}"


def _scalar(value: Any) -> str:
    if value is None:
        return "!!null"
    style = '"' if isinstance(value, str) else None
    text: str = yaml.safe_dump(value, default_style=style, allow_unicode=True, width=math.inf)
    return text.strip() if style else text.partition("\n")[0]


def system_facts(run: str | Path, scores: pd.DataFrame, edition: Edition) -> SystemFacts:
    """What the meta file says of a run by itself.

    Args:
        run: Run folder.
        scores: Its scores of the edition.
        edition: Whose meta file.

    Raises:
        ScoresError: The scores were not finished.
        RecipeError: A recipe is wrong.
    """
    provenance = read_provenance(run, edition.name)
    return SystemFacts(
        sample_rate=provenance.get("sample_rate"),
        parameters=provenance.get("parameters"),
        macs=provenance.get("macs"),
        results=development_results(scores, edition),
        subsystems=subsystem_count(run, edition.name),
        weights=published_weights(run, edition.name),
    )
