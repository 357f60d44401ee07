"""CSV tables with a fixed header: read strictly, written the same to the last byte."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from dcase_asd.artifacts.atomic import write_text
from dcase_asd.errors import ArtifactError


def write_table(path: Path, table: pd.DataFrame, columns: Sequence[str]) -> bool:
    """Write `columns` of a table; floats in the shortest form that reads back the same.

    Returns:
        Whether the file was changed.
    """
    return write_text(path, table.loc[:, list(columns)].to_csv(index=False, lineterminator="\n"))


def read_table(path: Path, types: Mapping[str, type], made_by: str) -> pd.DataFrame:
    """Read a table that a step wrote.

    Args:
        path: The CSV file.
        types: Column -> `str`, `int` or `float`, in the order of the file. Empty text stays empty.
        made_by: The command that makes the file, for the message where it is missing.

    Raises:
        ArtifactError: The file is missing, or its header or a value is not what it should be.
    """
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, na_filter=False)
    except FileNotFoundError as error:
        raise ArtifactError(f"{path}: not found; make it with `{made_by}`") from error
    except (OSError, ValueError) as error:
        raise ArtifactError(
            f"{path}: not a readable table ({error}); {made_by} makes it"
        ) from error
    if list(table.columns) != list(types):
        raise ArtifactError(
            f"{path}: the header must be {','.join(types)}, not {','.join(table.columns)}; "
            f"make it again with `{made_by}`"
        )
    for column, kind in types.items():
        if kind is str:
            continue
        try:
            table[column] = table[column].to_numpy(dtype=object).astype(kind)
        except ValueError as error:
            raise ArtifactError(
                f"{path}: the column {column} holds a value that is no number ({error})"
            ) from error
    return table
