"""A monitor of one machine: fitted with normal recordings, it judges others."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from dcase_asd.errors import (
    ArtifactError,
    AudioError,
    DataError,
    RecipeError,
    ScoresError,
    TooFewClipsError,
    close_name,
    some,
)
from dcase_asd.monitor.backbones import BackboneChoice, Embedder
from dcase_asd.monitor.hearing import FrontEnd, open_sound, sound_of
from dcase_asd.monitor.judge import Judge
from dcase_asd.monitor.model_file import AGAIN, check_arrays, read_model, reason, write_model
from dcase_asd.monitor.normals import (
    Normals,
    Opened,
    Recording,
    Skipped,
    choose_front_end,
    gather,
    listed,
    low_rates,
    narrow_recordings,
    several_conditions,
)
from dcase_asd.monitor.outliers import far_recordings
from dcase_asd.monitor.scoring import FEWEST_WINDOWS, SPECTRA
from dcase_asd.monitor.verdict import FALSE_ALARMS, Rule, Verdict
from dcase_asd.progress import Progress, Silent
from dcase_asd.recipe.detector import Detector
from dcase_asd.recipe.toml import recipe_from
from dcase_asd.scores.detector import make_detector

Recordings = str | Path | Sequence[str | Path | NDArray[np.floating]]
ENOUGH = 8
"""Windows that the way out of too few aims at."""
REASONS_TOLD = 8
"""Reasons for leaving recordings out that are told, each with the first of them."""
KEPT = np.float16
"""Of the grids: 0.06 dB fine at 100 dB."""


@dataclass(frozen=True)
class Monitor:
    """What was learnt of one machine.

    Attributes:
        front: What recordings are heard with.
        normals: What is kept of the normal ones.
        choice: The detector.
        embedder: Makes the vectors; None where they are the spectra.
        false_alarms: Share of normal recordings that may be called anomalous.
        skipped: Files that `fit` or `update` left out.
        saved: What `Judge.calibration` gave when the model was made.
    """

    front: FrontEnd
    normals: Normals
    choice: Detector
    embedder: Embedder | None = None
    false_alarms: float = FALSE_ALARMS
    skipped: tuple[Skipped, ...] = ()
    saved: Mapping[str, NDArray[Any]] = field(default_factory=dict, repr=False)

    @classmethod
    def fit(
        cls,
        recordings: Recordings,
        *,
        sample_rate: int | None = None,
        window: float | None = None,
        channel: int = 0,
        backbone: BackboneChoice | None = None,
        detector: Detector | None = None,
        false_alarms: float = FALSE_ALARMS,
        exclude: Sequence[str] = (),
        progress: Progress | None = None,
    ) -> Self:
        """Learn from normal recordings of a machine.

        Args:
            recordings: A folder, a file, or a sequence of files and of arrays (n,).
            sample_rate: In Hz, that recordings are heard at, and that of arrays; by default 16,000,
                or the lowest of theirs.
            window: Seconds that are judged at once; by default the usual length of the recordings,
                at most 10.
            channel: Which one of each file.
            backbone: Another front end (see `BackboneChoice.find`); by default the mean and
                deviation of a log-mel spectrum, which needs no torch.
            detector: How windows are scored; by default as the plugin proposes, without a
                backbone `SPECTRA`.
            false_alarms: Share of normal recordings that may be called anomalous.
            exclude: Names of recordings to leave out, as `notes` tells them: paths below a folder.
            progress: Where to tell how far it is.

        Raises:
            ScoresError: There is no such detector, or it does not take its options.
            DataError: There is no recording, or none that is to be left out.
            AudioError: None of them can be used.
            TooFewClipsError: They are too few.
        """
        check_share(false_alarms)
        choice = detector or (backbone.proposed() if backbone else SPECTRA)
        make_detector(choice)
        progress = progress or Silent()
        sounds, others = _sounds(recordings, channel, sample_rate, exclude)
        front = choose_front_end(sounds, channel, window, sample_rate)
        embedder = Embedder(backbone) if backbone else None
        normals, skipped = gather(sounds, front, embedder, (), progress)
        _tell(skipped, others, progress)
        if normals is None:
            raise AudioError(f"{_place(recordings)}: none of {len(sounds)} recording(s) can be "
                             f"used ({skipped[0].name}: {skipped[0].reason})")  # fmt: skip
        if len(normals) < FEWEST_WINDOWS:
            seconds = sum(each.seconds for each in normals.properties)
            raise TooFewClipsError(
                f"{_place(recordings)}: {len(normals)} normal window(s) of {front.window:.3g} s, "
                "too few to tell what is usual; record more, 20 at least, or cut them finer with "
                f"--window {max(0.5, seconds / ENOUGH):.2g}"
            )
        return cls(front, normals.fewer(), choice, embedder, false_alarms, tuple(skipped))

    def update(
        self,
        recordings: Recordings,
        progress: Progress | None = None,
        *,
        exclude: Sequence[str] = (),
    ) -> Self:
        """The same with more normal recordings; those that it knows are left out.

        Args:
            recordings: As of `fit`.
            progress: As of `fit`.
            exclude: As of `fit`: of these recordings, not of those that it knows.

        Raises:
            DataError: There is no recording, or none that is new or that is to be left out.
        """
        progress = progress or Silent()
        sounds, others = _sounds(recordings, self.front.channel, self.front.sample_rate, exclude)
        known = [each.key for each in self.normals.recordings]
        more, skipped = gather(sounds, self.front, self.embedder, known, progress)
        _tell(skipped, others, progress)
        if more is None:
            raise DataError(f"{_place(recordings)}: nothing new in {len(sounds)} recording(s) "
                            f"({skipped[0].name}: {skipped[0].reason})")  # fmt: skip
        joined = self.normals.joined(more).fewer()
        return replace(self, normals=joined, skipped=tuple(skipped), saved={})

    @cached_property
    def judge(self) -> Judge:
        """Compares recordings with the normal ones."""
        return Judge(self.front, self.normals, self.choice, self.embedder, self.saved)

    def check(
        self,
        recording: str | Path | NDArray[np.floating],
        sample_rate: int | None = None,
        *,
        name: str = "",
        false_alarms: float | None = None,
        rule: Rule | str | None = None,
    ) -> Verdict:
        """Judge a recording.

        Args:
            recording: A file, or samples (n,) in [-1, 1].
            sample_rate: Of samples, in Hz; by default the model's.
            name: What it is called; by default its path.
            false_alarms: Share of normal recordings that may be called anomalous; by default what
                the model was fitted with.
            rule: How many of how many consecutive windows have to be anomalous, such as ``2/3``.

        Raises:
            AudioError: It cannot be read, or is too short.
        """
        if isinstance(recording, str | Path):
            sound = open_sound(recording, self.front.channel, name)
        else:
            sound = sound_of(recording, sample_rate or self.front.sample_rate, name or "array")
        share = self.false_alarms if false_alarms is None else check_share(false_alarms)
        return self.judge.judge(sound, share, Rule.parse(rule) if isinstance(rule, str) else rule)

    @cached_property
    def key(self) -> str:
        """Equal for models that give the same scores."""
        digest = hashlib.blake2b(repr((self.front, self.choice)).encode(), digest_size=8)
        digest.update(np.ascontiguousarray(self.normals.vectors, dtype=np.float32).tobytes())
        digest.update(self.normals.owners.astype(np.int64).tobytes())
        digest.update(self.judge.usual.tobytes() + self.judge.events.tobytes())
        return digest.hexdigest()

    def notes(self) -> list[str]:
        """What must be said of the normal recordings, a sentence each."""
        calibration, count = self.judge.scorer.calibration, len(self.normals)
        notes = [
            low_rates(self.normals.recordings, self.front),
            narrow_recordings(self.normals, self.front),
            several_conditions(self.normals),
        ]
        if self.false_alarms < calibration.supports:
            notes.append(
                f"{count} normal window(s) support a false-alarm rate of {calibration.supports:.2g}"
                f" at best, not {self.false_alarms:.2g}: the threshold is their largest score; "
                f"record {int(np.ceil(1 / self.false_alarms)) - 1} or more"
            )
        notes.append(far_recordings(self.judge, self.false_alarms))
        return [note for note in notes if note]

    def save(self, path: str | Path, *, embed_weights: bool = False, replace: bool = True) -> None:
        """Write the model to one ``.asd`` file.

        Args:
            path: The file.
            embed_weights: Put the weights of a backbone into it; those that are in the file which
                this was loaded from stay with it.
            replace: Whether a file that is there may be replaced.

        Raises:
            ArtifactError: It is there already, or cannot be written.
        """
        path = Path(path)
        if path.exists() and not replace:
            raise ArtifactError(f"{path}: exists already; give another --out, or replace it with "
                                "--force")  # fmt: skip
        normals, arrays = self.normals, self.judge.calibration()
        arrays |= {
            "owners": normals.owners.astype(np.int64),
            "spectra": normals.spectra,
            "grids": np.concatenate(normals.grids).astype(KEPT),
            "cells": np.array([len(each) for each in normals.grids], dtype=np.int64),
        }
        backbone = self.embedder.choice if self.embedder else None
        if self.embedder:
            arrays["vectors"] = normals.vectors
        table = {
            "front": asdict(self.front),
            "backbone": asdict(backbone) if backbone else None,
            "detector": asdict(self.choice),
            "false_alarms": self.false_alarms,
            "threshold": self.judge.scorer.calibration.threshold(self.false_alarms),
            "recordings": [
                asdict(each) | {"path": _from_here(each.path, path)} for each in normals.recordings
            ],
        }
        with tempfile.TemporaryDirectory() as folder:
            weights = self.embedder.weights_within(Path(folder)) if self.embedder else {}
            if backbone and embed_weights and not weights:
                weights = backbone.weights()
            write_model(path, table, arrays, weights)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what `save` wrote; nothing in the file is run.

        Raises:
            ArtifactError: There is no such file, or it is foreign, damaged or of another version.
        """
        table, arrays = read_model(path)
        try:
            return cls._from_file(recipe_from(table, _Table, "its table"), arrays, Path(path))
        except (KeyError, ValueError, OverflowError, RecipeError, ScoresError) as error:
            raise ArtifactError(f"{path}: a damaged model ({reason(error)}); {AGAIN}") from error

    @classmethod
    def _from_file(cls, table: _Table, arrays: Mapping[str, NDArray[Any]], path: Path) -> Self:
        check_share(table.false_alarms)
        make_detector(table.detector)
        if table.backbone:
            table.backbone.recipe  # noqa: B018 - is checked when it is made
        check_arrays(arrays, table.front, len(table.recordings), embedded=bool(table.backbone))
        owners, spectra, cells = arrays["owners"], arrays["spectra"], arrays["cells"]
        vectors = arrays["vectors"] if table.backbone else spectra
        grids = tuple(np.split(arrays["grids"], np.cumsum(cells)[:-1]))
        folder = path.absolute().parent
        recordings = tuple(
            replace(each, path=os.path.normpath(folder / each.path) if each.path else "")
            for each in table.recordings
        )
        return cls(
            table.front,
            Normals(recordings, owners, spectra, vectors, grids),
            table.detector,
            Embedder(table.backbone, path) if table.backbone else None,
            table.false_alarms,
            saved={name: arrays[name] for name in ("left_out", "usual", "events")},
        )


