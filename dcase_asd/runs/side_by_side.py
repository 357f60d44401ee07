"""Systems side by side: each in processes of its own, on the devices that are free."""

from __future__ import annotations

import os
import queue
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from dcase_asd.errors import RecipeError, TrainingError, nearest_name
from dcase_asd.runs.claims import owner_of
from dcase_asd.runs.recipes import Node, read_all
from dcase_asd.runs.runner import Setup

VISIBLE_DEVICES = "CUDA_VISIBLE_DEVICES"
EVERY = "all"
"""Stands for the names of all systems."""


@dataclass(frozen=True)
class Fleet:
    """Where systems run and what starts their training.

    Attributes:
        devices: GPUs that a system gets, such as ``0`` or ``0,1``; systems take them in turn. None
            leaves to each system all that there are.
        jobs: Systems at once; 0 takes one for each of the devices.
        launch: Command that starts a training, such as ``accelerate launch --num_processes 2``.
        only: Names of the systems that are run, ``all`` for all; of a fusion all that it is made
            of. Empty runs all, and leaves fusions and packages to come after.
    """

    devices: tuple[str, ...] = ()
    jobs: int = 0
    launch: str = ""
    only: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Whether systems run in processes of their own."""
        return bool(self.devices or self.jobs > 1 or self.launch or self.only)

    @property
    def places(self) -> list[str]:
        """The devices of each of the systems that run at once."""
        devices = self.devices or ("",)
        return [devices[number % len(devices)] for number in range(self.jobs or len(devices))]


def device_groups(text: str) -> tuple[str, ...]:
    """What each system gets: ``0,1`` one GPU each, ``0,1 2,3`` two; a last space, one group."""
    groups = text.split() if " " in text else text.split(",")
    return tuple(filter(None, groups))


def run_side_by_side(
    recipes: Sequence[str | Path],
    setup: Setup,
    fleet: Fleet,
    say: Callable[[str], None] = print,
    *,
    keep_going: bool = False,
) -> list[str]:
    """Run the single systems of recipes and forms, after `prepare`; fusions are left to the caller.

    Args:
        recipes: Systems' recipes and submissions' forms.
        setup: As for running them.
        fleet: Where, and how many at once.
        say: Is given each line that a system writes.
        keep_going: Begin the others, too, after one has failed.

    Returns:
        Names of the systems.

    Raises:
        RecipeError: A recipe is wrong, or there is no such system or launcher.
        TrainingError: A system failed; those that ran beside it were finished, no other begun
            but to keep going.
    """
    launcher = shlex.split(fleet.launch)
    if launcher and shutil.which(launcher[0]) is None:
        raise RecipeError(
            f"--launch: there is no program {launcher[0]!r}; install it or give its path"
        )
    nodes = choose_systems(recipes, setup, fleet.only)
    free: queue.SimpleQueue[str] = queue.SimpleQueue()
    for place in fleet.places:
        free.put(place)
    failed: list[str] = []
    later: list[Node] = []

    def run_free(node: Node) -> None:
        if owner_of(setup.runs, node.name):  # another machine's; a place here can do others
            later.append(node)
        else:
            run_one(node)

    def run_one(node: Node) -> None:
        place = free.get()
        try:
            commands = _commands(node, setup, launcher)
            if (keep_going or not failed) and not all(
                _follow(each, place, say) for each in commands
            ):
                failed.append(node.name)
        finally:
            free.put(place)

    with ThreadPoolExecutor(len(fleet.places)) as workers:
        list(workers.map(run_free, nodes))
        list(workers.map(run_one, later))
    if failed:
        raise TrainingError(
            f"{', '.join(failed)}: failed, as it says above; the same command goes on where it was"
        )
    return [node.name for node in nodes]


def choose_systems(
    recipes: Sequence[str | Path], setup: Setup, only: Iterable[str] = ()
) -> list[Node]:
    """The single systems that recipes and forms are made of, each once, in their order.

    Raises:
        RecipeError: A recipe is wrong, or no system has one of the names in `only`.
    """
    forms, others = read_all(recipes, setup.changes())
    every = {node.name: node for top in (*(form.node for form in forms), *others)
             for node in top.walk()}  # fmt: skip
    wanted = list(every) if tuple(only) in ((), (EVERY,)) else list(only)
    if unknown := [name for name in wanted if name not in every]:
        hints = "; ".join(f"no system is called {name!r}, {nearest_name(name, every)}"
                          for name in unknown)  # fmt: skip
        raise RecipeError(f"--only: {hints}")
    chosen = {part.name for name in wanted for part in every[name].walk()}
    return [node for node in every.values() if node.name in chosen and not node.is_fusion]


def command_flags(setup: Setup, node: Node | None = None) -> list[str]:
    """The flags of `run` that a setup stands for; of a system those that its recipe can take."""
    flags = ["--data", str(setup.data), "--runs", str(setup.runs)]
    flags += ["--workers", str(setup.workers), "--device", setup.device]
    if setup.overlay is not None:
        flags += ["--overlay", str(setup.overlay)]
    flags += setup.subset.flags()
    for value in setup.values:
        concerned = node is None or value.partition(".")[0].strip() in node.tables
        flags += ["--set", value] if concerned else []
    return flags


def _commands(node: Node, setup: Setup, launcher: list[str]) -> list[list[str]]:
    """What runs a system: its training by the launcher, where there is one, then all the rest."""
    where = ["run", str(node.path), *command_flags(setup, node)]
    rest = [sys.executable, "-m", "dcase_asd", *where, "--prepared", "--brief"]
    if not launcher:
        return [rest]
    before = [command for each in node.members for command in _commands(each, setup, [])]
    return [*before, [*launcher, "-m", "dcase_asd", *where, "--train-only"], rest]


def _follow(arguments: list[str], devices: str, say: Callable[[str], None]) -> bool:
    """Run a command on some devices and pass its lines on; returns whether it succeeded."""
    environment = os.environ | ({VISIBLE_DEVICES: devices} if devices else {})
    with subprocess.Popen(
        arguments, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, encoding="utf-8", errors="replace",
    ) as process:  # fmt: skip
        for line in process.stdout or ():
            say(line.rstrip("\n"))
    return process.returncode == 0
