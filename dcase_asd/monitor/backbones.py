"""Other front ends than the embedded one: any backbone plugin, with torch, only when asked for."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dcase_asd.errors import BackboneError
from dcase_asd.files import find_below
from dcase_asd.monitor.hearing import FrontEnd, Sound, waveforms
from dcase_asd.monitor.model_file import unpack_weights
from dcase_asd.poolings import Pooling
from dcase_asd.recipe.detector import Detector
from dcase_asd.recipe.system import Bands, Embedding
from dcase_asd.registry import (
    installed_plugins,
    load_backbone,
    load_class,
    locate_checkpoint,
    named_checkpoints,
)

if TYPE_CHECKING:
    from dcase_asd.backbone import Backbone


@dataclass(frozen=True)
class BackboneChoice:
    """Which backbone makes a window's vector; part of a model's file.

    Attributes:
        plugin: Name of the plugin.
        checkpoint: Path or published name; None where there are no weights.
        options: Of the plugin.
        files: SHA-256 of each file of the checkpoint, by name.
        pooling: As in `recipe.system.Embedding`.
        pooling_options: As there.
        bands: As there.
    """

    plugin: str
    checkpoint: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    pooling: Pooling | None = None
    pooling_options: dict[str, float] = field(default_factory=dict)
    bands: Bands = "concat"

    @classmethod
    def find(
        cls, plugin: str, checkpoint: str | None, options: Mapping[str, Any]
    ) -> BackboneChoice:
        """The choice with the hashes of its weights, which have to be there.

        Raises:
            BackboneError: There is no such plugin or checkpoint.
        """
        if checkpoint is None:
            published = [
                each
                for found in installed_plugins()
                if found.name == plugin
                for each in named_checkpoints(found)
            ]
            checkpoint = published[0].name if published else None
        choice = cls(plugin, checkpoint, dict(options))
        hashes = {path.name: _sha256(path) for path in choice.weights().values()}
        return cls(plugin, checkpoint, dict(options), hashes)

    @property
    def recipe(self) -> Embedding:
        """The same as `[embed]` of a recipe."""
        return Embedding(self.plugin, self.checkpoint, self.options, pooling=self.pooling,
                         pooling_options=self.pooling_options, bands=self.bands)  # fmt: skip

    def proposed(self) -> Detector:
        """How the plugin proposes to score, as `score` does."""
        from dcase_asd.embeddings.kept import proposed_detector

        return proposed_detector(self.recipe)

    def weights(self) -> dict[str, Path]:
        """The checkpoint's files by name; none where there are no weights."""
        path = self._path()
        if path is None:
            return {}
        files = (
            [path] if path.is_file() else [each for each in find_below(path, "*") if each.is_file()]
        )
        return {each.name: each for each in files}

    def _path(self) -> Path | None:
        if self.checkpoint is None:
            return None
        found = locate_checkpoint(self.plugin, self.checkpoint)
        return found or load_class(self.plugin).locate(Path(self.checkpoint))


@dataclass(frozen=True)
class Embedder:
    """Makes vectors of windows with a backbone, which is loaded when first used.

    Attributes:
        choice: Which backbone.
        model: The model's file, where weights may be in it.
    """

    choice: BackboneChoice
    model: Path | None = None

    @cached_property
    def backbone(self) -> Backbone:
        """The backbone, with the weights that the model was made with.

        Raises:
            BackboneError: They are missing or others.
        """
        choice = self.choice
        if choice.files and self.model is not None:
            with tempfile.TemporaryDirectory() as folder:
                if files := self.weights_within(Path(folder)):
                    path = next(iter(files.values())) if len(files) == 1 else Path(folder)
                    self._check(files)
                    return load_backbone(choice.plugin, path, **choice.options)
        self._check(choice.weights())
        return load_backbone(choice.plugin, choice.checkpoint, **choice.options)

    def embed(self, sound: Sound, front: FrontEnd) -> NDArray[np.float32]:
        """Vectors of a recording's windows, (m, d); of bands that are kept apart (m, f, d).

        Raises:
            BackboneError: One of them is not finite.
        """
        import torch

        from dcase_asd.embeddings.represent import represent

        recipe = self.choice.recipe
        backbone = self.backbone
        rate = backbone.sample_rate
        with torch.inference_mode():
            vectors = [
                represent(
                    backbone,
                    recipe,
                    torch.from_numpy(each)[None],
                    torch.tensor([len(each)]),
                    rate or sound.rate,
                ).vectors[0]
                for each in waveforms(sound, front, rate)
            ]
        found: NDArray[np.float32] = torch.stack(vectors).numpy()
        if not np.isfinite(found).all():
            raise BackboneError(f"{sound.name}: the backbone {self.choice.plugin!r} gives no "
                                "finite embedding of it")  # fmt: skip
        return found

    def weights_within(self, folder: Path) -> dict[str, Path]:
        """Weights in the model's file by name, written into a folder; none where it holds none.

        Raises:
            ArtifactError: The file is damaged.
        """
        files = unpack_weights(self.model, folder) if self.model else []
        return {each.name: each for each in files}

    def _check(self, files: Mapping[str, Path]) -> None:
        for name, expected in self.choice.files.items():
            if name not in files or _sha256(files[name]) != expected:
                raise BackboneError(
                    f"{name}: not the weights that the model was made with (SHA-256 "
                    f"{expected[:16]}…); put those back as {self.choice.checkpoint}, or fit anew"
                )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
