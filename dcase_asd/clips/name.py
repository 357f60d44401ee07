"""File name <-> clip: the one parser for every file-name grammar of 2020 to 2026.

Names are parsed, never counted: no split, domain or condition is derived from an index range.

    2020   normal_id_01_00000000.wav, anomaly_id_04_00000264.wav; blind: id_05_00000000.wav
    2021   section_00_source_train_normal_0000_strength_1_ambient.wav,
           section_00_source_test_anomaly_0000.wav; blind: section_03_source_test_0000.wav
    2022-  section_00_target_test_normal_0007_car_A1_spd_28V.wav; blind: section_00_0000.wav
    2025   supplemental: section_00_noise_0001_noAttribute.wav, section_00_machine_source_0000_.wav
    own    anything, in an edition that is no year of the challenge (see `parse_own_name`)
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import lru_cache

from dcase_asd.errors import ClipNameError

NO_ATTRIBUTE = "noAttribute"
"""What the challenge writes where a machine's attributes are withheld."""

SPLIT_FOLDERS = {
    "train": "train",
    "test": "test",
    "source_test": "test",
    "target_test": "test",
    "supplemental": "supplemental",
}
"""Folder below a machine -> split; 2021 has a test folder for each domain."""

AUDIO_SUFFIXES = (".wav", ".flac")

# `[0-9]` because `\d` takes the digits of every script.
_ID_NAME = re.compile(
    r"(?:(?P<condition>normal|anomaly)_)?id_(?P<section>[0-9]{2})_(?P<index>[0-9]{8})"
)
_LABELLED_NAME = re.compile(
    r"section_(?P<section>[0-9]{2})_(?P<domain>source|target)_(?P<split>train|test)"
    r"_(?P<condition>normal|anomaly)_(?P<index>[0-9]{4})(?:_(?P<attributes>.*?))?_?"
)
_BLIND_NAME = re.compile(
    r"section_(?P<section>[0-9]{2})"
    r"_(?:(?P<domain>source|target)_(?P<split>test)_)?(?P<index>[0-9]{4})"
)
_SUPPLEMENTAL_NAME = re.compile(
    r"section_(?P<section>[0-9]{2})_(?P<kind>\D+?)_(?P<index>[0-9]{4})(?:_(?P<attributes>.*?))?_?"
)
_NEAR_GRAMMAR = re.compile(
    r"section_\d+_|(?:normal_|anomaly_)?id_\d+_|(?:normal|anomaly)[-. ]?id[-. ]?\d+[-_. ]\d"
    r"|section[-. ]?\d+[-_. ].*(?:source|target|train|test).*(?:normal|anomaly|\d{4})"
    r"|.*(?:source|target)[-_. ](?:train|test)[-_. ]",
    re.IGNORECASE,
)
"""Beginnings of names that are meant for a grammar of the challenge, whether or not they fit."""
_CONDITION = re.compile(r"(?:[Nn]ormal|[Aa]nomaly)(?![a-z])|(?:NORMAL|ANOMALY)(?![A-Z])")
MISSPELT = 0.82
"""Likeness above which a word is a misspelt condition: ``nomal`` has 0.91 and ``nornal`` 0.83, but
``normality`` 0.80 and ``nominal`` and ``animal`` 0.77."""

DOMAINS = ("source", "target")


@dataclass(frozen=True)
class ClipName:
    """What a clip's folder and file name say about it.

    `domain` is ``source``, ``target`` or empty where hidden or not defined; `condition` is
    ``normal``, ``anomaly`` or empty where hidden; `role` is ``machine`` or ``noise``;
    `attributes` is the whole attribute string, empty where there is none.
    """

    section: str
    domain: str
    split: str
    condition: str
    attributes: str
    role: str


def parse_clip_name(name: str, folder: str) -> ClipName:
    """Parse the name of a clip of the challenge.

    Args:
        name: File name with suffix, without its path.
        folder: Name of the folder below the machine: a key of `SPLIT_FOLDERS`.

    Returns:
        The parsed name.

    Raises:
        ClipNameError: The name follows no grammar, or contradicts its folder.
    """
    stem = _stem(name)
    split = _split(folder)
    if split == "supplemental":
        return _parse_supplemental(name, stem)
    match = (
        _LABELLED_NAME.fullmatch(stem) or _BLIND_NAME.fullmatch(stem) or _ID_NAME.fullmatch(stem)
    )
    if match is None:
        raise ClipNameError(
            f"{name}: no file-name grammar of the challenge fits; rename it like "
            "section_00_source_train_normal_0000_noAttribute.wav or normal_id_00_00000000.wav "
            "(two digits of the section; four of the number, after id_ eight; in small letters)"
        )
    found = match.groupdict()
    if found.get("split") not in (None, split):
        raise ClipNameError(f"{name}: a {found['split']} clip stands in the folder {folder}/")
    domain = found.get("domain") or ""
    folder_domain = folder.removesuffix("_test") if folder.endswith("_test") else ""
    if folder_domain and domain not in ("", folder_domain):
        raise ClipNameError(f"{name}: a {domain} clip stands in the folder {folder}/")
    condition = found.get("condition") or ""
    if split == "train" and condition != "normal":
        said = "an anomaly" if condition else "a clip without a condition"
        raise ClipNameError(f"{name}: {said} stands in train/, which holds normal clips only")
    return ClipName(
        section=found["section"],
        domain=domain or folder_domain,
        split=split,
        condition=condition,
        attributes=_attributes(found.get("attributes")),
        role="machine",
    )


