"""A challenge package checked as the organisers would, and where their tool says nothing.

Every finding is collected; nothing here stops at the first.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from dcase_asd.editions.edition import Edition
from dcase_asd.errors import SubmissionError, some
from dcase_asd.metrics.official_files import (
    OFFICIAL_SUFFIX,
    decision_file_name,
    score_file_name,
    split_line,
)
from dcase_asd.submission.meta import Results, parse_meta
from dcase_asd.submission.meta_check import check_meta, check_results
from dcase_asd.submission.official_files import Key
from dcase_asd.submission.package import (
    PDF_START,
    TASK_FOLDER,
    Package,
    Problem,
    error,
    meta_name,
    package_name,
    report_name,
    warning,
)

Clips = Mapping[Key, AbstractSet[str]]
"""The names of the evaluation test clips that each official file must hold."""

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
"""Not all that Python takes for a number, such as 1_0, is one to the organisers' tools."""


def check_package(
    package: Package, edition: Edition, clips: Clips, computed: Mapping[str, Results]
) -> list[Problem]:
    """Check a whole package.

    Args:
        package: What was read of it, with the problems met in reading.
        edition: Whose rules and file names hold.
        clips: The evaluation test clips at hand.
        computed: Label -> results table computed again from the run, for the systems whose run
            is at hand.

    Returns:
        All errors and warnings, those of the whole package first.
    """
    systems = package.systems()
    problems = [*package.problems, *_check_layout(package, list(systems), edition)]
    for label, files in systems.items():
        problems += _check_system(label, files, edition, clips)
        where = f"{TASK_FOLDER}/{label}/{meta_name(label)}"
        if meta_name(label) not in files:
            problems.append(error(where, "the meta file is missing; make it with `submit`"))
            continue
        try:
            meta = parse_meta(files[meta_name(label)])
        except ValueError as fault:
            problems.append(error(where, f"{fault}; make it again with `submit --overwrite`"))
            continue
        problems += check_meta(meta, label, edition, where)
        if label in computed:
            problems += check_results(meta, computed[label], where)
        else:
            problems.append(
                warning(
                    where,
                    "scores, data trained on and the development results were not checked; give "
                    "the run with --run",
                )
            )
    return problems


def _check_layout(package: Package, labels: list[str], edition: Edition) -> Iterator[Problem]:
    most = edition.submission.maximum_systems
    if not labels:
        yield error(TASK_FOLDER, "there is no system; add one with `submit`")
    if len(labels) > most:
        yield error(
            TASK_FOLDER,
            f"{len(labels)} systems, but {edition.name} takes at most {most}; take some out",
        )
    packages: set[str] = set()
    for label in labels:
        try:
            packages.add(package_name(label, edition))
        except SubmissionError as fault:
            yield error(f"{TASK_FOLDER}/{label}", str(fault))
    if len(packages) > 1:
        yield error(
            TASK_FOLDER,
            f"systems of several packages: {', '.join(sorted(packages))}; give each its own zip",
        )
    yield from _check_report(package, sorted(packages))


def _check_report(package: Package, packages: list[str]) -> Iterator[Problem]:
    """The technical report, the name of the zip, and whatever else lies around."""
    if package.name and packages and package.name not in packages:
        expected = " or ".join(f"{name}.zip" for name in packages)
        yield warning(f"{package.name}.zip", f"the zip should be called {expected}; rename it")
    reports = [f"{TASK_FOLDER}/{report_name(name)}" for name in packages]
    for report in reports:
        if report not in package.files:
            yield warning(report, "the technical report is missing; add it with `submit --report`")
        elif not package.files[report].startswith(PDF_START):
            yield error(report, "is no PDF; export the technical report as PDF")
    of_systems = {
        f"{TASK_FOLDER}/{label}/{file}"
        for label, files in package.systems().items()
        for file in files
    }
    for name in sorted(set(package.files) - of_systems - set(reports)):
        yield error(name, "does not belong into the package; take it out")


def _check_system(
    label: str, files: Mapping[str, bytes], edition: Edition, clips: Clips
) -> Iterator[Problem]:
    folder = f"{TASK_FOLDER}/{label}"
    keys = sorted({*clips, *_official_keys(edition)})
    allowed = {meta_name(label), *(name for key in keys for name in _file_names(edition, key))}
    for name in sorted(set(files) - allowed):
        close = difflib.get_close_matches(name, allowed, n=1)
        hint = f"did you mean {close[0]!r}?" if close else "take it out"
        yield error(f"{folder}/{name}", f"no file of {edition.name} is called so; {hint}")
    missing = [name for key in clips for name in _file_names(edition, key) if name not in files]
    if missing:
        yield error(folder, f"{len(missing)} file(s) are missing: {some(missing)}; submit again")
    unchecked = []
    for key in keys:
        score_file, *decision_file = _file_names(edition, key)
        if score_file not in files:
            continue
        if key not in clips:
            unchecked.append(score_file)
        table = read_values(files[score_file])
        yield from _check_table(table, f"{folder}/{score_file}", clips.get(key), "score")
        for name in decision_file:
            if name in files:
                decisions = read_values(files[name])
                yield from _check_table(decisions, f"{folder}/{name}", clips.get(key), "decision")
                yield from _check_consistency(table, decisions, f"{folder}/{name}")
    if unchecked:
        yield warning(
            folder,
            f"the clip names of {some(unchecked)} were not checked: the data folder holds no "
            "evaluation clips of them",
        )
    yield from _check_coverage(files, edition, folder)


