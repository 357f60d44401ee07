"""The organizers' ground truth: an official evaluator's folders, or an `eval_data_list*.csv`."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from dcase_asd.clips.name import parse_clip_name, parse_listed_name
from dcase_asd.editions.edition import Edition
from dcase_asd.errors import ClipNameError, GroundTruthError
from dcase_asd.files import find_below
from dcase_asd.metrics.official_files import (
    official_clip_name,
    official_lines,
    other_separator,
    read_lines,
    split_fields,
)

KEY = ["machine", "section", "file"]
"""What identifies a test clip of an edition in official files."""

COLUMNS = [*KEY, "domain", "condition"]
"""Of a ground truth; `domain` is empty where it is not defined (2020)."""

DATA_FOLDER = "ground_truth_data"
"""Folder of an official evaluator: 1 for each anomalous clip, 0 for each normal one."""

DOMAIN_FOLDER = "ground_truth_domain"
"""Folder of the evaluators from 2022 on: 1 for each clip of the target domain, 0 for the source."""

_CONDITIONS = {"0": "normal", "1": "anomaly"}
_DOMAINS = {"0": "source", "1": "target"}
_FILE_NAME = re.compile(
    r"ground_truth_(?P<machine>.+)_section_(?P<section>\d{2})(?:_(?P<domain>source|target))?_test\.csv"
)


def read_evaluator(checkout: str | Path, edition: Edition) -> pd.DataFrame:
    """Read the ground-truth folders of an official evaluator.

    Args:
        checkout: The folder that holds `DATA_FOLDER` (and, from 2022 on, `DOMAIN_FOLDER`).
        edition: The edition whose rules the files follow.

    Returns:
        One row per clip with the columns of `COLUMNS`.

    Raises:
        GroundTruthError: Files are missing, malformed or contradict each other.
    """
    checkout = Path(checkout)
    conditions = _read_folder(checkout / DATA_FOLDER, _CONDITIONS)
    if edition.metric == "2021":
        if (conditions["domain"] == "").any():
            raise GroundTruthError(
                f"{checkout / DATA_FOLDER}: file names without source or target, "
                f"so this is not the ground truth of {edition.name}; give that year's evaluator"
            )
        return conditions.rename(columns={"value": "condition"})[COLUMNS]
    if not (checkout / DOMAIN_FOLDER).is_dir():
        raise GroundTruthError(
            f"{checkout}: holds no {DOMAIN_FOLDER}/, which the metric of {edition.name} needs; "
            "give the whole folder of that year's evaluator"
        )
    domains = _read_folder(checkout / DOMAIN_FOLDER, _DOMAINS)
    if sorted(map(tuple, conditions[KEY].to_numpy())) != sorted(
        map(tuple, domains[KEY].to_numpy())
    ):
        raise GroundTruthError(
            f"{checkout}: {DATA_FOLDER}/ and {DOMAIN_FOLDER}/ name different clips; "
            "fetch the evaluator again"
        )
    both = conditions.drop(columns="domain").merge(domains.drop(columns="domain"), on=KEY)
    return both.rename(columns={"value_x": "condition", "value_y": "domain"})[COLUMNS]


def find_label_list(folder: str | Path, edition: Edition) -> Path | None:
    """The edition's ``eval_data_list*.csv`` in a folder: with its year in the name, or without any.

    Raises:
        GroundTruthError: There are several and none names the edition's year.
    """
    lists = find_below(Path(folder), "eval_data_list*.csv")
    of_year = [path for path in lists if edition.year and str(edition.year) in path.name]
    unnamed = [path for path in lists if not re.search(r"\d{4}", path.name)]
    chosen = of_year or unnamed
    if lists and len(chosen) != 1:
        raise GroundTruthError(
            f"{folder}: which of {', '.join(path.name for path in lists)} is the list of "
            f"{edition.name} cannot be told; give the file itself"
        )
    return chosen[0] if chosen else None


def read_label_list(path: str | Path, edition: Edition) -> pd.DataFrame:
    """Read a list that renames blind clips: a machine's line, then ``blind,labelled,0|1`` lines.

    Returns:
        One row per clip with the columns of `COLUMNS`.

    Raises:
        GroundTruthError: A line is malformed, or the list is that of 2022, which is wrong.
    """
    if edition.year == 2022:  # noqa: PLR2004
        raise GroundTruthError(
            f"{path}: the lists of 2022 contradict the official ground truth of ToyCar and "
            "ToyTrain (half of the labels and domains differ); give the 2022 evaluator's folder "
            f"with {DATA_FOLDER}/ and {DOMAIN_FOLDER}/"
        )
    rows: list[tuple[str, ...]] = []
    machine = ""
    for number, line in enumerate(read_lines(path, GroundTruthError), 1):
        cells = [cell.strip() for cell in split_fields(line.strip().rstrip(","))]
        where = f"{path}, line {number}"
        if separator := other_separator(line):
            raise GroundTruthError(f"{where}: {separator}")
        if len(cells) == 1:
            machine = cells[0] or machine
        elif len(cells) != 3 or not machine or cells[2] not in _CONDITIONS:  # noqa: PLR2004
            raise GroundTruthError(
                f"{where}: {line!r} is neither a machine's name nor <blind name>,<true name>,<0|1>"
            )
        else:
            rows.append((machine, *_listed_clip(cells, where)))
    return _table(rows, COLUMNS, Path(path))


def _listed_clip(cells: list[str], where: str) -> tuple[str, str, str, str]:
    """Section, file, domain and condition of a line of a list."""
    file, true_name = (official_clip_name(cell) for cell in cells[:2])
    condition = _CONDITIONS[cells[2]]
    try:
        section = parse_clip_name(file, "test").section
        name = parse_listed_name(true_name)
    except ClipNameError as error:
        raise GroundTruthError(f"{where}: {error}") from error
    if (name.section, name.condition) != (section, condition):
        raise GroundTruthError(f"{where}: {true_name} contradicts {file} or the label {cells[2]}")
    return section, file, name.domain, condition


def _read_folder(folder: Path, meanings: dict[str, str]) -> pd.DataFrame:
    """All clips of a folder: `KEY`, ``domain`` (of the file's name) and ``value`` (its meaning)."""
    rows: list[tuple[str, ...]] = []
    for path in find_below(folder, "*.csv"):
        match = _FILE_NAME.fullmatch(path.name)
        if match is None:
            raise GroundTruthError(
                f"{path}: not the name of a ground-truth file, which is "
                "ground_truth_<machine>_section_<section>_test.csv"
            )
        domain = match["domain"] or ""
        for number, name, text in official_lines(path, GroundTruthError):
            value = meanings.get(text.strip())
            if value is None:
                raise GroundTruthError(f"{path}, line {number}: {text!r} is neither 0 nor 1")
            rows.append(
                (*match.group("machine", "section"), official_clip_name(name), domain, value)
            )
    return _table(rows, [*KEY, "domain", "value"], folder)


def _table(rows: list[tuple[str, ...]], columns: list[str], source: Path) -> pd.DataFrame:
    if not rows:
        raise GroundTruthError(f"{source}: holds no labels; fetch the ground truth again")
    table = pd.DataFrame(rows, columns=columns, dtype="str")
    twice = table[table.duplicated(KEY)]
    if not twice.empty:
        first = twice.iloc[0]
        raise GroundTruthError(
            f"{source}: {len(twice)} clip(s) are named more than once, the first "
            f"{first['machine']} {first['file']}; keep one line for each clip"
        )
    return table
