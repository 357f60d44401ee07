"""A miniature of the challenge: generated sounds in the official folders, names and files.

The sounds are generated (see `sounds`) and stand for no real machine: what a system
scores on them says that it runs, not how good it is.

    <data>/dcase2025t2/dev_data/raw/fan/{train,test,supplemental}/*.wav
    <data>/dcase2025t2/dev_data/raw/fan/attributes_00.csv
    <data>/ground_truth/dcase2025/{ground_truth_data,ground_truth_domain}/ground_truth_*_test.csv
    <data>/miniature.json       written last: the miniature is complete
"""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from dcase_asd.errors import DataError
from dcase_asd.files import TEMPORARY_PREFIX, cannot_write, find_below, read_json
from dcase_asd.folders import DataFolder
from dcase_asd.miniature.machines import (
    ClipCounts,
    Domain,
    MachineFolder,
    PlannedClip,
    generator,
    plan,
    plan_clips,
)
from dcase_asd.miniature.sounds import (
    SAMPLE_RATE,
    Array,
    Place,
    Voice,
    draw_far_microphone,
    draw_voice,
    factory_noise,
    machine_sound,
    record,
    record_pair,
)
from dcase_asd.progress import Advance, Progress, Silent

MARKER = "miniature.json"
"""Written last; says what the miniature was made from and what it holds."""

UNFINISHED = "miniature.unfinished.json"
"""Stands in place of `MARKER` while the miniature is being written."""

_SECONDS = 2.0
_NOISIER = 8.0
"""How much less SNR, in dB, the near one of two microphones has than a single one."""


@dataclass(frozen=True)
class MiniatureSummary:
    """What a miniature holds: clips by edition, machines over all of them, length in seconds."""

    seed: int
    clips: dict[str, int]
    machines: int
    seconds: float


def write_miniature(
    data: str | Path,
    seed: int = 2025,
    progress: Progress | None = None,
    editions: Sequence[str] | None = None,
    counts: ClipCounts | None = None,
) -> MiniatureSummary:
    """Generate the miniature; what is complete is left as it is, what was begun is finished.

    The same arguments give the same bytes. One process may write a folder at a time.

    Args:
        data: A data folder of its own: absent, empty, or a miniature of the same arguments.
        seed: Another seed, other machines and other clips.
        progress: Shows one bar over all clips.
        editions: A choice of `machines.EDITIONS` and `machines.TWO_MICROPHONES`; None for all of
            the former.
        counts: Clips for each machine in place of the miniature's own numbers.

    Returns:
        What the folder holds.

    Raises:
        DataError: The folder holds something else or cannot be written.
        EditionError: The miniature holds no such edition.
    """
    data, folders = Path(data), plan(editions, counts)
    planned = {folder: plan_clips(folder, seed) for folder in folders}
    clips = dict.fromkeys((folder.edition for folder in folders), 0)
    for folder, chosen in planned.items():
        clips[folder.edition] += len(chosen)
    total = sum(clips.values())
    summary = MiniatureSummary(seed, clips, machines=len(folders), seconds=total * _SECONDS)
    marker = {**asdict(summary), "counts": None if counts is None else asdict(counts)}
    try:
        if _claim(data, marker):
            return summary
        with (progress or Silent()).bar("Generating sounds", total, "clips") as advance:
            for folder, chosen in planned.items():
                _write_machine(data, folder, chosen, seed, advance)
                if folder.stage == "eval":
                    _write_ground_truth(data, folder, chosen)
        (data / UNFINISHED).replace(data / MARKER)
    except OSError as error:
        raise DataError(cannot_write(data, error)) from error
    return summary


def synthesise(folder: MachineFolder, clip: PlannedClip, seed: int) -> Array:
    """The sound of one clip, which depends on nothing but the arguments.

    Returns:
        Samples at 16 kHz, (n,), or (n, 2) of a near and a far microphone, within [-1, 1].
    """
    rng = generator(seed, f"{folder.path}/{clip.folder}/{clip.name}")
    voice, places = _individual(folder, clip.section, seed)
    frames = int(_SECONDS * SAMPLE_RATE)
    machine = noise = None
    if clip.role == "machine":
        machine = machine_sound(voice, clip.operation, frames, rng, clip.fault)
    if not clip.clean:
        noise = factory_noise(places[clip.domain], frames, rng)
    if folder.two_microphones and machine is not None and noise is not None:
        near = replace(places[clip.domain], snr=places[clip.domain].snr - _NOISIER)
        key = f"{folder.path}/{clip.section}/{clip.domain}/far"
        return record_pair(machine, noise, near, draw_far_microphone(generator(seed, key)), rng)
    return record(machine, noise, places[clip.domain], rng)


