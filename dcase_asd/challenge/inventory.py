"""What a data folder holds, counted for each machine of each edition."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dcase_asd.challenge.edition import STAGE_FOLDERS, edition_name

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class MachineInventory:
    """Clips of one machine of one stage of an edition.

    Attributes:
        edition: Name of the edition.
        stage: ``dev`` or ``eval``.
        machine: Machine type.
        sections: Sections, in order.
        train: Normal clips to learn from.
        domains: Train clips of the source and of the target domain; ``-`` without domains.
        test: Clips to score.
        labelled: Test clips whose condition their name tells.
        attributes: Number of different attribute strings of train clips; ``none`` without.
        clean: Supplemental clips of the machine alone.
        noise: Supplemental clips of noise alone.
        seconds: Length of a clip, or the shortest and longest.
        rates: Sampling rates in Hz.
        channels: Numbers of channels.
        problems: Files that were left out.
    """

    edition: str
    stage: str
    machine: str
    sections: str
    train: int
    domains: str
    test: int
    labelled: int
    attributes: str
    clean: int
    noise: int
    seconds: str
    rates: str
    channels: str
    problems: int


def take_inventory(clips: pd.DataFrame, problem_paths: list[str]) -> list[MachineInventory]:
    """Count what there is of each machine.

    Args:
        clips: Rows of the manifest.
        problem_paths: Paths of files that were left out, relative to the data folder.

    Returns:
        One entry for each machine with a clip or a problem, sorted by edition, stage and machine.
    """
    problems = Counter(map(_machine_of, problem_paths))
    groups = {
        (str(edition), str(stage), str(machine)): rows
        for (edition, stage, machine), rows in clips.groupby(["edition", "stage", "machine"])
    }
    empty = clips.iloc[:0]
    return [
        _count(key, groups.get(key, empty), problems[key])
        for key in sorted(groups.keys() | problems.keys())
    ]


def _count(key: tuple[str, str, str], rows: pd.DataFrame, problems: int) -> MachineInventory:
    machine_clips = rows[rows["role"] == "machine"]
    train = machine_clips[machine_clips["split"] == "train"]
    test = machine_clips[machine_clips["split"] == "test"]
    counts = [int((train["domain"] == domain).sum()) for domain in ("source", "target")]
    attributes = train.loc[train["attributes"] != "", "attributes"].nunique()
    lengths = sorted({f"{each:.3g}" for each in rows["frames"] / rows["sample_rate"]}, key=float)
    return MachineInventory(
        *key,
        sections=" ".join(sorted(machine_clips["section"].unique())),
        train=len(train),
        domains="/".join(map(str, counts)) if any(counts) else "-",
        test=len(test),
        labelled=int((test["condition"] != "").sum()),
        attributes=str(attributes) if attributes else "none",
        clean=int((machine_clips["split"] == "supplemental").sum()),
        noise=int((rows["role"] == "noise").sum()),
        seconds="-".join(dict.fromkeys([*lengths[:1], *lengths[-1:]])),
        rates="/".join(map(str, sorted(rows["sample_rate"].unique()))),
        channels="/".join(map(str, sorted(rows["channels"].unique()))),
        problems=problems,
    )


def _machine_of(path: str) -> tuple[str, str, str]:
    edition, stage, _, machine = path.split("/")[:4]
    return edition_name(edition), STAGE_FOLDERS[stage], machine
