"""Checks of a system's meta file: complete, plausible, and true to the scores it comes with."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from dcase_asd.editions.edition import Edition
from dcase_asd.errors import nearest_name, some
from dcase_asd.submission.meta import HERTZ_IN_KILOHERTZ, PERCENT, Results
from dcase_asd.submission.package import Problem, error, warning

_MISSING = object()

SLOWEST_RATE, FASTEST_RATE = 1_000, 384_000
"""Sampling rates in Hz between which recordings of machines are plausible."""
MOST_PARAMETERS = 10**12
ROUNDING = 0.005 + 1e-9
"""Percent that a reported value may differ: it may be rounded to two decimals."""

_RATE = re.compile(r"(\d+(?:\.\d+)?)\s*(k?)Hz", re.IGNORECASE)
_ADDRESS = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_FICTITIOUS = re.compile(r"@(?:.+\.)?example(?:\.\w+)?$", re.IGNORECASE)
_AUTHOR_FIELDS = ("lastname", "firstname", "email", "affiliation")


def check_meta(meta: dict[str, Any], label: str, edition: Edition, where: str) -> Iterator[Problem]:
    """Check a parsed meta file against the fields of its year.

    A missing field is an error (a warning for a year whose meta file was not seen). A null is a
    warning, as the authors may mean it, except in the name, abbreviation, authors and number of
    parameters, which every system has.
    """
    yield from _check_fields(meta, edition, where)
    yield from _check_names(meta, label, edition, where)
    yield from _check_authors(_look_up(meta, "submission.authors"), label, where)
    yield from _check_numbers(meta, edition, where)
    yield from _check_kinds(meta, where)
    yield from _check_table(_look_up(meta, "results.development_dataset"), edition, where)


def check_results(meta: dict[str, Any], computed: Results, where: str) -> Iterator[Problem]:
    """Compare the results table with one that was computed again from the scores.

    Values agree when they are equal after rounding to two decimals of a percent.
    """
    table = _look_up(meta, "results.development_dataset")
    for machine, values in computed.items():
        row = table.get(machine) if isinstance(table, dict) else None
        for name, expected in values.items():
            reported: Any = row.get(name) if isinstance(row, dict) else None
            if expected is None:
                if reported is not None:
                    yield warning(
                        where,
                        f"{machine} {name} is {reported}, but the run has no labelled scores to "
                        "check it by",
                    )
            elif not _is_number(reported) or abs(reported - expected) > ROUNDING:
                said = "missing" if reported is None else reported
                yield error(
                    where,
                    f"{machine} {name} is {said}, but the run's scores give {expected:.2f}; "
                    "submit the run again with --overwrite",
                )


def _check_fields(meta: dict[str, Any], edition: Edition, where: str) -> Iterator[Problem]:
    rules = edition.submission
    description = [f"system.description.{name}" for name in rules.description]
    complexity = [f"system.complexity.{name}" for name in rules.complexity]
    wanted = [
        *("submission.label", "submission.name", "submission.abbreviation", "submission.authors"),
        *description,
        *complexity,
        *(["system.external_datasets"] if rules.external_datasets else []),
        *("system.source_code", "results.development_dataset"),
    ]
    missing = [name for name in wanted if _look_up(meta, name) is _MISSING]
    if missing:
        finding = error if rules.meta_seen else warning
        yield finding(
            where,
            f"{edition.name} asks for {', '.join(missing)}: write !!null where not applicable",
        )
    external = ("external_datasets",) if rules.external_datasets else ()
    for table, known in (
        ("", ("submission", "system", "results")),
        ("submission", ("label", "name", "abbreviation", "authors")),
        ("system", ("description", "complexity", *external, "source_code")),
        ("system.description", rules.description),
        ("system.complexity", rules.complexity),
    ):
        content = _look_up(meta, table) if table else meta
        for name in sorted(map(str, content)) if isinstance(content, dict) else ():
            if name not in known:
                field = f"{table}.{name}".strip(".")
                yield warning(
                    where, f"{edition.name} has no field {field}; {nearest_name(name, known)}"
                )
    required = ("submission.name", "submission.abbreviation", "submission.authors")
    optional = [
        name for name in wanted if name not in (*required, "system.complexity.total_parameters")
    ]
    for finding, group, advice in (
        (error, required, "fill in the form and submit again with --overwrite"),
        (warning, optional, "right only where it does not apply"),
    ):
        empty = [name.rpartition(".")[2] for name in group if _look_up(meta, name) is None]
        if empty:
            yield finding(where, f"null in {', '.join(empty)}: {advice}")


def _check_names(
    meta: dict[str, Any], label: str, edition: Edition, where: str
) -> Iterator[Problem]:
    stated = _look_up(meta, "submission.label")
    if stated is not _MISSING and stated != label:
        yield error(where, f"the label is {stated}, but the folder is {label}; make them the same")
    abbreviation = _look_up(meta, "submission.abbreviation")
    longest = edition.submission.abbreviation_length
    if isinstance(abbreviation, str) and len(abbreviation) > longest:
        yield error(
            where,
            f"the abbreviation {abbreviation!r} has {len(abbreviation)} characters; at most "
            f"{longest} are allowed",
        )


def _check_authors(authors: Any, label: str, where: str) -> Iterator[Problem]:
    if authors is None or authors is _MISSING:
        return
    if (
        not isinstance(authors, list)
        or not authors
        or not all(isinstance(entry, dict) for entry in authors)
    ):
        yield error(where, "submission.authors must be a list of authors, each with its fields")
        return
    for number, author in enumerate(authors, 1):
        affiliation = author.get("affiliation")
        within = affiliation if isinstance(affiliation, dict) else {}
        empty = [name for name in _AUTHOR_FIELDS if not author.get(name)]
        empty += [
            f"affiliation.{name}" for name in ("institution", "location") if not within.get(name)
        ]
        if empty:
            yield error(where, f"author {number} lacks {', '.join(empty)}; fill it in")
        address = str(author.get("email") or "")
        if address and not _ADDRESS.fullmatch(address):
            yield error(where, f"author {number}: {address!r} is no e-mail address; correct it")
        elif _FICTITIOUS.search(address):
            yield warning(where, f"author {number} is the fictitious {address}; name the real one")
    marked = [author for author in authors if author.get("corresponding") is True]
    if len(marked) != 1:
        yield error(
            where, f"{len(marked)} authors are marked 'corresponding: true'; mark exactly one"
        )
    elif _letters(str(marked[0].get("lastname"))) != _letters(label.partition("_")[0]):
        yield warning(
            where,
            f"the label should begin with the corresponding author's last name, "
            f"{marked[0].get('lastname')}, not {label.partition('_')[0]}",
        )


def _check_numbers(meta: dict[str, Any], edition: Edition, where: str) -> Iterator[Problem]:
    rate = _look_up(meta, "system.description.input_sampling_rate")
    if rate is not None and rate is not _MISSING:
        for part in str(rate).split(","):
            match = _RATE.fullmatch(part.strip())
            hertz = float(match[1]) * (HERTZ_IN_KILOHERTZ if match[2] else 1) if match else 0
            if not SLOWEST_RATE <= hertz <= FASTEST_RATE:
                yield error(
                    where, f"input_sampling_rate {part.strip()!r} is no sampling rate such as 16kHz"
                )
    for name in edition.submission.complexity:
        value = _look_up(meta, f"system.complexity.{name}")
        if value is None and name == "total_parameters":
            yield error(where, "total_parameters is null; give the number of all parameters")
        elif value is not None and value is not _MISSING:
            whole = isinstance(value, int) and not isinstance(value, bool)
            if not whole or value < 0 or (name == "total_parameters" and value > MOST_PARAMETERS):
                yield error(where, f"{name} is {value!r}; give a plausible whole number")


def _check_kinds(meta: dict[str, Any], where: str) -> Iterator[Problem]:
    """Values that are of another kind than the field's."""
    datasets = _look_up(meta, "system.external_datasets")
    listed = datasets if isinstance(datasets, list) else []
    whole = [each for each in listed if isinstance(each, dict) and each.get("name")]
    if datasets not in (None, _MISSING) and (len(whole) < len(listed) or not listed):
        yield error(where, "external_datasets must be a list, each entry with its name and url")
    description = _look_up(meta, "system.description")
    for name, value in description.items() if isinstance(description, dict) else ():
        if isinstance(value, (dict, list)):
            yield error(where, f"{name} must be text with commas between its parts, not {value!r}")
    count = _look_up(meta, "system.description.ensemble_method_subsystem_count")
    if count not in (None, _MISSING) and not (_is_number(count) and count >= 1 and count % 1 == 0):
        yield error(where, f"ensemble_method_subsystem_count is {count!r}, not a whole number")


