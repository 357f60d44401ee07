"""What the challenge publishes of one year and where: archives, licences, labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Part = Literal["dev", "add", "eval"]
"""Development set, additional training set, evaluation set: a record of its own each."""

PARTS: tuple[Part, ...] = ("dev", "add", "eval")

PART_FOLDERS: dict[Part, str] = {"dev": "dev_data", "add": "eval_data", "eval": "eval_data"}
"""Part -> folder of the data tree; additional training and test clips of a machine meet there."""

ZENODO = "https://zenodo.org"
GITHUB = "https://github.com"


@dataclass(frozen=True)
class Archive:
    """A published zip of one machine; `md5` is empty where only the record knows it."""

    name: str
    machine: str
    md5: str


@dataclass(frozen=True)
class Record:
    """A Zenodo record. `licence` is empty where only the record says it.

    `folders` are the split folders that each archive holds of its machine.
    """

    number: int
    licence: str
    folders: tuple[str, ...]
    archives: tuple[Archive, ...]

    @property
    def page(self) -> str:
        """Address of the record, for people."""
        return f"{ZENODO}/records/{self.number}"

    def address(self, name: str) -> str:
        """Address of one of its files."""
        return f"{self.page}/files/{name}"


@dataclass(frozen=True)
class LabelSource:
    """Where an edition's evaluation labels are published, and under which terms.

    Either a repository (``owner/name``) at a `commit` (a prefix will do), or the number of a Zenodo
    `record`. `paths` are the folders and files that hold the labels; `licence` is empty where
    only the source says it.
    """

    licence: str
    terms: str
    paths: tuple[str, ...]
    repository: str = ""
    commit: str = ""
    record: int = 0

    @property
    def page(self) -> str:
        """Address of the labels at that state, for people."""
        if self.record:
            return f"{ZENODO}/records/{self.record}"
        return f"{GITHUB}/{self.repository}/tree/{self.commit}"

    @property
    def archive(self) -> str:
        """Address of the repository at that commit, as a zip."""
        return f"{GITHUB}/{self.repository}/archive/{self.commit}.zip"


def read_records(facts: dict[str, Any]) -> dict[Part, Record]:
    """The records of an edition's TOML file."""
    return {part: _read_record(facts[part]) for part in PARTS if part in facts}


def read_label_source(facts: dict[str, Any]) -> LabelSource:
    """The ground truth of an edition's TOML file."""
    return LabelSource(**{**facts, "paths": tuple(facts["paths"])})


def _read_record(facts: dict[str, Any]) -> Record:
    return Record(
        number=facts["number"],
        licence=facts["licence"],
        folders=tuple(facts["folders"]),
        archives=tuple(
            Archive(name, archive["machine"], archive.get("md5", ""))
            for name, archive in facts["archives"].items()
        ),
    )
