"""Published weights, read without executing code from the file, every key accounted for."""

from __future__ import annotations

import argparse
import difflib
import json
import re
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dcase_asd.backbone.saved import in_place_of_weights, read_tensors
from dcase_asd.errors import BackboneError

CONFIG, TENSORS = "config.json", "model.safetensors"
"""The two files of a Hugging Face folder."""
COMPILED = "_orig_mod."
"""What `torch.compile` puts before the keys of the modules that it wraps."""
PROBLEMS_TOLD = 3
"""Keys that an error message names; the others are counted."""


@dataclass(frozen=True)
class WeightsFile:
    """What a file of weights holds.

    Attributes:
        path: The file or folder.
        settings: ``cfg`` of a torch file, ``config.json`` of a Hugging Face folder.
        tensors: The weights by key; of a torch file whatever its ``model`` holds.
    """

    path: Path
    settings: dict[str, Any]
    tensors: dict[str, Any]


def is_hugging_face(path: str | Path) -> bool:
    """Whether a path is a Hugging Face folder, or the weights in one."""
    path = Path(path)
    return path.is_dir() or (path.name == TENSORS and (path.parent / CONFIG).is_file())


def is_safetensors(path: str | Path) -> bool:
    """Whether a file is safetensors, told by its content: a length of 8 bytes, then JSON.

    Raises:
        BackboneError: It is a folder, or cannot be read.
    """
    try:
        with Path(path).open("rb") as file:
            return file.read(9)[8:] == b"{"
    except IsADirectoryError as error:
        raise BackboneError(f"{path}: a folder; give the file of weights in it") from error
    except OSError as error:
        raise BackboneError(f"{path}: cannot be read ({error.strerror or error})") from error


def read_torch_file(path: str | Path) -> WeightsFile:
    """Read a checkpoint ``{'cfg': {…}, 'model': {…}, …}`` that ``torch.save`` wrote.

    Nothing but tensors, numbers, text and containers is unpickled, and `argparse.Namespace`, which
    holds attributes and runs nothing; fairseq's older files have one.

    Raises:
        BackboneError: It is damaged, holds other objects, or is of another form.
    """
    path = Path(path)
    allowed = torch.serialization.safe_globals([argparse.Namespace])
    try:
        # Mapped where possible: an optimizer's state beside the weights is then never read.
        mapped = zipfile.is_zipfile(path)
        with allowed, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a pickle is of an unusual protocol
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as error:  # a damaged pickle fails in any way
        raise BackboneError(f"{path}: {_torch_problem(path, error)}") from error
    names = list(content) if isinstance(content, dict) else []
    if not all(part in names and isinstance(content[part], dict) for part in ("cfg", "model")):
        raise BackboneError(
            f"{path}: holds no 'cfg' and 'model', as published files do; "
            f"found {', '.join(map(repr, names[:5])) or 'no names'}; give the published file, or "
            "save the published file's 'cfg' and these weights as 'model' with torch.save"
        )
    return WeightsFile(path, content["cfg"], content["model"])


def read_hugging_face_folder(path: str | Path) -> WeightsFile:
    """Read ``config.json`` and ``model.safetensors``, given their folder or the latter file.

    Raises:
        BackboneError: One of them is missing or damaged.
    """
    path = Path(path)
    folder = path if path.is_dir() else path.parent
    tensors_path = folder / TENSORS if path.is_dir() else path
    for file in (folder / CONFIG, tensors_path):
        if not file.is_file():
            raise BackboneError(f"{file}: is missing; {CONFIG} and {TENSORS} belong together")
    try:
        settings = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = in_place_of_weights(folder / CONFIG) or f"not readable as JSON ({error})"
        raise BackboneError(f"{folder / CONFIG}: {reason}") from error
    if not isinstance(settings, dict):
        raise BackboneError(f"{folder / CONFIG}: is no table of settings; fetch it again")
    tensors, _ = read_tensors(tensors_path)
    return WeightsFile(path, settings, tensors)


