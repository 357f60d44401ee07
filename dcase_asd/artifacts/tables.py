"""CSV tables with a fixed header: read strictly, written the same to the last byte."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import pandas as pd

from dcase_asd.artifacts.atomic import write_text
from dcase_asd.errors import ArtifactError


def write_table(path: str | Path, table: pd.DataFrame, columns: Sequence[str]) -> bool:
    """Write `columns` of a table; floats in the shortest form that reads back the same.

    Returns:
        Whether the file was changed.
    """
    return write_text(path, table.loc[:, list(columns)].to_csv(index=False, lineterminator="\n"))


def read_table(path: str | Path, types: Mapping[str, type], made_by: str) -> pd.DataFrame:
    """Read a table that a step wrote.

    Args:
        path: The CSV file.
        types: Column -> `str`, `int` or `float`, in the order of the file. Empty text stays empty.
        made_by: The command that makes the file (see `errors.command`), for messages.

    Raises:
        ArtifactError: The file is missing, or its header or a value is not what it should be.
    """
    path = Path(path)
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, na_filter=False)
        if list(table.columns) != list(types):
            raise ArtifactError(
                f"{path}: the header must be {','.join(types)}, not {','.join(table.columns)}; "
                f"make it again with {made_by}"
            )
        for column, kind in types.items():
            if kind is not str:
                table[column] = table[column].to_numpy(dtype=object).astype(kind)
    except FileNotFoundError as error:
        raise ArtifactError(f"{path}: not found; make it with {made_by}") from error
    except (OSError, ValueError) as error:
        fault = _first_fault(path, types) or f": not a readable table ({str(error).strip()})"
        raise ArtifactError(f"{path}{fault}; mend it, or make it again with {made_by}") from error
    # Where every row has a field too many, pandas makes the first column the index.
    if not isinstance(table.index, pd.RangeIndex):
        fault = _first_fault(path, types)
        raise ArtifactError(f"{path}{fault}; mend it, or make it again with {made_by}")
    return table


def _first_fault(path: Path, types: Mapping[str, type]) -> str:
    """What is wrong in the first line whose fields are not of the types; empty if none is found."""
    with suppress(OSError, ValueError, csv.Error), path.open(encoding="utf-8", newline="") as file:
        reader = csv.reader(file)
        for row in itertools.islice(reader, 1, None):
            if len(row) != len(types):
                return (
                    f", line {reader.line_num}: {len(row)} fields instead of {len(types)}; numbers "
                    "take a point, no decimal comma"
                )
            for (column, kind), text in zip(types.items(), row, strict=True):
                try:
                    kind(text)
                except ValueError:
                    return (
                        f", line {reader.line_num}: the column {column} holds a value that is no "
                        f"number, {text!r}{', but has a decimal comma' if ',' in text else ''}"
                    )
    return ""
