"""Several transfers at once, with one place where Ctrl-C arrives."""

from __future__ import annotations

import queue
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from types import TracebackType
from typing import Generic, Self, TypeVar

import httpx

from dcase_asd import __version__
from dcase_asd.errors import DcaseAsdError, DownloadError

T = TypeVar("T")

_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
_UNSATISFIABLE_RANGE = 416
_AGAIN = "run the same command again to go on where it stopped"


@dataclass(frozen=True)
class Patience:
    """How long a server's faults are borne; all times in seconds.

    `attempts` is the number of failures in a row after which a file is given up. The pause after
    the first is `first_pause` and doubles up to `longest_pause`; a server's own ``Retry-After``
    goes before, up to `longest_request`. `silence` is how long a connection may say nothing.
    """

    attempts: int = 8
    first_pause: float = 1.0
    longest_pause: float = 60.0
    longest_request: float = 300.0
    silence: float = 30.0


class UnreachableError(DownloadError):
    """There is no way to the server: no network, a wrong host or proxy."""


class TransientError(Exception):
    """A fault that may be gone the next time; `pause` is how long the server asks to wait."""

    def __init__(self, reason: str, pause: float | None = None, unreachable: bool = False) -> None:
        super().__init__(reason)
        self.pause = pause
        self.unreachable = unreachable


