"""Checks of a packaged system against the run that it was made of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from dcase_asd.editions.edition import Edition
from dcase_asd.errors import some
from dcase_asd.metrics.official_files import official_clip_name, score_file_name
from dcase_asd.submission.check import read_values
from dcase_asd.submission.meta import HERTZ_IN_KILOHERTZ, SystemFacts, parse_meta
from dcase_asd.submission.official_files import Key
from dcase_asd.submission.package import TASK_FOLDER, Problem, error, meta_name, warning

ROUNDING = 1e-6
"""How far a score may be off the run's, as a share of the range of the run's scores of the file."""
AGAIN = "submit the run again with --overwrite, or give the run that was submitted with --run"

Scores = dict[str, float]
"""Clip as official files name it -> score."""


@dataclass(frozen=True)
class RunContent:
    """What a run holds.

    Attributes:
        scores: Its evaluation scores: score file -> clip -> score.
        facts: What its meta file says by itself.
        decisions: Threshold rule -> decision file -> content, of the rules that can be followed.
    """

    scores: dict[str, Scores]
    facts: SystemFacts
    decisions: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def run_content(
    scores: Mapping[Key, Mapping[str, float]],
    edition: Edition,
    facts: SystemFacts,
    decisions: Mapping[str, Mapping[str, str]] | None = None,
) -> RunContent:
    """A run's evaluation scores under the names that official files have for them, and the rest."""
    return RunContent(
        {
            score_file_name(edition, *key): {
                official_clip_name(clip): score for clip, score in clips.items()
            }
            for key, clips in scores.items()
        },
        facts,
        decisions or {},
    )


def check_against_run(label: str, files: Mapping[str, bytes], run: RunContent) -> Iterator[Problem]:
    """Compare a system's files with the run.

    Args:
        label: The system's label.
        files: File name -> content.
        run: What its run holds.
    """
    folder = f"{TASK_FOLDER}/{label}"
    if not run.scores:
        yield error(folder, f"the run has no evaluation scores to compare the files with; {AGAIN}")
    found = {
        name: read_values(content).numbers()
        for name, content in files.items()
        if name.startswith("anomaly_score_")
    }
    lacking = sorted(run.scores.keys() - found.keys())
    if lacking:
        yield error(
            folder, f"the run has scores for {some(lacking)}, the package has none; {AGAIN}"
        )
    for name in sorted(found):
        if name in run.scores:
            yield from _check_scores(name, found[name], run.scores, f"{folder}/{name}")
        elif run.scores:
            yield error(f"{folder}/{name}", f"the run has no scores of this file; {AGAIN}")
    yield from _check_decisions(files, run.decisions, folder)
    meta = files.get(meta_name(label))
    if meta is not None:
        with suppress(ValueError):  # told where the meta file is checked
            yield from _check_facts(parse_meta(meta), run.facts, f"{folder}/{meta_name(label)}")


def _check_scores(
    name: str, found: Scores, run: Mapping[str, Scores], where: str
) -> Iterator[Problem]:
    expected = run[name]
    missing, extra = expected.keys() - found.keys(), found.keys() - expected.keys()
    if missing or extra:
        yield error(
            where,
            f"{len(missing)} clip(s) of the run have no score here and {len(extra)} are not of the "
            f"run, such as {min(missing | extra)}; {AGAIN}",
        )
    wrong = _different(found, expected)
    if wrong:
        yield error(where, f"{len(wrong)} of {len(found)} scores are not the run's: "
                           f"{_how(name, found, wrong, run)}; {AGAIN}")  # fmt: skip


def _check_decisions(
    files: Mapping[str, bytes], decisions: Mapping[str, Mapping[str, str]], folder: str
) -> Iterator[Problem]:
    """Find decisions that no threshold rule gives; of several rules the one that fits best."""
    of_rules: list[dict[str, list[str]]] = []
    for of_rule in decisions.values():
        different: dict[str, list[str]] = {}
        for name in sorted(of_rule.keys() & files.keys()):
            expected = read_values(of_rule[name].encode()).values
            found = read_values(files[name]).values
            clips = [clip for clip in expected if found.get(clip, expected[clip]) != expected[clip]]
            if clips:
                different[name] = clips
        of_rules.append(different)
    nearest = min(of_rules, key=lambda each: sum(map(len, each.values())), default={})
    for name, clips in nearest.items():
        yield error(
            f"{folder}/{name}",
            f"the decisions of {some(clips)} are not those of the run by any threshold rule; where "
            "it was submitted with another --quantile give that here, else submit again with "
            "--overwrite",
        )


def _how(name: str, found: Scores, wrong: list[str], run: Mapping[str, Scores]) -> str:
    """What may have happened to scores, in words."""
    expected = run[name]
    common = [clip for clip in found if clip in expected]
    ordered = zip(
        sorted(found[clip] for clip in common),
        sorted(expected[clip] for clip in common),
        strict=True,
    )
    others = [
        other
        for other, scores in run.items()
        if other != name and scores.keys() == found.keys() and not _different(found, scores)
    ]
    if others:
        return f"they are those of {others[0]}"
    if len(set(found.values())) == 1:
        return f"all are {next(iter(found.values())):g}"
    tolerance = _tolerance(expected)
    if all(abs(score - right) <= tolerance for score, right in ordered):
        return f"the same numbers stand at other clips, such as {min(wrong)}"
    if not _different({clip: -score for clip, score in found.items()}, expected):
        return "their signs are turned"
    first = min(wrong)
    return f"{first} has {found[first]:.6g} instead of {expected[first]:.6g}"


def _different(found: Scores, expected: Scores) -> list[str]:
    tolerance = _tolerance(expected)
    return [
        clip
        for clip, score in found.items()
        if clip in expected and abs(score - expected[clip]) > tolerance
    ]


def _tolerance(expected: Scores) -> float:
    return ROUNDING * (max(expected.values()) - min(expected.values()))


def _check_facts(meta: dict[str, Any], facts: SystemFacts, where: str) -> Iterator[Problem]:
    system = meta.get("system")
    tables = system if isinstance(system, dict) else {}
    complexity, description = tables.get("complexity"), tables.get("description")
    if not (isinstance(complexity, dict) and isinstance(description, dict)):
        return  # told where the meta file is checked
    for name, known in (("total_parameters", facts.parameters), ("MACS", facts.macs)):
        stated = complexity.get(name)
        if known is not None and stated is not None and stated != known:
            yield error(where, f"{name} is {stated}, but the run has {known}; {AGAIN}")
    if "external_datasets" in tables and (
        told := facts.unnamed_weights(tables["external_datasets"])
    ):
        yield warning(where, told)
    rate = description.get("input_sampling_rate")
    if facts.sample_rate is not None and rate is not None:
        expected = f"{facts.sample_rate / HERTZ_IN_KILOHERTZ:g}kHz"
        if str(rate).replace(" ", "") not in (expected, f"{facts.sample_rate}Hz"):
            yield error(
                where, f"input_sampling_rate is {rate}, but the run has {expected}; {AGAIN}"
            )
    stated = description.get("ensemble_method_subsystem_count")
    if facts.subsystems is not None and (stated or 1) != facts.subsystems:
        yield warning(
            where,
            f"ensemble_method_subsystem_count is {'null' if stated is None else stated}, but the "
            f"run is made of {facts.subsystems}; take it out of the form and submit again",
        )