@dataclass(frozen=True)
class _Table:
    """The table of a model's file, as `Monitor.save` writes it."""

    format: str
    version: int
    made_by: str
    front: FrontEnd
    backbone: BackboneChoice | None
    detector: Detector
    false_alarms: float
    threshold: float
    recordings: tuple[Recording, ...]


def check_share(false_alarms: float) -> float:
    """A false-alarm rate.

    Raises:
        RecipeError: It is none.
    """
    if not 0 < false_alarms < 1:
        raise RecipeError(f"--false-alarms {false_alarms:g}: give a share between 0 and 1, such as "
                          "0.01")  # fmt: skip
    return false_alarms


def _from_here(recording: str, model: Path) -> str:
    """Where a recording lies as seen from a model's folder; empty where there is no way."""
    try:
        return Path(os.path.relpath(recording, model.absolute().parent)).as_posix() * bool(
            recording
        )
    except ValueError:  # another drive of Windows
        return ""


def _sounds(
    recordings: Recordings, channel: int, sample_rate: int | None, exclude: Sequence[str]
) -> tuple[dict[str, Opened], int]:
    sounds, others = _all_sounds(recordings, channel, sample_rate)
    for name in exclude:
        if name not in sounds:
            near = close_name(name, sounds) or f"names are such as {some(sounds)}"
            raise DataError(f"{_place(recordings)}: holds no {name} to leave out; {near}")
    kept = {name: opened for name, opened in sounds.items() if name not in exclude}
    if not kept:
        raise DataError(f"{_place(recordings)}: all is left out; give more recordings")
    return kept, others


