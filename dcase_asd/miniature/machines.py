"""Which clips the miniature of the challenge holds, and what each of them is called.

dcase2020   pump, valve: machine IDs, no domains
dcase2024   fan with attributes, slider without
dcase2025   all seven machines of development and all eight of evaluation (blind test names),
            each with clean or noise-only supplements
dcase2026   all seven and all five, with a near and a far microphone; only where it is asked for
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from dcase_asd.clips.name import NO_ATTRIBUTE
from dcase_asd.editions.edition import STAGE_FOLDERS, Stage
from dcase_asd.errors import EditionError, nearest_name
from dcase_asd.miniature.sounds import FAULTS, Family, Fault, Operation

Domain = Literal["source", "target"]


@dataclass(frozen=True)
class MachineType:
    """A machine of the miniature.

    `rate` in Hz (see `sounds.Voice`); `speed` the key of the speed attribute and its values, three
    of the source and two of the target domain; `load` a key and the values for none and full, all
    of them separated by spaces. Both are empty where the challenge withholds attributes (the
    machine runs at the same operating points all the same). `supplement` is what its supplemental
    clips hold.
    """

    name: str
    family: Family
    rate: float
    speed: str = ""
    load: str = ""
    supplement: Literal["machine", "noise"] = "noise"


@dataclass(frozen=True)
class ClipCounts:
    """How many clips each machine (in 2020: each ID) has; `test` for each domain and condition."""

    source_train: int
    target_train: int
    test: int
    supplemental: int = 0


@dataclass(frozen=True)
class MachineFolder:
    """One machine of one stage of one edition: a folder of the tree."""

    edition: str
    stage: Stage
    machine: MachineType
    sections: tuple[str, ...]
    counts: ClipCounts

    @property
    def two_microphones(self) -> bool:
        """Whether its clips have a near and a far channel."""
        return self.edition in TWO_MICROPHONES

    @property
    def path(self) -> str:
        """Relative to the data folder, with forward slashes."""
        stage = next(folder for folder, stage in STAGE_FOLDERS.items() if stage == self.stage)
        return f"{self.edition}t2/{stage}/raw/{self.machine.name}"


@dataclass(frozen=True)
class PlannedClip:
    """A clip to be generated: its place and name, and what is to be heard in it.

    `attributes` are pairs of key and value, empty where withheld; `clean` clips have no factory
    noise; `role` is ``machine`` or ``noise``.
    """

    folder: str
    name: str
    section: str
    domain: Domain
    role: Literal["machine", "noise"] = "machine"
    operation: Operation = field(default_factory=Operation)
    fault: Fault | None = None
    attributes: tuple[tuple[str, str], ...] = ()
    clean: bool = False


_SPEEDS: dict[Domain, tuple[float, ...]] = {"source": (0.85, 1.0, 1.15), "target": (0.7, 1.35)}
"""Speeds of a domain relative to nominal, in the order of `MachineType.speed`."""

_FAN = MachineType("fan", "noisy", 55, "rpm 900 1050 1200 750 1400", "duct open half")
_SLIDER = MachineType("slider", "impulsive", 4.0)
_DEV_2025 = (
    MachineType("ToyCar", "tonal", 95, "spd 28V 31V 34V 25V 40V", "car A1 B2", "machine"),
    MachineType("ToyTrain", "tonal", 70),
    MachineType("bearing", "tonal", 120, supplement="machine"),
    _FAN,
    MachineType("gearbox", "tonal", 150, "volt 1.0 1.5 2.0 0.6 3.0", "wt 0 100"),
    _SLIDER,
    MachineType("valve", "impulsive", 3.0, "pat 01 02 03 00 04", "panel open bs-c", "machine"),
)
_EVAL_2025 = (
    MachineType("AutoTrash", "impulsive", 2.5, supplement="machine"),
    MachineType("BandSealer", "tonal", 80, "v 2 3 4 1 5", "belt new worn"),
    MachineType("CoffeeGrinder", "noisy", 90, "grind 3 4 5 2 7", "bean lo hi"),
    MachineType("HomeCamera", "tonal", 180, "pan 20 40 60 10 90", "tilt 0 30"),
    MachineType("Polisher", "noisy", 130, supplement="machine"),
    MachineType("ScrewFeeder", "impulsive", 6.0),
    MachineType("ToyPet", "impulsive", 3.5),
    MachineType("ToyRCCar", "tonal", 110, "spd 35V 40V 45V 30V 60V", "dir F B", "machine"),
)
_DEV_2026 = (
    MachineType("ToyCar", "tonal", 95),
    MachineType("ToyCarEmu", "tonal", 100, "spd 28V 31V 34V 25V 40V", "car A1 B2"),
    MachineType("bearingEmu", "tonal", 120),
    _FAN,
    MachineType("gearboxEmu", "tonal", 150, "volt 1.0 1.5 2.0 0.6 3.0", "wt 0 100"),
    MachineType("sliderEmu", "impulsive", 4.0),
    MachineType("valveEmu", "impulsive", 3.0),
)
_EVAL_2026 = (
    MachineType("BlowerDustCollector", "noisy", 60, "flow 2 3 4 1 5", "bag empty full"),
    MachineType("Sander", "noisy", 130, "grit 80 120 180 60 240", "load lo hi"),
    MachineType("SewingMachine", "impulsive", 6.0),
    MachineType("ToothBrush", "tonal", 170),
    MachineType("ToyDrone", "tonal", 140, "thr 40 50 60 30 80", "pay 0 10"),
)
_FOLDERS = (
    *(
        MachineFolder("dcase2020", "dev", machine, ("00", "02"), ClipCounts(18, 0, 8))
        for machine in (MachineType("pump", "noisy", 40), MachineType("valve", "impulsive", 3.5))
    ),
    *(
        MachineFolder("dcase2024", "dev", machine, ("00",), ClipCounts(28, 4, 6))
        for machine in (_FAN, _SLIDER)
    ),
    *(
        MachineFolder("dcase2025", "dev", machine, ("00",), ClipCounts(45, 5, 8, 6))
        for machine in _DEV_2025
    ),
    *(
        MachineFolder("dcase2025", "eval", machine, ("00",), ClipCounts(28, 4, 6, 4))
        for machine in _EVAL_2025
    ),
    *(
        MachineFolder("dcase2026", "dev", machine, ("00",), ClipCounts(45, 5, 8))
        for machine in _DEV_2026
    ),
    *(
        MachineFolder("dcase2026", "eval", machine, ("00",), ClipCounts(28, 4, 6))
        for machine in _EVAL_2026
    ),
)

TWO_MICROPHONES = ("dcase2026",)
"""Editions with a near and a far channel, which the miniature holds only where they are named."""
EDITIONS = tuple(sorted({folder.edition for folder in _FOLDERS} - {*TWO_MICROPHONES}))
"""Editions that the miniature holds where none is named."""


def plan(editions: Sequence[str] | None, counts: ClipCounts | None) -> list[MachineFolder]:
    """The machine folders to write.

    Args:
        editions: A choice of `EDITIONS` and `TWO_MICROPHONES`; None for all of the former.
        counts: Clips for each machine instead of the miniature's own numbers. There are never
            target clips in 2020, nor supplements before 2025.

    Raises:
        EditionError: The miniature holds no such edition.
    """
    wanted = EDITIONS if editions is None else tuple(editions)
    for edition in wanted:
        if edition not in (known := (*EDITIONS, *TWO_MICROPHONES)):
            raise EditionError(
                f"the miniature holds no edition {edition!r}; {nearest_name(edition, known)}"
            )
    return [
        folder if counts is None else replace(folder, counts=counts)
        for folder in _FOLDERS
        if folder.edition in wanted
    ]


def plan_clips(folder: MachineFolder, seed: int) -> list[PlannedClip]:
    """Every clip of a machine folder, in a fixed order; `seed` decides the blind test's order."""
    counts, clips = folder.counts, []
    for section in folder.sections:
        trains: dict[Domain, int] = {"source": counts.source_train}
        if folder.edition != "dcase2020":
            trains["target"] = counts.target_train
        for domain, count in trains.items():
            clips += [
                _clip(folder, section, domain, "train", index, None) for index in range(count)
            ]
        tests = [
            _clip(folder, section, domain, "test", index, fault)
            for domain in trains
            for faults in ([None] * counts.test, _faults(folder, section, domain, seed))
            for index, fault in enumerate(faults)
        ]
        if folder.stage == "eval":
            key = f"{folder.path}/{section}/order"
            order = generator(seed, key).permutation(len(tests))
            # Their names say nothing.
            tests = [
                replace(tests[place], name=f"section_{section}_{index:04d}.wav", attributes=())
                for index, place in enumerate(order)
            ]
        clips += tests
        if folder.edition == "dcase2025":
            clips += _supplements(folder, section)
    return clips