class Connection:
    """Requests with one pool of connections; safe to use from several threads.

    Args:
        mirror: Address that takes the place of scheme and host in every request; empty for none.
        patience: How long faults are borne.

    Raises:
        DownloadError: The mirror is no http address, or the environment names a proxy that cannot
            be used.
    """

    def __init__(self, mirror: str = "", patience: Patience | None = None) -> None:
        self.patience = patience or Patience()
        self.stop = threading.Event()
        self.reached = False
        self._mirror = httpx.URL(mirror) if mirror else None
        if self._mirror and (self._mirror.scheme not in ("http", "https") or not self._mirror.host):
            raise DownloadError(f"{mirror}: no address of a mirror; give --mirror https://HOST")
        try:
            self._client = httpx.Client(
                follow_redirects=True,
                timeout=httpx.Timeout(self.patience.silence),
                verify=_trusted(),
                # Each thread keeps one connection; the bound on threads is the bound on these.
                limits=httpx.Limits(max_connections=None),
                # What is stored is what is hashed: no compression on the way.
                headers={"User-Agent": f"dcase-asd/{__version__}", "Accept-Encoding": "identity"},
            )
        except (ValueError, ImportError) as error:
            raise DownloadError(
                f"the proxy that the environment names cannot be used ({_one_line(error)}); "
                "mend HTTPS_PROXY, HTTP_PROXY or ALL_PROXY"
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._client.close()

    def address(self, url: str) -> str:
        """The address that is asked in fact: `url`, or its counterpart on the mirror."""
        if self._mirror is None:
            return url
        original = httpx.URL(url)
        path = self._mirror.raw_path.split(b"?")[0].rstrip(b"/") + original.raw_path
        return str(self._mirror.copy_with(raw_path=path))

    @contextmanager
    def get(self, url: str, headers: Mapping[str, str] | None = None) -> Iterator[httpx.Response]:
        """Open a response of status 200, 206 or 416 whose body has not been read.

        Raises:
            TransientError: A fault of the connection, or a status that may pass.
            DownloadError: The server refuses.
        """
        address = self.address(url)
        try:
            with self._client.stream("GET", address, headers=headers) as response:
                self.reached = True
                _check_status(response, address)
                yield response
        except (httpx.UnsupportedProtocol, httpx.TooManyRedirects, httpx.InvalidURL) as error:
            raise DownloadError(f"{address}: {_one_line(error)}; check the address") from error
        except httpx.TimeoutException as error:
            reason = f"no answer for {self.patience.silence:g} s"
            unreachable = isinstance(error, httpx.ConnectTimeout)
            raise TransientError(reason, unreachable=unreachable) from error
        except httpx.TransportError as error:
            unreachable = isinstance(error, (httpx.ConnectError, httpx.ProxyError))
            raise TransientError(_one_line(error), unreachable=unreachable) from error

    def check_stop(self) -> None:
        """End this thread's work if the command was stopped.

        Raises:
            DownloadError: It was.
        """
        if self.stop.is_set():
            raise DownloadError(f"stopped; {_AGAIN}")

    def pause(self, seconds: float) -> None:
        """Wait, unless the command is stopped meanwhile.

        Raises:
            DownloadError: It was stopped.
        """
        self.stop.wait(seconds)
        self.check_stop()


class Attempts:
    """Counts failures in a row and waits between them."""

    def __init__(self, connection: Connection, url: str) -> None:
        self._connection, self._url = connection, url
        self._failures = 0

    def succeed(self) -> None:
        """Real progress was made: the next failure is the first again."""
        self._failures = 0

    def fail(self, fault: TransientError) -> None:
        """Wait before the next attempt.

        A server that answered before is waited for when it cannot be reached, as it may be starting
        again; one that never did is not.

        Raises:
            UnreachableError: There was no way to any server yet.
            DownloadError: There is no next attempt.
        """
        patience = self._connection.patience
        self._failures += 1
        address = self._connection.address(self._url)
        if fault.unreachable and not self._connection.reached:
            raise UnreachableError(
                f"{address}: cannot be reached ({fault}); check the network and the proxy, "
                "or name a --mirror"
            ) from fault
        if self._failures >= patience.attempts:
            raise DownloadError(f"{address}: {fault}, {self._failures} times; {_AGAIN}") from fault
        pause = min(patience.first_pause * 2 ** (self._failures - 1), patience.longest_pause)
        if fault.pause is not None:
            if fault.pause > patience.longest_request:
                raise DownloadError(
                    f"{address}: {fault}; the server asks to come back in {fault.pause:.0f} s: "
                    f"then {_AGAIN}"
                ) from fault
            pause = fault.pause
        self._connection.pause(pause)


def with_patience(connection: Connection, url: str, action: Callable[[], T]) -> T:
    """Repeat a short request until it works.

    Raises:
        UnreachableError: The server cannot be reached.
        DownloadError: It refuses, or keeps failing.
    """
    attempts = Attempts(connection, url)
    while True:
        try:
            return action()
        except TransientError as fault:
            attempts.fail(fault)


@cache
def _trusted() -> ssl.SSLContext:
    """The certificates that are trusted; reading them takes longer than a small request."""
    return httpx.create_ssl_context()


def _check_status(response: httpx.Response, address: str) -> None:
    status = response.status_code
    reason = f"the server answers {status} {response.reason_phrase}".rstrip()
    if status in _TRANSIENT:
        raise TransientError(reason, _retry_after(response.headers.get("Retry-After", "")))
    if status not in (httpx.codes.OK, httpx.codes.PARTIAL_CONTENT, _UNSATISFIABLE_RANGE):
        raise DownloadError(f"{address}: {reason}; check the address, or the --mirror")


def _retry_after(value: str) -> float | None:
    """Seconds that a ``Retry-After`` header asks for: a number, or a date (RFC 9110, 10.2.3)."""
    if value.strip().isdecimal():
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


SECONDS_TO_STOP = 2.0
"""How long threads may take to note where they are when the command is stopped."""


def run_parallel(
    tasks: Sequence[Callable[[], T]], workers: int, stop: threading.Event
) -> list[T | DcaseAsdError]:
    """Run tasks in at most `workers` threads.

    The threads are daemons: one that waits for a silent server does not hold up Ctrl-C. What they
    leave behind is what a killed process leaves, which the next run takes up.

    Args:
        tasks: Functions without arguments.
        workers: How many run at once.
        stop: Set when the caller is interrupted or a task fails unexpectedly, so that the others
            end soon.

    Returns:
        For each task, in order, its result or the error that ended it.

    Raises:
        BaseException: What interrupted the caller, or an error that is no `DcaseAsdError`.
    """
    pool = _Pool(tasks, stop)
    threads = [
        threading.Thread(target=pool.work, daemon=True) for _ in range(min(workers, len(tasks)))
    ]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    except BaseException:
        stop.set()
        for thread in threads:
            thread.join(SECONDS_TO_STOP / len(threads))
        raise
    if pool.unexpected:
        raise pool.unexpected[0]
    return [pool.results[index] for index in range(len(tasks))]


class _Pool(Generic[T]):
    def __init__(self, tasks: Sequence[Callable[[], T]], stop: threading.Event) -> None:
        self.tasks, self.stop = tasks, stop
        self.waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
        for index in range(len(tasks)):
            self.waiting.put(index)
        self.results: dict[int, T | DcaseAsdError] = {}
        self.unexpected: list[BaseException] = []

    def work(self) -> None:
        while not self.stop.is_set():
            try:
                index = self.waiting.get_nowait()
            except queue.Empty:
                return
            try:
                self.results[index] = self.tasks[index]()
            except DcaseAsdError as error:
                self.results[index] = error
            except BaseException as error:  # noqa: BLE001  (raised again in the caller's thread)
                self.unexpected.append(error)
                self.stop.set()
