"""Zenodo's API: which files a record holds, how large they are, and under which licence.

Read as its documentation describes records (https://developers.zenodo.org, "Records"):
``files[].key, size, checksum`` and ``metadata.license.id``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from dcase_asd.downloads.http import Connection
from dcase_asd.downloads.partial import RemoteFile
from dcase_asd.editions.publication import ZENODO
from dcase_asd.errors import DownloadError

_LARGEST_ANSWER = 16 << 20


@dataclass(frozen=True)
class ZenodoRecord:
    """A record as its API describes it; `licence` is empty where it says none."""

    licence: str
    files: dict[str, RemoteFile]


def read_record(connection: Connection, number: int) -> ZenodoRecord:
    """Ask the API for a record.

    Raises:
        UnreachableError: There is no way to the API.
        DownloadError: It refuses, or does not answer as documented.
    """
    url = f"{ZENODO}/api/records/{number}"
    try:
        answer: dict[str, Any] = json.loads(connection.read(url, _LARGEST_ANSWER))
        licence = answer.get("metadata", {}).get("license") or {}
        files = {
            str(file["key"]): RemoteFile(
                f"{ZENODO}/records/{number}/files/{file['key']}",
                int(file["size"]),
                str(file["checksum"]),
            )
            for file in answer["files"]
        }
        return ZenodoRecord(str(licence.get("id", "")), files)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DownloadError(
            f"{connection.address(url)}: no description of a Zenodo record "
            f"({type(error).__name__}: {error}); check the --mirror, or try again later"
        ) from error