@lru_cache(maxsize=4)
def _individual(
    folder: MachineFolder, section: str, seed: int
) -> tuple[Voice, dict[Domain, Place]]:
    """The machine of a section and the two places where it stands."""
    rng = generator(seed, f"{folder.path}/{section}")
    voice = draw_voice(folder.machine.family, folder.machine.rate, rng)
    source = Place(
        snr=rng.uniform(5, 7),
        slope=rng.uniform(-5, -3),
        hum=rng.uniform(90, 130),
        tilt=rng.uniform(-0.5, 0.5),
    )
    # The target domain is louder around the machine, and heard through another microphone.
    target = Place(
        snr=source.snr - rng.uniform(1, 2),
        slope=source.slope + rng.choice([-1, 1]),
        hum=rng.uniform(170, 230),
        tilt=source.tilt + rng.choice([-1, 1]),
    )
    return voice, {"source": source, "target": target}


def _claim(data: Path, marker: dict[str, Any]) -> bool:
    """Make the folder ours; returns whether it holds this very miniature, complete.

    Raises:
        DataError: It holds something else.
    """
    data.mkdir(parents=True, exist_ok=True)
    for name in (MARKER, UNFINISHED):
        if (data / name).exists():
            if read_json(data / name) != marker:
                raise DataError(
                    f"{data / name}: this folder holds a miniature that was made differently "
                    "(seed, editions or counts); choose another folder"
                )
            return name == MARKER
    foreign = [path.name for path in find_below(data, "*")]
    if foreign:
        raise DataError(
            f"{data}: holds {foreign[0]!r}, which is no generated miniature; "
            "nothing was touched: choose a new or empty folder for it"
        )
    _replace(data / UNFINISHED, json.dumps(marker, indent=2) + "\n")
    return False


def _write_machine(
    data: Path, folder: MachineFolder, clips: list[PlannedClip], seed: int, advance: Advance
) -> None:
    """Write a machine under a temporary name and rename it whole: there is none that is half."""
    final = data / folder.path
    if final.exists():
        advance(len(clips))
        return
    temporary = final.with_name(TEMPORARY_PREFIX + final.name)
    shutil.rmtree(temporary, ignore_errors=True)
    for split in sorted({clip.folder for clip in clips}):
        (temporary / split).mkdir(parents=True)
    for clip in clips:
        content = io.BytesIO()  # a full disk is then an OSError of our own write
        sound = synthesise(folder, clip, seed)
        soundfile.write(content, sound, SAMPLE_RATE, format="WAV", subtype="PCM_16")
        (temporary / clip.folder / clip.name).write_bytes(content.getvalue())
        advance(1)
    if folder.edition != "dcase2020":
        for section in folder.sections:
            table = _attribute_table(folder, [clip for clip in clips if clip.section == section])
            (temporary / f"attributes_{section}.csv").write_text(table, encoding="utf-8")
    temporary.rename(final)


def _attribute_table(folder: MachineFolder, clips: list[PlannedClip]) -> str:
    """The official attribute file: no rows of supplements and blind clips, no columns withheld."""
    shown = [
        clip
        for clip in clips
        if clip.folder == "train" or (clip.folder == "test" and folder.stage == "dev")
    ]
    pairs = len(shown[0].attributes) if shown else 0
    header = ["file_name", *(f"d{number + 1}{part}" for number in range(pairs) for part in "pv")]
    rows = [
        [f"{folder.machine.name}/{clip.folder}/{clip.name}", *(np.ravel(clip.attributes))]
        for clip in shown
    ]
    return "".join(",".join(row) + "\n" for row in (header, *rows))


def _write_ground_truth(data: Path, folder: MachineFolder, clips: list[PlannedClip]) -> None:
    """What the blind test names hide, in the form of the official evaluators."""
    for section in folder.sections:
        tests = [clip for clip in clips if clip.folder == "test" and clip.section == section]
        name = f"ground_truth_{folder.machine.name}_section_{section}_test.csv"
        target = DataFolder(data).ground_truth(folder.edition)
        for kind, values in (
            ("ground_truth_data", [int(clip.fault is not None) for clip in tests]),
            ("ground_truth_domain", [int(clip.domain == "target") for clip in tests]),
        ):
            (target / kind).mkdir(parents=True, exist_ok=True)
            rows = (f"{clip.name},{value}\n" for clip, value in zip(tests, values, strict=True))
            _replace(target / kind / name, "".join(rows))


def _replace(path: Path, text: str) -> None:
    temporary = path.with_name(TEMPORARY_PREFIX + path.name)
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
