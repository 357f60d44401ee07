"""Who runs which system where several processes, also of several machines, share a folder of runs.

A lock of a file (`files.only_writer`) guards each step, but between two steps of a system it is
free, and some network disks lock for one machine alone. A claim is a file of its own for each
process that wants a system. Who has put one there looks for others: where there is any, it takes
its own away again and waits. Thus never do two go on, whatever the order of what they do; at worst
both wait and try again. A claim is touched now and then; one that was not touched for long, or
whose process is gone from this machine, belongs to nobody.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from dcase_asd.errors import ArtifactError
from dcase_asd.files import read_json, write_json
from dcase_asd.progress import Progress

FOLDER = ".claims"
"""Folder of the claims, below that of the runs."""
BEAT = 20.0
"""Seconds between two touches of a claim."""
STALE = 300.0
"""Seconds without a touch after which a claim of another machine is nobody's: many beats, as a
busy file server may answer late, and attributes of files are kept for up to a minute."""
POLL = 5.0
"""Seconds between two looks at a system that another process runs."""


@dataclass(frozen=True)
class Owner:
    """The process that runs a system."""

    host: str
    process: int

    def __str__(self) -> str:
        return f"process {self.process} on {self.host}"


@contextmanager
def claimed(runs: Path, name: str, progress: Progress) -> Iterator[None]:
    """Have a system to oneself, after every other process that runs it has ended.

    Args:
        runs: Folder of the run folders.
        name: The system.
        progress: Is told whom it waits for.

    Raises:
        ArtifactError: The folder cannot be written.
    """
    told = False
    while (mine := _claim(runs, name)) is None:
        owner = owner_of(runs, name)
        if owner is not None and not told:
            progress.note(f"{owner} runs {name}; waiting until that ends")
            told = True
        time.sleep(POLL * random.uniform(0.5, 1.0))  # noqa: S311 - so that two do not meet again
    ended = threading.Event()
    beat = threading.Thread(target=_beat, args=(mine, ended, progress), daemon=True)
    beat.start()
    try:
        yield
    finally:
        ended.set()
        beat.join()
        mine.unlink(missing_ok=True)
        with suppress(OSError):  # others have claims
            mine.parent.rmdir()


def owner_of(runs: Path, name: str) -> Owner | None:
    """Who runs a system now; None where nobody does."""
    for path in _claims(runs, name):
        if owner := _living(path, time.time()):
            return owner
    return None


def _claim(runs: Path, name: str) -> Path | None:
    """Put a claim there; None where another process has one."""
    mine = runs / FOLDER / f"{quote(name, safe='')}@{uuid.uuid4().hex}"
    content = {"host": socket.gethostname(), "space": _space(), "process": os.getpid()}
    while True:
        try:
            write_json(mine, content)
            break
        except ArtifactError as error:  # the last of the others has just removed the folder
            if not isinstance(error.__cause__, FileNotFoundError):
                raise
    now = mine.stat().st_mtime  # by the clock of the disk, as all the others
    for path in _claims(runs, name):
        if path == mine:
            continue
        if _living(path, now) is not None:
            mine.unlink(missing_ok=True)
            return None
        path.unlink(missing_ok=True)
    return mine


def _claims(runs: Path, name: str) -> list[Path]:
    beginning = f"{quote(name, safe='')}@"
    with suppress(OSError):
        there = sorted((runs / FOLDER).iterdir())
        return [path for path in there if path.name.startswith(beginning)]
    return []


def _living(path: Path, now: float) -> Owner | None:
    """The process of a claim; None where it is gone, or was not heard of for long."""
    content = read_json(path)
    with suppress(OSError, KeyError, TypeError, ValueError):
        if content is None or now - path.stat().st_mtime > STALE:
            return None
        owner = Owner(str(content["host"]), int(content["process"]))
        here = (content["host"], content["space"]) == (socket.gethostname(), _space())
        return owner if not here or _is_running(owner.process) else None
    return None


def _space() -> str:
    """What the numbers of processes are of: in two containers the same one may mean two."""
    with suppress(OSError):
        return str(Path("/proc/self/ns/pid").readlink())
    return ""


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        return True
    return True


def _beat(mine: Path, ended: threading.Event, progress: Progress) -> None:
    """Touch a claim until it ends; stop the process where somebody has taken it away."""
    while not ended.wait(BEAT):
        try:
            os.utime(mine)
        except FileNotFoundError:
            progress.note(f"{mine}: was taken away, as this process was silent for long; it stops")
            # What a script starts in the background ignores the one that Ctrl-C sends.
            deaf = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
            os.kill(os.getpid(), signal.SIGTERM if deaf else signal.SIGINT)
            return
        except OSError:  # a disk that is away for a while
            continue