def fit_tensors(
    weights: WeightsFile,
    expected: Mapping[str, Sequence[int]],
    canonical: Callable[[str], str | None],
) -> dict[str, Tensor]:
    """Fit a file's keys to those of a network, one to one.

    Where none fits, the prefix that a wrapper put before them is taken off: ``module.`` of parallel
    training, or the attribute of a larger model; so is ``_orig_mod.`` of `torch.compile` anywhere.

    Args:
        weights: What was read.
        expected: Shape of each tensor that the network has, by canonical key.
        canonical: The canonical key of a file's key; None for one that is known and not needed.

    Returns:
        The tensors in float32, by canonical key.

    Raises:
        BackboneError: Keys are unknown, missing, double, no tensors or of another shape; one
            message names the first of them.
    """
    plain = {key: key.replace(COMPILED, "") for key in weights.tensors}
    prefix = _wrapper(plain.values(), expected, canonical)
    names = {key: canonical(name.removeprefix(prefix)) for key, name in plain.items()}
    found: dict[str, Tensor] = {}
    unknown: list[str] = []
    problems: list[str] = []
    for key, value in weights.tensors.items():
        name = names[key]
        if name is None:
            continue
        if name not in expected:
            unknown.append(key)
            continue
        shape, wanted = tuple(getattr(value, "shape", ())), tuple(expected[name])
        if name in found:
            problems.append(f"{key!r} is there twice, with and without a prefix")
        elif not isinstance(value, Tensor):
            problems.append(f"{key!r} is no tensor but {type(value).__name__}")
        elif shape != wanted:
            problems.append(f"{key!r} is of shape {shape}, not {wanted}")
        found[name] = value
    missing = [name for name in expected if name not in found]
    if len(missing) == len(expected):
        told = ", ".join(repr(key) for key in unknown[:PROBLEMS_TOLD]) or "nothing at all"
        raise BackboneError(
            f"{weights.path}: holds another model's tensors ({told}); use the plugin for that one"
        )
    problems += [f"unknown key {key!r}{_close(names[key], missing)}" for key in unknown]
    problems += [f"missing key {name!r}" for name in missing]
    if problems:
        told = "; ".join(problems[:PROBLEMS_TOLD])
        more = len(problems) - PROBLEMS_TOLD
        raise BackboneError(f"{weights.path}: {told}" + (f"; and {more} more" if more > 0 else ""))
    return {name: found[name].float() for name in expected}


def _wrapper(
    keys: Iterable[str], expected: Mapping[str, Any], canonical: Callable[[str], str | None]
) -> str:
    """The prefix that most of a network's keys stand after; empty where one stands without any."""
    prefixes: Counter[str] = Counter()
    for key in keys:
        parts = key.split(".")
        cuts = (cut for cut in range(len(parts)) if canonical(".".join(parts[cut:])) in expected)
        cut = next(cuts, None)
        if cut is not None:
            prefixes["".join(f"{part}." for part in parts[:cut])] += 1
    return "" if "" in prefixes or not prefixes else prefixes.most_common(1)[0][0]


def require_values(path: str | Path, settings: Mapping[str, Any], only: Mapping[str, Any]) -> None:
    """Refuse settings that differ from the only values supported; absent ones are not looked at.

    Raises:
        BackboneError: One differs.
    """
    for name, value in only.items():
        if name in settings and settings[name] != value:
            raise BackboneError(
                f"{path}: its setting {name} is {settings[name]!r}; only {value!r}, which all "
                "published checkpoints have, is supported"
            )


def required_values(
    path: str | Path, settings: Mapping[str, Any], names: Iterable[str]
) -> dict[str, Any]:
    """Settings that must be there.

    Raises:
        BackboneError: One is missing.
    """
    names = list(names)
    missing = [name for name in names if settings.get(name) is None]
    if missing:
        raise BackboneError(f"{path}: its settings do not say {', '.join(missing)}")
    return {name: settings[name] for name in names}


def present_values(settings: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Those of some settings that are there."""
    return {name: settings[name] for name in names if settings.get(name) is not None}


def require_model_type(weights: WeightsFile, name: str) -> None:
    """Refuse a Hugging Face folder that says it is another model's.

    Raises:
        BackboneError: Its `model_type` is there and another one.
    """
    kind = weights.settings.get("model_type", name)
    if kind != name:
        raise BackboneError(
            f"{weights.path}: a model of type {kind!r}, not {name!r}; use the plugin for that one"
        )


def check_source(path: str | Path | None, random_weights: int | None, architecture: Any) -> None:
    """Refuse options of a `from_checkpoint` that contradict one another.

    Raises:
        BackboneError: Weights are to be read and drawn, or an architecture is given to read ones.
    """
    if path is not None and random_weights is not None:
        raise BackboneError(f"{path}: leave out either this checkpoint or random_weights")
    if architecture is not None and random_weights is None:
        raise BackboneError(
            "the checkpoint says the architecture; leave that option out, or give random_weights "
            "in place of a checkpoint"
        )


def _close(name: str | None, choices: Iterable[str]) -> str:
    match = difflib.get_close_matches(name or "", list(choices), n=1, cutoff=0.8)
    return f" (did you mean {match[0]!r}?)" if match else ""


def _torch_problem(path: Path, error: Exception) -> str:
    refused = re.search(r"(?:Unsupported global: GLOBAL|unsupported GLOBAL) (\S+)", str(error))
    if refused:
        return (
            f"holds an object of type {refused[1]}, which is not loaded, as a pickle can run code; "
            "take the weights in their safetensors form, or keep only what is needed, where you "
            "trust the file: python -c \"import torch; c = torch.load('" + path.name + "', "
            "weights_only=False); torch.save({k: c[k] for k in ('cfg', 'model')}, 'plain.pt')\""
        )
    damaged = f"not a readable torch file ({type(error).__name__}), perhaps truncated"
    return in_place_of_weights(path) or f"{damaged}; fetch it again"