def _check_table(table: Any, edition: Edition, where: str) -> Iterator[Problem]:
    if table is None or table is _MISSING:
        return
    if not isinstance(table, dict):
        yield error(where, "results.development_dataset must list machines with their values")
        return
    listed = edition.machines["dev"]
    wanted = list(edition.submission.results.values())
    for machine in sorted(map(str, table)):
        if listed and machine not in listed:
            yield error(
                where,
                f"results name {machine}, no development machine of {edition.name}; "
                f"{nearest_name(machine, listed)}",
            )
    empty: list[str] = []
    for machine in listed or table:
        row = table.get(machine)
        values = row if isinstance(row, dict) else {}
        yield from _check_row(f"results of {machine}", values, wanted, where)
        if any(values.get(name) is None for name in wanted):
            empty.append(str(machine))
    if empty:
        yield warning(where, f"no complete development results of {some(empty)}")


def _check_row(
    whose: str, values: dict[str, Any], wanted: list[str], where: str
) -> Iterator[Problem]:
    for name, value in values.items():
        if name not in wanted:
            yield error(where, f"{whose}: unknown {name!r}; {nearest_name(str(name), wanted)}")
        elif value is not None and not (_is_number(value) and 0 <= value <= PERCENT):
            yield error(where, f"{whose}: {name} is {value!r}, not a percentage")
        elif value is not None and 0 < value <= 1:
            yield error(
                where, f"{whose}: {name} is {value}; percent is asked for, not a share of 1"
            )


def _look_up(meta: Any, name: str) -> Any:
    value = meta
    for key in name.split("."):
        if not isinstance(value, dict) or key not in value:
            return _MISSING
        value = value[key]
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _letters(text: str) -> str:
    return re.sub(r"[\W_]", "", text).lower()
