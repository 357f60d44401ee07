"""Checkpoints that this toolkit writes: safetensors with what they are in the metadata.

No code in a file is ever executed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from dcase_asd.errors import BackboneError

CHECKPOINT_FORMAT = "dcase-asd backbone 1"

FINETUNED_FORMAT = "dcase-asd finetuned 1"
"""A fine-tuned backbone with its head; the backbone's own tensors begin with `BACKBONE_PREFIX`."""
BACKBONE_PREFIX = "backbone."

METADATA = "dcase_asd"
"""Name in the metadata of a safetensors file under which ours stands, as JSON."""


def read_checkpoint(path: str | Path, plugin: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `Backbone.save` wrote, or the backbone inside a fine-tuned checkpoint.

    No code in the file is ever executed.

    Returns:
        The tensors by name, and the options.

    Raises:
        BackboneError: The file is missing, damaged, of another format or of another plugin.
    """
    tensors, metadata = read_tensors(path)
    if metadata.get("format") not in (CHECKPOINT_FORMAT, FINETUNED_FORMAT):
        raise BackboneError(
            f"{path}: not a checkpoint that dcase-asd saved, and safetensors of other programs do "
            "not say which network they are of; give the file or folder as its authors publish it"
        )
    if metadata.get("plugin") != plugin:
        raise BackboneError(
            f"{path}: a checkpoint of the backbone {metadata.get('plugin')!r}, not of {plugin!r}; "
            f"use --plugin {metadata.get('plugin')}"
        )
    if metadata["format"] == FINETUNED_FORMAT:
        tensors = {
            name.removeprefix(BACKBONE_PREFIX): value
            for name, value in tensors.items()
            if name.startswith(BACKBONE_PREFIX)
        }
    tensors.pop("no_weights", None)
    return tensors, dict(json.loads(metadata["options"]))


def read_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read all of a safetensors file: tensors by name, and metadata.

    Raises:
        BackboneError: The file is missing or damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = _metadata(file.metadata())
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        reason = in_place_of_weights(path) or f"not a readable checkpoint ({error})"
        raise BackboneError(f"{path}: {reason}") from error
    return tensors, metadata


def write_tensors(
    path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]
) -> None:
    """Write a safetensors file for `read_tensors`; the same content gives the same bytes."""
    # All under one name, because several would stand in the file in a random order.
    about = json.dumps(metadata, sort_keys=True, ensure_ascii=False)
    save_file(dict(tensors), path, {METADATA: about})


def is_finetuned(path: str | Path) -> bool:
    """Whether a path is a fine-tuned checkpoint of this toolkit; anything else is not."""
    try:
        with safe_open(path, framework="pt") as file:
            return _metadata(file.metadata()).get("format") == FINETUNED_FORMAT
    except (OSError, SafetensorError):
        return False


def in_place_of_weights(path: str | Path) -> str:
    """What was saved instead of a checkpoint, with the way out; empty where that cannot be told.

    Downloads leave the page of an error or a login, `git clone` without LFS leaves pointers.
    """
    try:
        with Path(path).open("rb") as file:
            head = file.read(1024).removeprefix(b"\xef\xbb\xbf").strip()
    except OSError:
        return ""
    if head.startswith(b"version https://git-lfs"):
        size = re.search(rb"\nsize (\d+)", head)
        of = f" to a file of {int(size[1])} bytes" if size else ""
        return (
            f"a Git LFS pointer of {Path(path).stat().st_size} bytes{of}: fetch the real file with "
            "`git lfs pull`"
        )
    if head.startswith(b"<"):
        return "a web page (HTML), not weights; download the file itself"
    text = " ".join(head.decode("ascii", "replace").split())
    if head.isascii() and text.isprintable() and not text.startswith(("{", "[")) and text:
        return f"text, not weights ({text[:60]!r}); download the file itself"
    return ""


def _metadata(found: dict[str, str] | None) -> dict[str, str]:
    """What `write_tensors` was given; nothing for a file of others."""
    return dict(json.loads((found or {}).get(METADATA, "{}")))
