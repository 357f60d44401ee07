"""Clips of a page, the most anomalous first: what is decided, a player, pictures of the sound."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr

from dcase_asd.audio import Waveform, read_header, read_span
from dcase_asd.errors import AudioError
from dcase_asd.metrics.ranking import Floats
from dcase_asd.progress import Advance
from dcase_asd.reports.figures.spectrogram import Map, clip_figure, spectrogram
from dcase_asd.reports.figures.style import Gallery

ANOMALOUS = "anomalous"
KINDS = (ANOMALOUS, "suspicious")
"""First words of verdicts that have a color of their own."""
LONGEST = 60.0
"""Seconds of a recording that are on a page at most: half a megabyte."""
MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
"""Sampling rates that the format knows, in Hz."""


@dataclass(frozen=True)
class Sound:
    """Samples of one channel, (n,) in [-1, 1]; or a recording, of which `LONGEST` is read."""

    source: Path | Waveform
    sample_rate: int = 0
    channel: int = 0

    def read(self) -> tuple[Waveform, int, str]:
        """Samples, rate in Hz, and what is left out in words.

        Raises:
            AudioError: The recording cannot be read.
        """
        if isinstance(self.source, Path):
            header = read_header(self.source)
            rate, length = header.sample_rate, header.frames
            samples = read_span(self.source, 0, int(LONGEST * rate), self.channel)
        else:
            rate, length = self.sample_rate, len(self.source)
            samples = self.source[: int(LONGEST * rate)]
        if len(samples) == length:
            return samples, rate, ""
        return samples, rate, f"The first {LONGEST:g} of {length / rate:.0f} seconds."


@dataclass(frozen=True)
class ClipRow:
    """What a page shows of a clip.

    Attributes:
        file: Its name.
        verdict: ``normal``, ``suspicious``, `ANOMALOUS` or other words.
        score: Its anomaly score; None where several systems have theirs.
        p_value: Share of normal clips with a score at least as large, in (0, 1].
        threshold: Above which its score is anomalous; None where there is none.
        condition: ``normal`` or ``anomaly`` as its label says; empty where that is not known.
        sentence: Why, in a sentence.
        notes: What else the reader should know of, in sentences.
        sound: The clip itself; None where it is not at hand.
        nearest: Name of the normal clip that is most similar.
        nearest_sound: That clip.
        difference: Where the two differ, from 0 up.
    """

    file: str
    verdict: str
    score: float | None = None
    p_value: float | None = None
    threshold: float | None = None
    condition: str = ""
    sentence: str = ""
    notes: tuple[str, ...] = ()
    sound: Sound | None = None
    nearest: str = ""
    nearest_sound: Sound | None = None
    difference: Map | None = None


def p_values(scores: Floats, train: Floats) -> Floats:
    """Conformal p values: how rare a score at least as large is among normal clips.

    (1 + the train scores that are at least as large) / (1 + all): of new clips that are
    exchangeable with the train clips at most a share p has a p value of at most p (V. Vovk,
    A. Gammerman and G. Shafer, Algorithmic Learning in a Random World, 2005, section 2.2).

    Args:
        scores: Of clips, (q,).
        train: Leave-one-out scores of normal clips, (n,).

    Returns:
        (q,), in [1 / (n + 1), 1].
    """
    below = np.searchsorted(np.sort(train), scores, side="left")
    shares: Floats = (1 + len(train) - below) / (1 + len(train))
    return shares


def in_order(rows: Sequence[ClipRow]) -> list[ClipRow]:
    """The most anomalous first: by score, without scores by p value, then by name."""
    return sorted(
        rows,
        key=lambda row: (
            -np.inf if row.score is None else -row.score,
            1.0 if row.p_value is None else row.p_value,
            row.file,
        ),
    )


def clip_cards(
    rows: Sequence[ClipRow], gallery: Gallery, advance: Advance | None = None
) -> list[dict[str, Any]]:
    """What ``clips.html.jinja`` shows of each clip, with sounds and pictures in it.

    Args:
        rows: The clips, in the order that they are shown in.
        gallery: Takes the pictures.
        advance: Called after each clip.
    """
    drawn = [_sounds(row) for row in rows]
    levels = [float(each.values.max()) for _, panels, _ in drawn for _, each in panels]
    brightest = max(levels, default=0.0)
    differences = [row.difference for row in rows if row.difference is not None]
    # That of the middle clip: by the one that differs most, all others would be black.
    greatest = float(np.median([float(np.nanmax(each.values)) for each in differences] or [0.0]))
    cards = []
    for row, (players, panels, notes) in zip(rows, drawn, strict=True):
        picture = None
        if panels:
            figure = clip_figure(panels, brightest, row.difference, greatest)
            alt = f"Spectrogram of {row.file}, {panels[0][1].times[-1]:.3g} seconds"
            alt += f", above that of {row.nearest}" if len(panels) > 1 else ""
            alt += ", above where the two differ." if row.difference is not None else "."
            picture = gallery.show(figure, row.file, alt)
        cards.append(
            {
                "file": row.file,
                "verdict": row.verdict,
                "kind": next((each for each in KINDS if row.verdict.startswith(each)), ""),
                "facts": _facts(row),
                "sentence": row.sentence,
                "notes": [*row.notes, *notes],
                "players": players,
                "picture": picture,
            }
        )
        if advance is not None:
            advance(1)
    return cards


def player(samples: Waveform, sample_rate: int) -> str:
    """Samples as an address that an ``<audio>`` element plays without a network.

    MP3, which every browser plays, in a quarter of the size of FLAC; where libsndfile lacks it,
    FLAC. The level stays as it is, as it may be what is wrong; only what is above full scale is
    made softer. What is above 24 kHz is left out.
    """
    form, kind = ("MP3", "mpeg") if "MP3" in soundfile.available_formats() else ("FLAC", "flac")
    rate = next((each for each in MP3_RATES if each >= sample_rate), MP3_RATES[-1])
    if rate != sample_rate:
        samples = soxr.resample(samples, sample_rate, rate, quality="HQ")
    samples = samples / max(1.0, float(np.abs(samples).max(initial=0)))
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=form)
    return f"data:audio/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _sounds(
    row: ClipRow,
) -> tuple[list[tuple[str, str]], list[tuple[str, Map]], list[str]]:
    """Players and spectrograms with their names, and why there are none."""
    players, panels, notes = [], [], []
    nearest = f"nearest normal clip: {row.nearest}" if row.nearest else "nearest normal clip"
    for name, title, sound in (
        (row.file, "this clip", row.sound),
        (nearest, "nearest normal clip", row.nearest_sound),
    ):
        if sound is None:
            continue
        try:
            samples, rate, lacking = sound.read()
        except AudioError as error:
            notes.append(f"Not shown: {error}")
            break
        players.append((name, player(samples, rate)))
        highest = None if row.difference is None else float(row.difference.frequencies[-1])
        panels.append((title, spectrogram(samples, rate, highest)))
        notes += [lacking] * bool(lacking)
    return players, panels, notes


def _facts(row: ClipRow) -> list[tuple[str, str]]:
    """Names and values of a card's list."""
    numbers = {"Score": row.score, "Threshold": row.threshold, "p": row.p_value}
    found = [(name, f"{value:.4g}") for name, value in numbers.items() if value is not None]
    if row.condition:
        found.append(("Label", {"anomaly": ANOMALOUS}.get(row.condition, row.condition)))
    if row.nearest:
        found.append(("Nearest", row.nearest))
    return found
