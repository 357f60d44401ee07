"""The ``.asd`` file: a zip of one JSON table and one safetensors file, and perhaps weights.

Nothing in it is code, nothing is unpickled. Its entries are stored as they are, so that none can
grow when it is read; another version than this program's is refused.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcase_asd import __version__
from dcase_asd.errors import ArtifactError, command
from dcase_asd.files import replacing, stays_inside
from dcase_asd.monitor.hearing import FrontEnd
from dcase_asd.monitor.heat import VIEWS
from dcase_asd.monitor.scoring import FEWEST_WINDOWS

FORMAT, VERSION = "dcase-asd monitor", 2
TABLE, ARRAYS, WEIGHTS = "model.json", "arrays.safetensors", "weights/"
LARGEST_TABLE = 1 << 26
"""Bytes of the table that are read: 64 MiB, some 200,000 recordings."""
REASON = 200
"""Letters of what is wrong that are told."""
AGAIN = f"make one with {command('fit', 'recordings/normal', '--out', 'fan.asd')}"

Arrays = Mapping[str, NDArray[Any]]


def write_model(
    path: str | Path, table: Mapping[str, Any], arrays: Arrays, weights: Mapping[str, Path]
) -> None:
    """Write a model; the file is there whole or not at all.

    Raises:
        ArtifactError: It cannot be written.
    """
    from safetensors.numpy import save

    head = {"format": FORMAT, "version": VERSION, "made_by": f"dcase-asd {__version__}"}
    text = json.dumps(head | dict(table), allow_nan=False, ensure_ascii=False, indent=1)
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w") as file:
        file.writestr(zipfile.ZipInfo(TABLE), text.encode("utf-8", "backslashreplace"))
        tensors = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        file.writestr(zipfile.ZipInfo(ARRAYS), save(tensors))
        for name, source in weights.items():
            file.write(source, WEIGHTS + name)


def read_model(path: str | Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Read a model's table and arrays.

    Raises:
        ArtifactError: There is no such file; or it is foreign, damaged or of another version.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        with zipfile.ZipFile(path) as file:
            _check_entries(path, file)
            table = json.loads(file.read(TABLE), parse_constant=_refuse)
            _check_version(path, table)
            return table, load(file.read(ARRAYS))
    except FileNotFoundError as error:
        raise ArtifactError(f"{path}: no such model; {AGAIN}") from error
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (
        zipfile.BadZipFile,
        SafetensorError,
        ValueError,
        KeyError,
        TypeError,
        EOFError,
        RuntimeError,
    ) as error:  # the last of an entry that is encrypted, or nested too deeply
        raise ArtifactError(
            f"{path}: no model, or a damaged one ({reason(error)}); {AGAIN}"
        ) from error


def unpack_weights(path: str | Path, folder: Path) -> list[Path]:
    """Write the weights in a model's file into a folder; none where it holds none.

    Raises:
        ArtifactError: The file is damaged.
    """
    found = []
    try:
        with zipfile.ZipFile(path) as file:
            for entry in file.namelist():
                if entry.startswith(WEIGHTS):
                    target = folder / Path(entry).name
                    with file.open(entry) as source, target.open("wb") as written:
                        while part := source.read(1 << 20):
                            written.write(part)
                    found.append(target)
    except (OSError, zipfile.BadZipFile, EOFError, RuntimeError) as error:
        raise ArtifactError(
            f"{path}: its weights cannot be read ({reason(error)}); {AGAIN}"
        ) from error
    return found


def check_arrays(arrays: Arrays, front: FrontEnd, recordings: int, *, embedded: bool) -> None:
    """Whether a model's arrays are those that `Monitor.save` writes, and fit each other.

    Args:
        arrays: By name.
        front: What the recordings are heard with.
        recordings: How many there are.
        embedded: Whether a backbone makes the vectors.

    Raises:
        KeyError: One is missing.
        ValueError: One is of another type or shape, or holds what it cannot.
    """
    count, bands = len(arrays["owners"]), len(front.band_starts)
    whole, real, total = np.dtype(np.int64), np.floating, len(arrays["grids"])
    expected: dict[str, tuple[Any, tuple[int, ...]]] = {
        "owners": (whole, (count,)),
        "cells": (whole, (count,)),
        "spectra": (real, (count, 2 * front.bins)),
        "grids": (real, (total, bands, 2)),
        "left_out": (real, (count,)),
        "usual": (real, (len(VIEWS), 3, bands)),
        "events": (real, (count,)),
    }
    if embedded:
        vectors = arrays["vectors"].shape
        expected["vectors"] = (
            (real, (count, *vectors[1:])) if len(vectors) in (2, 3) else (real, ())
        )
    for name, (kind, shape) in expected.items():
        array = arrays[name]
        if not np.issubdtype(array.dtype, kind) or array.shape != shape:
            raise ValueError(f"{name} is {array.dtype} {array.shape}, not {shape}")
        if not np.isfinite(array).all():
            raise ValueError(f"{name} holds a number that is not finite")
    owners, cells = arrays["owners"], arrays["cells"]
    if count < FEWEST_WINDOWS or not 0 <= owners.min() <= owners.max() < recordings:
        raise ValueError("owners are not those of its recordings")
    if not 0 < cells.min() <= cells.max() <= total or cells.sum() != total:
        raise ValueError("cells are not those of its grids")


def reason(error: object) -> str:
    """What an error says, or a value is, in one line that is not too long to be read."""
    text = "".join(each if each.isprintable() else " " for each in str(error))
    return text if len(text) <= REASON else f"{text[:REASON]}…"


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number of a model")


def _check_entries(path: str | Path, file: zipfile.ZipFile) -> None:
    names = [entry.filename for entry in file.infolist()]
    if len(set(names)) < len(names):
        raise ArtifactError(f"{path}: holds a name twice, so it is no model; {AGAIN}")
    for entry in file.infolist():
        known = entry.filename in (TABLE, ARRAYS) or (
            entry.filename.startswith(WEIGHTS) and stays_inside(entry.filename)
        )
        if not known or entry.compress_type != zipfile.ZIP_STORED:
            raise ArtifactError(
                f"{path}: holds {reason(entry.filename)!r}, as no model does; {AGAIN}"
            )
        if entry.filename == TABLE and entry.file_size > LARGEST_TABLE:
            raise ArtifactError(f"{path}: its table is too large for a model; {AGAIN}")


def _check_version(path: str | Path, table: Any) -> None:
    if not isinstance(table, dict) or table.get("format") != FORMAT:
        raise ArtifactError(f"{path}: no model of this program; {AGAIN}")
    version = table.get("version")
    if not isinstance(version, int) or version < 1:
        raise ArtifactError(f"{path}: says no version, so it is damaged; {AGAIN}")
    if version != VERSION:
        theirs = f"{reason(table.get('made_by'))}, format {reason(version)}"
        age, way = "an older", AGAIN
        if version > VERSION:
            age, way = "a newer", "upgrade with `pip install --upgrade dcase-asd`"
        raise ArtifactError(
            f"{path}: made by {age} version ({theirs}; this is "
            f"dcase-asd {__version__}, format {VERSION}); {way}"
        )