def _all_sounds(
    recordings: Recordings, channel: int, sample_rate: int | None
) -> tuple[dict[str, Opened], int]:
    if isinstance(recordings, str | Path):
        return listed(recordings, channel)
    sounds: dict[str, Opened] = {}
    for number, each in enumerate(recordings):
        if isinstance(each, str | Path):
            sounds[str(each)] = partial(open_sound, each, channel, str(each))
        elif sample_rate is None:
            raise AudioError("the arrays' rate is not known; give sample_rate in Hz")
        else:
            name = f"array {number}"
            sounds[name] = partial(sound_of, each, sample_rate, name)
    if not sounds:
        raise DataError("no recording; give a folder, files or arrays")
    return sounds, 0


def _place(recordings: Recordings) -> str:
    return str(recordings) if isinstance(recordings, str | Path) else "the recordings"


def _tell(skipped: Sequence[Skipped], others: int, progress: Progress) -> None:
    if others:
        progress.note(f"{others} other file(s) are not named as recordings: left out")
    reasons: dict[str, list[str]] = {}
    for each in skipped:
        reasons.setdefault(each.reason, []).append(each.name)
    for why, names in list(reasons.items())[:REASONS_TOLD]:
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        progress.note(f"left out {names[0]}{more}: {why}")
    if (rest := len(reasons) - REASONS_TOLD) > 0:
        progress.note(f"left out others for {rest} more reason(s): --json lists them all")
