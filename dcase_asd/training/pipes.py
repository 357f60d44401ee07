"""Shards that a shell command prints: fetched when they are needed, and kept while they are.

A stream cannot be entered in its middle. So what a command prints is kept as a file, and what the
file holds is written down beside it: a recording is found again at any moment, also by a command
that is started again, as any other shard's.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from dcase_asd.errors import ArtifactError
from dcase_asd.files import NO_LOCKS, cannot_write, fingerprint, read_json, replacing, write_json

PIPE = "pipe:"
"""What stands before a command among sources, as in WebDataset."""
KEPT = 48
"""Fetched shards that stay: three times as many as are read in turn, so that processes that are
one stretch ahead of others take none away from them."""


@dataclass(frozen=True)
class Pipe:
    """A shard that a command prints.

    Attributes:
        command: For the shell; typed by the user, never read from a file.
        folder: Where fetched shards are kept.
    """

    command: str
    folder: Path

    def __str__(self) -> str:
        return PIPE + self.command

    @property
    def name(self) -> str:
        """By which a set of recordings is known."""
        return str(self)

    def fetched(self) -> Path:
        """What the command prints, as a file; run where that is not kept.

        A command that fails leaves what it printed before, and `failure` says why.

        Raises:
            ArtifactError: The file cannot be written.
        """
        path, said = self._file(".tar"), self._file(".failed")
        alone = (
            nullcontext()
            if os.environ.get(NO_LOCKS)
            else FileLock(self._file(".lock"), fallback_to_soft=False)
        )
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with alone:  # other processes and threads wait for what this one fetches
                if not path.is_file():
                    with replacing(path) as temporary:
                        failure = _run(self.command, temporary)
                        said.unlink(missing_ok=True)
                        if failure:
                            said.write_text(failure, encoding="utf-8")
                    self._leave_others()
                with suppress(FileNotFoundError):  # taken away at this moment
                    os.utime(path)  # of the last use
        except OSError as error:
            raise ArtifactError(cannot_write(self.folder, error)) from error
        return path

    def failure(self) -> str:
        """Why what is kept may not be all; empty where the command did not fail."""
        try:
            return self._file(".failed").read_text(encoding="utf-8")
        except OSError:
            return ""

    def kept_index(self) -> tuple[list[list[int]], str] | None:
        """What `keep_index` wrote down; None before."""
        content = read_json(self._file(".json"))
        return None if content is None else (content["spans"], content["damage"])

    def keep_index(self, spans: list[list[int]], damage: str) -> None:
        """Write down what the shard holds: where recordings begin, their bytes, and what is wrong.

        Raises:
            ArtifactError: It cannot be written.
        """
        content = {"command": self.command, "damage": damage, "spans": spans}
        write_json(self._file(".json"), content)

    def _file(self, ending: str) -> Path:
        return self.folder / (fingerprint(self.command) + ending)

    def _leave_others(self) -> None:
        """Remove the shards that were used longest ago; who reads one may read on."""
        with suppress(OSError):  # other processes remove some, too
            used = sorted(self.folder.glob("*.tar"), key=lambda path: -path.stat().st_mtime_ns)
            for path in used[KEPT:]:
                path.unlink()


def remove_fetched(folder: Path) -> None:
    """Remove all shards that were fetched; what they hold stays written down."""
    for path in folder.glob("*.tar"):
        path.unlink(missing_ok=True)


def _run(command: str, out: Path) -> str:
    """Write what a command prints; returns why it failed, empty where it did not."""
    with out.open("wb") as file, tempfile.TemporaryFile() as errors:
        done = subprocess.run(  # noqa: S602 - that of the user, who typed it for the shell
            command, shell=True, check=False, stdin=subprocess.DEVNULL, stdout=file, stderr=errors
        )
        errors.seek(0)
        said = errors.read()[-1000:].decode(errors="replace").strip().splitlines()
    if not done.returncode:
        return ""
    return f"its command failed with status {done.returncode}" + (f" ({said[-1]})" if said else "")
