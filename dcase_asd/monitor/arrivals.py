"""A folder that recordings arrive in: each is judged once, when it is there whole, and logged."""

from __future__ import annotations

import json
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from dcase_asd.audio import inspect_recording
from dcase_asd.errors import ArtifactError, AudioError, DataError, DcaseAsdError, printable_name
from dcase_asd.files import cannot_write, find_below
from dcase_asd.monitor.monitor import Monitor
from dcase_asd.monitor.normals import AUDIO
from dcase_asd.monitor.verdict import Rule, Verdict
from dcase_asd.wav import STREAMED

PATIENCE = 30.0
"""Seconds that a file which does not change may be incomplete before that is said of it."""

REST = 4.0
"""Time between two looks, in times of what a look takes, as it does where many recordings lie."""


class State(NamedTuple):
    """A file's size in bytes and time of change in ns: another state is another recording."""

    size: int
    changed: int


@dataclass
class Arrivals:
    """Looks for recordings that have arrived whole.

    A file is whole when its size and time of change are those of the look before and it is as long
    as its header says. Of one that says no length, or never gets so long, `PATIENCE` decides.

    Attributes:
        folder: Where they arrive, and below.
        done: State of each that was seen to, by its path in the folder as a log holds it.
        clock: Seconds that only grow.
    """

    folder: Path
    done: dict[str, State] = field(default_factory=dict)
    clock: Callable[[], float] = time.monotonic
    waiting: dict[str, tuple[State, float]] = field(default_factory=dict)

    def look(self) -> list[tuple[str, State]]:
        """The recordings that are whole since the last look, oldest first.

        Raises:
            DataError: The folder is gone.
        """
        if not self.folder.is_dir():
            raise DataError(
                f"{self.folder}: no such folder; give the one that recordings arrive in"
            )
        try:
            paths = find_below(self.folder, "**/*")
        except FileNotFoundError:  # a folder in it was deleted while it was listed
            return []
        before, self.waiting = self.waiting, {}
        whole = []
        for path in paths:
            if path.suffix.lower() not in AUDIO:
                continue
            name = path.relative_to(self.folder).as_posix()
            try:
                seen = path.stat()
            except OSError:  # deleted since it was listed
                continue
            state = State(seen.st_size, seen.st_mtime_ns)
            # A folder or a pipe may be named like a recording; opening a pipe waits for a writer.
            if not stat.S_ISREG(seen.st_mode) or self.done.get(printable_name(name)) == state:
                continue
            last, since = before.get(name, (None, self.clock()))
            if last != state:
                since = self.clock()
            elif self.clock() - since > PATIENCE or _is_complete(path):
                whole.append((name, state))
                continue
            self.waiting[name] = state, since
        return sorted(whole, key=lambda each: each[1].changed)


def _is_complete(path: Path) -> bool:
    try:
        return STREAMED not in inspect_recording(path).note
    except AudioError:
        return False


def watch(
    monitor: Monitor,
    folder: str | Path,
    log: str | Path,
    *,
    false_alarms: float | None = None,
    rule: Rule | None = None,
    every: float = 1.0,
    idle: float = 0.0,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Verdict | str]:
    """Judge recordings as they arrive; a recording that the log holds is not judged again.

    Args:
        monitor: Of the machine.
        folder: Where they arrive.
        log: File that gets a JSON line for each: that of the verdict, ``level`` and ``model`` (see
            `Monitor.key`), or ``file`` and ``error``; and ``time``, ``size`` and ``changed``.
        false_alarms: As of `Monitor.check`.
        rule: As of `Monitor.check`.
        every: Seconds between two looks; more where a look takes long.
        idle: Ends after so many seconds without a new recording; 0 never.
        sleep: Waits.
        clock: Seconds that only grow.

    Yields:
        A verdict, or a line that says what is wrong with a file.

    Raises:
        DataError: There is no such folder.
        ArtifactError: The log cannot be written.
    """
    folder, log = Path(folder), Path(log)
    arrivals = Arrivals(folder, _logged(log), clock)
    quiet = 0.0
    while True:
        begun = clock()
        arrived = arrivals.look()
        wait = max(every, REST * (clock() - begun))
        for name, state in arrived:
            path = folder / name
            try:
                found: Verdict | str = monitor.check(
                    path, name=printable_name(name), false_alarms=false_alarms, rule=rule
                )
            except DcaseAsdError as error:
                if not path.exists():  # deleted since
                    continue
                found = str(error)
            arrivals.done[printable_name(name)] = state
            _append(log, printable_name(name), state, found, monitor.key)
            yield found
        quiet = 0.0 if arrived or arrivals.waiting else quiet + wait
        if idle and quiet >= idle:
            return
        sleep(wait)


def _logged(log: Path) -> dict[str, State]:
    """What a log says was done; lines that are none are passed over."""
    done = {}
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ArtifactError(
            f"{log}: cannot be read ({error.strerror}); give another --log"
        ) from error
    for line in lines:
        try:
            entry = json.loads(line)
            done[str(entry["file"])] = State(int(entry["size"]), int(entry["changed"]))
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            continue
    return done


def _append(log: Path, name: str, state: State, found: Verdict | str, model: str) -> None:
    entry: dict[str, Any] = {"time": datetime.now(UTC).isoformat(timespec="seconds")}
    entry |= state._asdict()
    if isinstance(found, Verdict):
        entry |= found.as_json() | {"level": found.level, "model": model}
    else:
        entry |= {"file": name, "error": found}
    line = json.dumps(entry, allow_nan=False).encode()
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a+b") as file:
            # A line that was cut when the program was killed is ended first.
            file.seek(0, 2)
            if file.tell():
                file.seek(-1, 2)
                line = line if file.read() == b"\n" else b"\n" + line
            file.write(line + b"\n")
    except OSError as error:
        raise ArtifactError(cannot_write(log, error)) from error
