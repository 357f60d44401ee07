"""What a machine's recordings turn out to be while they are embedded, and what is said of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from dcase_asd.audio import MICROPHONES, read_clip
from dcase_asd.errors import AudioError, some
from dcase_asd.recipe.system import Embedding

if TYPE_CHECKING:
    from dcase_asd.embeddings.two_microphones import Cleaned

FAR_SAMPLED = 4
"""Clips of a machine by which its far channel is judged before anything is embedded."""
NEARER_TOLD = 0.1
"""Mean of `two_microphones.nearer_share` from which a far microphone seems to hear the machine."""


@dataclass
class Findings:
    """What was found of a machine.

    Attributes:
        shape: Of an embedding.
        constant: Clips without any sound, with the channels that have some.
        removed: Of each clip the share of the near energy that went with the far channel.
        nearer: Of each clip `two_microphones.nearer_share`.
        far_silent: Clips whose far channel is silent.
    """

    shape: tuple[int, ...] = ()
    constant: dict[Path, list[int]] = field(default_factory=dict)
    removed: list[float] = field(default_factory=list)
    nearer: list[float] = field(default_factory=list)
    far_silent: list[str] = field(default_factory=list)

    def add_cleaned(self, paths: list[Path], cleaned: Cleaned) -> None:
        """Take up what the far channels of a batch did."""
        self.removed += cleaned.removed.tolist()
        self.nearer += cleaned.nearer.tolist()
        silent = zip(paths, cleaned.silent.tolist(), strict=True)
        self.far_silent += [path.name for path, is_silent in silent if is_silent]

    def provenance(self) -> dict[str, Any]:
        """What is written beside the embeddings."""
        silent = {"silent": sorted(path.name for path in self.constant)}
        if not self.removed:
            return silent
        far = {
            "removed": round(_mean(self.removed), 4),
            "nearer": round(_mean(self.nearer), 4),
            "silent": sorted(self.far_silent),
        }
        return silent | {"far_channel": far}

    def told(self, where: str, recipe: Embedding) -> list[str]:
        """What is worth to know once, as it does not put scores into question."""
        return [f"{where}: --far {recipe.far} removed {self._energy()}"] if self.removed else []

    def foretold(self, where: str) -> str:
        """What `sample_far` found of a machine."""
        if not self.removed:
            return f"{where}: two channels; none of the clips that were tried can be cleaned"
        line = (
            f"{where}: two channels; of {len(self.removed)} clips, --far cancel removes "
            f"{self._energy()}"
        )
        if self.far_silent:
            line += f"; the far channel of {len(self.far_silent)} is silent"
        if (share := _mean(self.nearer)) >= NEARER_TOLD:
            line += f"; the far microphone seems to hear the machine ({share:.0%} of that energy)"
        return line

    def _energy(self) -> str:
        low, high = min(self.removed), max(self.removed)
        return f"{_mean(self.removed):.1%} of the near energy ({low:.1%} to {high:.1%} of a clip)"

    def notes(self, where: str, clips: int, table: str, recipe: Embedding) -> list[str]:
        """What has to be known of a machine's scores, told with them as well.

        Args:
            where: Stage and machine type.
            clips: How many it has.
            table: File that names all.
            recipe: What was embedded with.
        """
        notes = []
        if self.constant:
            note = (
                f"{where}: {len(self.constant)} of {clips} recordings are silent or constant on "
                f"channel {recipe.channel} ({some(path.name for path in self.constant)}; all are "
                f"named in {table}), so that their scores say nothing"
            )
            sounding = sorted({other for channels in self.constant.values() for other in channels})
            if sounding:
                note += (
                    f"; channel {', '.join(map(str, sounding))} has sound: embed it with "
                    f"--channel {sounding[0]} into another --run"
                )
            notes.append(note)
        if self.far_silent:
            notes.append(
                f"{where}: the far channel of {len(self.far_silent)} of {clips} recordings is "
                f"silent ({some(self.far_silent)}; all are named in {table}), so that nothing is "
                "taken out of these"
            )
        if self.nearer and (share := _mean(self.nearer)) >= NEARER_TOLD:
            notes.append(
                f"{where}: the far microphone seems to hear the machine, as {share:.0%} of the "
                "near energy is heard by both and louder near: sounds of faults may be removed "
                "with it; compare with --far none in another --run"
            )
        return notes


def sample_far(data: str | Path, clips: pd.DataFrame) -> dict[tuple[str, str, str], Findings]:
    """Take the far channel out of `FAR_SAMPLED` clips of each machine with two channels.

    Args:
        data: Data folder.
        clips: Rows of its manifest.

    Returns:
        What was found by edition, stage and machine type; the clips are evenly spaced ones of the
        manifest, those that cannot be read are passed over.
    """
    two = clips[(clips["channels"] == MICROPHONES) & (clips["role"] == "machine")]
    if two.empty:
        return {}
    import torch

    from dcase_asd.embeddings.two_microphones import clean

    machines: dict[tuple[str, str, str], Findings] = {}
    for (edition, stage, machine), rows in two.groupby(["edition", "stage", "machine"]):
        found = machines[str(edition), str(stage), str(machine)] = Findings()
        places = np.unique(np.linspace(0, len(rows) - 1, FAR_SAMPLED).round().astype(int))
        for name, rate in rows.iloc[places][["path", "sample_rate"]].itertuples(index=False):
            path = Path(data) / name
            try:
                channels = torch.from_numpy(read_clip(path, both=True)[0])[None]
                cleaned = clean(channels, torch.tensor([channels.shape[1]]), "cancel", int(rate))
            except AudioError:
                continue
            found.add_cleaned([path], cleaned)
    return machines


def no_far_channel(clips: pd.DataFrame, recipe: Embedding, use: str = "embed") -> str:
    """What to say where a far channel is to be taken out of clips without one; else empty.

    Args:
        clips: Rows of the manifest.
        recipe: Its `far` and `channel` count.
        use: What is done with the clips, in words.
    """
    others = clips.loc[clips["channels"] != MICROPHONES, "path"]
    if recipe.far == "none" or others.empty:
        return ""
    return (
        f"{len(others)} of {len(clips)} clips have no near and far microphone, as they have not "
        f"two channels ({some(others)}); give --far none to {use} channel {recipe.channel} as it is"
    )


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