def _check_coverage(files: Mapping[str, bytes], edition: Edition, folder: str) -> Iterator[Problem]:
    official = _official_keys(edition)
    absent = {key[0] for key in official if _file_names(edition, key)[0] not in files}
    machines = set(edition.machines["eval"])
    if absent:
        yield warning(
            folder,
            f"the package covers {len(machines - absent)} of {len(machines)} evaluation machines "
            f"of {edition.name}; not (wholly) {', '.join(sorted(absent))}",
        )


@dataclass
class Values:
    """A score or decision file as read: clip -> text of its value, and what could not be read."""

    values: dict[str, str] = field(default_factory=dict)
    malformed: list[int] = field(default_factory=list)
    repeated: set[str] = field(default_factory=set)

    def numbers(self) -> dict[str, float]:
        """The values that are finite numbers."""
        numbers = {clip: _number(text) for clip, text in self.values.items()}
        return {clip: number for clip, number in numbers.items() if math.isfinite(number)}


def read_values(content: bytes) -> Values:
    """Read a score or decision file, with all that is wrong in it."""
    lines = Values()
    text = content.decode("utf-8-sig", errors="replace")
    for number, line in enumerate(text.splitlines(), 1):
        clip, value, fault = split_line(line)
        # Other readers than ours may know no quotes and strip no blanks.
        as_written = line == f"{clip},{value}" and clip.endswith(OFFICIAL_SUFFIX)
        if fault or not as_written:
            lines.malformed.append(number)
        elif clip in lines.values:
            lines.repeated.add(clip)
        else:
            lines.values[clip] = value.strip()
    return lines


def _check_table(
    lines: Values, where: str, clips: AbstractSet[str] | None, kind: str
) -> Iterator[Problem]:
    if lines.malformed:
        yield error(
            where,
            f"{len(lines.malformed)} line(s) are not <clip>.wav,<{kind}>, the first is line "
            f"{lines.malformed[0]} (no header is allowed); submit again",
        )
    if lines.repeated:
        yield error(where, f"named more than once: {some(lines.repeated)}; keep one line for each")
    yield from _check_values(lines, where, kind)
    if clips is not None:
        unnamed, foreign = clips - set(lines.values), set(lines.values) - clips
        if unnamed:
            yield error(where, f"{len(unnamed)} test clip(s) have no {kind}: {some(unnamed)}")
        if foreign:
            yield error(
                where,
                f"{len(foreign)} clip(s) are not in the test set: {some(foreign)}; take them out",
            )


def _check_values(lines: Values, where: str, kind: str) -> Iterator[Problem]:
    if kind == "score":
        wrong = set(lines.values) - set(lines.numbers())
        if wrong:
            yield error(where, f"{len(wrong)} score(s) are no finite number: {some(wrong)}")
        elif len(lines.values) > 1 and len(set(lines.numbers().values())) == 1:
            yield error(
                where,
                f"all {len(lines.values)} scores are {next(iter(lines.values.values()))}, which "
                "tells nothing; look at the recordings and embeddings of the run",
            )
    else:
        wrong = {clip for clip, text in lines.values.items() if text not in ("0", "1")}
        if wrong:
            yield error(where, f"{len(wrong)} decision(s) are neither 0 nor 1: {some(wrong)}")
        elif len(lines.values) > 1 and len(decided := set(lines.values.values())) == 1:
            word = "anomalous" if decided == {"1"} else "normal"
            yield warning(
                where,
                f"all {len(lines.values)} clips are decided to be {word}; look at the threshold",
            )


def _check_consistency(scores: Values, decisions: Values, where: str) -> Iterator[Problem]:
    by_decision: dict[str, dict[float, str]] = {"0": {}, "1": {}}
    for clip, score in scores.numbers().items():
        if decisions.values.get(clip) in by_decision:
            by_decision[decisions.values[clip]][score] = clip
    normal, anomalous = by_decision["0"], by_decision["1"]
    if normal and anomalous and max(normal) > min(anomalous):
        inverted = max(anomalous) < min(normal)
        yield error(
            where,
            f"{'the decisions are inverted' if inverted else 'the decisions contradict the scores'}"
            f": no threshold gives them, as {normal[max(normal)]} is normal at {max(normal):g} and "
            f"{anomalous[min(anomalous)]} anomalous at {min(anomalous):g}; submit again",
        )


def _file_names(edition: Edition, key: Key) -> list[str]:
    """Score file and, where the edition asks for one, decision file."""
    names = [score_file_name(edition, *key)]
    return (
        [*names, decision_file_name(edition, *key)] if edition.submission.decision_file else names
    )


def _official_keys(edition: Edition) -> set[Key]:
    """All files that the edition's own machine list asks for."""
    by_domain = "{domain}" in edition.submission.score_file
    domains = ("source", "target") if by_domain else ("",)
    return {
        (machine, section, domain)
        for machine, sections in edition.machines["eval"].items()
        for section in sections
        for domain in domains
    }


def _number(text: str) -> float:
    return float(text) if _NUMBER.fullmatch(text) else math.nan
