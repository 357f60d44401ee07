"""Zenodo's API: which files a record holds, how large they are, and under which licence.

Read as its documentation describes records (https://developers.zenodo.org, "Records"):
``files[].key, size, checksum`` and ``metadata.license.id``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from dcase_asd.downloads.http import Connection, with_patience
from dcase_asd.errors import DownloadError

_LARGEST_ANSWER = 16 << 20


@dataclass(frozen=True)
class ZenodoFile:
    """A file of a record: its size in bytes and its checksum (``md5:…``)."""

    size: int
    checksum: str


@dataclass(frozen=True)
class ZenodoRecord:
    """A record as its API describes it; `licence` is empty where it says none."""

    licence: str
    files: dict[str, ZenodoFile]


def read_record(connection: Connection, number: int) -> ZenodoRecord:
    """Ask the API for a record.

    Raises:
        UnreachableError: There is no way to the API.
        DownloadError: It refuses, or does not answer as documented.
    """
    url = f"https://zenodo.org/api/records/{number}"

    def ask() -> bytes:
        answer = bytearray()
        with connection.get(url) as response:
            for chunk in response.iter_raw():
                answer += chunk
                if len(answer) > _LARGEST_ANSWER:
                    break
        return bytes(answer)

    answer = with_patience(connection, url, ask)
    try:
        return _parse(json.loads(answer))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DownloadError(
            f"{connection.address(url)}: no description of a Zenodo record "
            f"({type(error).__name__}: {error}); check the --mirror, or try again later"
        ) from error


def _parse(answer: dict[str, Any]) -> ZenodoRecord:
    licence = answer.get("metadata", {}).get("license") or {}
    return ZenodoRecord(
        licence=str(licence.get("id", "")),
        files={
            str(file["key"]): ZenodoFile(int(file["size"]), str(file["checksum"]))
            for file in answer["files"]
        },
    )