def parse_own_name(name: str, folder: str) -> ClipName:
    """Parse the name of a recording of one's own, which may be called anything.

    A name that begins as in a grammar of the challenge is read by that grammar. Any other belongs
    to section ``00`` of the source domain; in ``train/`` it is normal, in ``supplemental/`` it is
    noise when its name holds ``noise``, and in ``test/`` its condition is known when the name
    begins with ``normal`` or ``anomaly``.

    Raises:
        ClipNameError: The file is no WAV or FLAC file, a name meant for the challenge's grammar
            does not fit it or contradicts its folder, or it begins almost with a condition.
    """
    stem = _stem(name)
    split = _split(folder)
    if _NEAR_GRAMMAR.match(stem):
        return parse_clip_name(name, folder)
    match = _CONDITION.match(stem)
    condition = match[0].lower() if match else ""
    word = re.split(r"[^A-Za-z]", stem, maxsplit=1)[0].lower()
    if not condition and split != "supplemental" and _is_misspelt(word):
        raise ClipNameError(
            f"{name}: begins with {word!r}; begin it with 'normal' or 'anomaly' if that is its "
            "condition, and with another word if not"
        )
    if split == "train" and condition == "anomaly":
        raise ClipNameError(f"{name}: an anomaly stands in train/, which holds normal clips only")
    return ClipName(
        section="00",
        domain="source" if split != "test" or condition else "",
        split=split,
        condition=condition or ("normal" if split == "train" else ""),
        attributes="",
        role="noise" if split == "supplemental" and "noise" in stem.lower() else "machine",
    )


def parse_listed_name(name: str) -> ClipName:
    """Parse a test clip's true name as the organisers' lists of renamed clips give it.

    The rows of RoboticArm in the list of 2024 lack ``_test``; the clips themselves do not.

    Raises:
        ClipNameError: The name follows no grammar.
    """
    whole = re.sub(r"^(section_\d{2}_(?:source|target))_(?=normal|anomaly)", r"\1_test_", name)
    return parse_clip_name(whole, "test")


def _parse_supplemental(name: str, stem: str) -> ClipName:
    match = _SUPPLEMENTAL_NAME.fullmatch(stem)
    tokens = match["kind"].split("_") if match else []
    roles = [role for role in ("noise", "machine") if role in tokens]
    if match is None or len(roles) != 1:
        raise ClipNameError(
            f"{name}: a supplemental name must say 'noise' or 'machine' before its number, as in "
            "section_00_noise_0000_noAttribute.wav"
        )
    domains = [domain for domain in ("source", "target") if domain in tokens]
    return ClipName(
        section=match["section"],
        domain=domains[0] if domains else "",
        split="supplemental",
        condition="normal" if roles == ["machine"] else "",
        attributes=_attributes(match["attributes"]),
        role=roles[0],
    )


@lru_cache
def _is_misspelt(word: str) -> bool:
    """Whether a slip would make an anomaly a normal train clip, or a test clip lose its label."""
    return word.startswith(("anomal", "abnormal")) or any(
        # Letters that changed places leave less in common than a letter too many does.
        sorted(word) == sorted(known) or SequenceMatcher(None, word, known).ratio() > MISSPELT
        for known in ("normal", "anomaly")
    )


def _stem(name: str) -> str:
    stem, dot, suffix = name.rpartition(".")
    if f"{dot}{suffix}".lower() not in AUDIO_SUFFIXES:
        raise ClipNameError(f"{name}: not a {' or '.join(AUDIO_SUFFIXES)} file")
    return stem


def _split(folder: str) -> str:
    if folder not in SPLIT_FOLDERS:
        raise ClipNameError(f"{folder}/: not one of the folders {', '.join(SPLIT_FOLDERS)}")
    return SPLIT_FOLDERS[folder]


def _attributes(text: str | None) -> str:
    return "" if not text or text == NO_ATTRIBUTE else text
