"""Real processes that begin at once and can be killed at any moment.

A template process imports the step and then forks a child for every line that it reads, so that a
hundred processes do not cost a hundred starts of the interpreter.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Self

SECONDS_UNTIL_STUCK = 60


class Template:
    """Starts downloads in processes of their own."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-W", "error", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.stdin.close()
        self._process.wait(SECONDS_UNTIL_STUCK)
        self._process.stdout.close()

    def start(self, **request: object) -> int:
        """Begin a download; returns the process's id."""
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    @staticmethod
    def kill(process: int) -> bool:
        """kill -9; returns whether it was still at work."""
        try:
            os.kill(process, signal.SIGKILL)
        except ProcessLookupError:
            return False
        deadline = time.monotonic() + SECONDS_UNTIL_STUCK
        with suppress(ProcessLookupError):
            while time.monotonic() < deadline:
                os.kill(process, 0)
                time.sleep(0.001)
        return True


def main() -> None:
    from dcase_asd.downloads.download import download
    from dcase_asd.downloads.plan import plan_download
    from dcase_asd.downloads.request import Request

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # children leave no zombies
    for line in sys.stdin:
        request = json.loads(line)
        process = os.fork()
        if process == 0:
            request["data"] = Path(request["data"])
            for name in ("editions", "machines"):
                request[name] = tuple(request[name])
            download(plan_download(Request(**request)))
            os._exit(0)
        print(process, flush=True)


if __name__ == "__main__":
    main()
