"""Neighborhoods of train clips, kept beside the embeddings that they were found among."""

from __future__ import annotations

import hashlib
import zlib
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.lib.array_utils import byte_bounds
from numpy.typing import NDArray

from dcase_asd.files import replacing
from dcase_asd.scores.distances import Metric
from dcase_asd.scores.neighbors import BANK_BLOCK, Neighborhood, find_neighborhood


class KeptNeighborhoods:
    """Looks up neighborhoods in a file, and finds those that are not there.

    Each stands under what it was found among, so that a wrong one is never taken: rows or a band
    of the mapped file of embeddings under their place in it (a hash would take as long as scoring
    100 clips), anything else under a hash of its values. A file of other embeddings, or a damaged
    one, is as none.

    Args:
        marker: The marker of a machine's embeddings, beside which the file lies.
        fingerprint: Of these embeddings.
        vectors: Their array, mapped from its file for reading alone; without it all is hashed.
    """

    def __init__(
        self, marker: Path, fingerprint: str, vectors: NDArray[np.floating] | None = None
    ) -> None:
        self.path, self.fingerprint = marker.with_suffix(".neighbors.npz"), fingerprint
        self.vectors = None
        if vectors is not None and not vectors.flags.writeable:
            self.vectors, state = vectors, marker.with_suffix(".npy").stat()
            self.fingerprint += f" {state.st_size} {state.st_mtime_ns}"
        self.known: dict[str, Neighborhood] | None = None
        self.changed = False

    def find(
        self, bank: NDArray[np.floating], count: int, metric: Metric = "cosine"
    ) -> Neighborhood:
        """As `neighbors.find_neighborhood`."""
        if self.known is None:
            self.known = self._read()
        key = f"{metric} {_place(bank, self.vectors) or _hash(bank)}"
        found = self.known.get(key)
        if found is None or not _fits(found, len(bank), count):
            found = self.known[key] = find_neighborhood(bank, count, metric)
            self.changed = True
        return Neighborhood(found.distances[:, :count], found.indices[:, :count])

    def save(self) -> None:
        """Write what was found anew, together with what was there.

        Raises:
            ArtifactError: The file cannot be written.
        """
        if not self.changed or self.known is None:
            return
        arrays = {"fingerprint": np.array(self.fingerprint)}
        for key, each in self.known.items():
            arrays |= {f"{key} distances": each.distances, f"{key} indices": each.indices}
        with replacing(self.path) as temporary, temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
        self.changed = False

    def _read(self) -> dict[str, Neighborhood]:
        try:
            with self.path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
                if str(file["fingerprint"]) != self.fingerprint:
                    return {}
                keys = {name.rpartition(" ")[0] for name in file.files if " " in name}
                return {
                    key: Neighborhood(file[f"{key} distances"], file[f"{key} indices"])
                    for key in sorted(keys)
                }
        except (OSError, ValueError, TypeError, KeyError, EOFError, BadZipFile, zlib.error):
            return {}


def _fits(found: Neighborhood, clips: int, count: int) -> bool:
    """Whether it is one of so many clips, as it is found, and reaches far enough."""
    distances, indices = found.distances, found.indices
    return (
        distances.shape == indices.shape
        and distances.ndim == 2  # noqa: PLR2004 - clips by neighbors
        and len(distances) == clips
        and distances.shape[1] >= count
        and distances.dtype == np.float64
        and indices.dtype == np.intp
        and bool(np.isfinite(distances).all())
        and bool((indices >= 0).all() and (indices < clips).all())
    )


def _place(bank: NDArray[np.floating], vectors: NDArray[np.floating] | None) -> str:
    """Where in an array the values of a bank stand; empty where they do not, or it may change."""
    if vectors is None or bank.dtype != vectors.dtype:
        return ""
    (first, last), (low, high) = byte_bounds(bank), byte_bounds(vectors)
    start = bank.__array_interface__["data"][0] - low
    inside = low <= first and last <= high
    return f"{start} {bank.shape} {bank.strides}" if inside else ""


def _hash(bank: NDArray[np.floating]) -> str:
    digest = hashlib.sha256(f"{bank.dtype} {bank.shape}".encode())
    for start in range(0, len(bank), BANK_BLOCK):
        digest.update(np.ascontiguousarray(bank[start : start + BANK_BLOCK]).data)
    return digest.hexdigest()