def generator(seed: int, key: str) -> np.random.Generator:
    """Random numbers of one thing, whatever else is drawn before it."""
    digest = hashlib.sha256(f"{seed}/{key}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "big"))


def _clip(
    folder: MachineFolder, section: str, domain: Domain, split: str, index: int, fault: Fault | None
) -> PlannedClip:
    operation, attributes = _operating_point(folder.machine, domain, index)
    condition = "normal" if fault is None else "anomaly"
    name = f"section_{section}_{domain}_{split}_{condition}_{index:04d}_{_text(attributes)}.wav"
    if folder.edition == "dcase2020":
        name = f"{condition}_id_{section}_{index:08d}.wav"
        attributes = ()
    return PlannedClip(
        folder=split, name=name, section=section, domain=domain, operation=operation, fault=fault,
        attributes=attributes,
    )  # fmt: skip


def _supplements(folder: MachineFolder, section: str) -> Iterator[PlannedClip]:
    role = folder.machine.supplement
    for index in range(folder.counts.supplemental):
        operation, attributes = _operating_point(folder.machine, "source", index)
        said = "machine_source" if role == "machine" else "noise"
        shown = attributes if role == "machine" else ()
        yield PlannedClip(
            folder="supplemental",
            name=f"section_{section}_{said}_{index:04d}_{_text(shown)}.wav",
            section=section,
            domain="source",
            role=role,
            operation=operation,
            attributes=shown,
            clean=role == "machine",
        )


def _operating_point(
    machine: MachineType, domain: Domain, index: int
) -> tuple[Operation, tuple[tuple[str, str], ...]]:
    """Clip after clip through all speeds and loads of a domain."""
    speeds = _SPEEDS[domain]
    place, loaded = index % len(speeds), index // len(speeds) % 2
    operation = Operation(speed=speeds[place], load=float(loaded))
    if not machine.speed:
        return operation, ()
    key, *values = machine.speed.split()
    value = values[place + (len(_SPEEDS["source"]) if domain == "target" else 0)]
    load_key, *loads = machine.load.split()
    return operation, ((key, value), (load_key, loads[loaded]))


def _faults(folder: MachineFolder, section: str, domain: Domain, seed: int) -> list[Fault]:
    """Every kind of fault of the family in turn, with severities from slight to plain."""
    kinds, count = FAULTS[folder.machine.family], folder.counts.test
    order = generator(seed, f"{folder.path}/{section}/{domain}/severity").permutation(count)
    return [
        Fault(kinds[index % len(kinds)], severity=(float(place) + 0.5) / count)
        for index, place in enumerate(order)
    ]


def _text(attributes: tuple[tuple[str, str], ...]) -> str:
    return "_".join(f"{key}_{value}" for key, value in attributes) or NO_ATTRIBUTE
