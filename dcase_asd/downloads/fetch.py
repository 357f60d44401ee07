"""Fetch one file: resumed where it stopped, checked while it comes, whole or absent."""

from __future__ import annotations

import re
from pathlib import Path

import httpx

from dcase_asd.downloads.http import Connection, TransientError
from dcase_asd.downloads.partial import PartialFile, RemoteFile, part_path
from dcase_asd.errors import DownloadError
from dcase_asd.files import cannot_write
from dcase_asd.progress import Advance

REAL_PROGRESS = 1 << 20
"""Bytes beyond all that was there before after which failures are counted anew. A server that
drops every connection earlier is given up after as many attempts as `Patience` allows."""


def fetch(connection: Connection, remote: RemoteFile, path: Path, advance: Advance) -> str:
    """Fetch a file to `path`, going on with what an earlier call left.

    Args:
        connection: The client, with its mirror and patience.
        remote: Address, size and checksum; the latter two as far as they are known.
        path: Where the file is put once it is whole and its checksum is right.
        advance: Called with the bytes that have come, at first with those that were there;
            with a negative number where some had to be thrown away.

    Returns:
        The file's hexadecimal checksum by `RemoteFile.algorithm`.

    Raises:
        DownloadError: The server refuses or keeps failing, the file is not the published one, the
            disk is full, or the command was stopped. What came is kept.
    """
    try:
        with PartialFile(path, remote) as part:
            advance(part.size)
            return _fetch(connection, remote, part, advance)
    except OSError as error:
        said = f"{cannot_write(part_path(path), error)} to go on where it stopped"
        raise DownloadError(said) from error


def _fetch(connection: Connection, remote: RemoteFile, part: PartialFile, advance: Advance) -> str:
    furthest, failures = part.size, 0
    second_try = False
    while True:
        connection.check_stop()
        try:
            if part.size != remote.size:
                _receive(connection, remote, part, advance)
        except TransientError as fault:
            if part.size >= furthest + REAL_PROGRESS:
                furthest, failures = part.size, 0
            failures += 1
            connection.wait(remote.url, fault, failures)
            continue
        checksum = part.checksum()
        if remote.digest in ("", checksum):
            part.finish()
            return checksum
        advance(-part.restart())
        if second_try:
            raise DownloadError(
                f"{connection.address(remote.url)}: what comes is not the published file "
                f"({remote.algorithm} {checksum} instead of {remote.digest}), twice; "
                "it was thrown away: try another --mirror, or none"
            )
        second_try = True


def _receive(
    connection: Connection, remote: RemoteFile, part: PartialFile, advance: Advance
) -> None:
    """Ask for what is missing and take what comes of it.

    Raises:
        TransientError: It is not complete after this.
    """
    with connection.get(remote.url, _range(part)) as response:
        if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            _check_nothing_is_missing(response, remote, part, advance)
            return
        total = _begin(response, part, advance)
        if remote.size is not None and total not in (None, remote.size):
            raise TransientError(f"the server announces {total} bytes instead of {remote.size}")
        expected = total if remote.size is None else remote.size
        part.remember(_validator(response))
        for chunk in response.iter_raw():
            part.append(chunk)
            advance(len(chunk))
            connection.check_stop()
    if expected is not None and part.size > expected:
        size = part.size
        advance(-part.restart())
        raise TransientError(f"the server sends {size} bytes instead of {expected}")
    if expected is not None and part.size < expected:
        raise TransientError(f"the connection ended after {part.size} of {expected} bytes")


def _begin(response: httpx.Response, part: PartialFile, advance: Advance) -> int | None:
    """Make `part` end where the response begins; returns the whole file's size, if it is said."""
    if response.status_code == httpx.codes.PARTIAL_CONTENT:
        text = response.headers.get("Content-Range", "")
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", text)
        same = part.validator in ("", _validator(response))
        if match is None or int(match[1]) != part.size or not same:
            advance(-part.restart())
            raise TransientError("the file on the server has changed")
        return None if match[2] == "*" else int(match[2])
    # The server sends everything: it ignores ranges, or the file is not the one that was begun.
    # A file that was truncated, if only to the nothing it held, is written out by some file systems
    # as soon as it is closed, which would take a fifth of the time of a fast transfer.
    if part.size:
        advance(-part.restart())
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isdecimal() else None


def _check_nothing_is_missing(
    response: httpx.Response, remote: RemoteFile, part: PartialFile, advance: Advance
) -> None:
    """Whether a range was refused because the file ends where `part` does."""
    size = part.size
    total = re.fullmatch(r"bytes \*/(\d+)", response.headers.get("Content-Range", ""))
    # Where the size is known, it was asked for more or fewer bytes than that.
    if remote.size is not None or total is None or int(total[1]) != size:
        advance(-part.restart())
        raise TransientError(f"the server's file does not go on after {size} bytes")


def _range(part: PartialFile) -> dict[str, str]:
    if not part.size:
        return {}
    headers = {"Range": f"bytes={part.size}-"}
    # Only a strong validator may stand in If-Range (RFC 9110, 13.1.5).
    if part.validator.startswith('"'):
        headers["If-Range"] = part.validator
    return headers


def _validator(response: httpx.Response) -> str:
    """What tells one state of a file from another: its ETag, else its date."""
    headers = response.headers
    return str(headers.get("ETag") or headers.get("Last-Modified") or "")
