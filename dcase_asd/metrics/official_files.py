"""The challenge's CSV files: their names, and one clip with its value on each line, no header.

Fields may be quoted as in RFC 4180; a clip's name that holds a comma may also stand without quotes.

2020 has `anomaly_score_<machine>_id_<section>.csv`; 2021 adds decisions and names the domain; from
2022 on it is `anomaly_score_<machine>_section_<section>_test.csv`. Each edition's patterns stand in
its TOML file.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from dcase_asd.clips.name import AUDIO_SUFFIXES
from dcase_asd.editions.edition import Edition, load_edition, official_editions
from dcase_asd.errors import DcaseAsdError, EditionError, ScoresError
from dcase_asd.files import find_below

Kind = Literal["score", "decision", "train"]
"""``score`` files hold scores of test clips, ``train`` files, for imports alone, of train clips."""

OFFICIAL_SUFFIX = ".wav"
"""Every clip is named so in official files, whatever the recording's own format."""

PARTS = ("machine", "section", "domain")
"""What stands in a file's name."""

_FIELD = re.compile(r'\s*"((?:[^"]|"")*)"\s*,|([^,]*),')
_OTHER_SEPARATOR = re.compile(r"\.(?:wav|flac)\"?\s*?([;\t|])", re.IGNORECASE)
_DECIMAL_COMMA = re.compile(r"[+-]?\d+(?:\.\d{3})*,\d+(?:e[+-]?\d+)?", re.IGNORECASE)


@dataclass(frozen=True)
class OfficialFile:
    """An official file and what its name says; `domain` is empty except in 2021."""

    path: Path
    kind: Kind
    machine: str
    section: str
    domain: str

    @property
    def key(self) -> tuple[str, str, str]:
        """Machine, section and domain."""
        return self.machine, self.section, self.domain


def score_file_name(edition: Edition, machine: str, section: str, domain: str = "") -> str:
    """Name of the score file of a machine and section (and, in 2021, domain)."""
    pattern = edition.submission.score_file
    return pattern.format(machine=machine, section=section, domain=domain)


def decision_file_name(edition: Edition, machine: str, section: str, domain: str = "") -> str:
    """Name of the decision file of a machine and section (and, in 2021, domain).

    Raises:
        EditionError: The edition asks for no decisions (2020).
    """
    pattern = edition.submission.decision_file
    if not pattern:
        raise EditionError(f"{edition.name} asks for no decision files")
    return pattern.format(machine=machine, section=section, domain=domain)


def official_clip_name(name: str) -> str:
    """A clip's name in official files: ``section_00_0000.flac`` -> ``section_00_0000.wav``."""
    stem, dot, suffix = name.rpartition(".")
    return (stem if f"{dot}{suffix}".lower() in AUDIO_SUFFIXES else name) + OFFICIAL_SUFFIX


def official_text(values: Mapping[str, float], source: str) -> str:
    """The content of a score or decision file.

    Args:
        values: Clip's file name -> anomaly score (float) or decision (int), in the lines' order.
        source: What to name in a message: the file's path.

    Returns:
        Lines of ``<name>.wav,<value>``; floats in the shortest form that reads back the same.

    Raises:
        ScoresError: A score is not finite, or two clips have one official name.
    """
    lines: dict[str, str] = {}
    for name, value in values.items():
        clip = official_clip_name(name)
        if not math.isfinite(value):
            raise ScoresError(f"{source}: the score of {name} is {value}; score again")
        if clip in lines:
            raise ScoresError(f"{source}: two clips would be named {clip}; rename one of them")
        # A numpy scalar would write itself as np.float64(0.5).
        plain = int(value) if isinstance(value, (int, np.integer)) else float(value)
        lines[clip] = f"{clip},{plain!r}\n"
    return "".join(lines.values())


def read_official_file(path: str | Path) -> pd.DataFrame:
    """Read a score or decision file.

    Returns:
        Columns ``file`` (the clip's name as it stands there) and ``value`` (float64, finite), in
        the order of the lines.

    Raises:
        ScoresError: The file is missing, unreadable or empty, a line is not ``<name>,<number>``
            (other separators and decimal commas are named), a number is not finite, or a clip is
            named twice; with the line's number.
    """
    values: dict[str, float] = {}
    for number, name, text in official_lines(path):
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise ScoresError(
                f"{path}, line {number}: {text.strip()!r} is no finite number; "
                "every clip needs one score"
            )
        if name in values:
            raise ScoresError(f"{path}, line {number}: {name} is named a second time; keep one")
        values[name] = value
    return pd.DataFrame({"file": pd.Series(list(values), dtype="str"), "value": values.values()})


def official_lines(
    path: str | Path, kind_of_error: type[DcaseAsdError] = ScoresError
) -> list[tuple[int, str, str]]:
    """Split a file into (line number from 1, clip's name, value's text); blank lines are skipped.

    Raises:
        DcaseAsdError: Of the given kind: the file is missing, unreadable or empty, or a line is
            not one name and one value with a comma between them.
    """
    rows = []
    for number, line in enumerate(read_lines(path, kind_of_error), 1):
        if not line.strip():
            continue
        name, value, fault = split_line(line)
        if fault:
            raise kind_of_error(f"{path}, line {number}: {fault}")
        rows.append((number, name, value))
    if not rows:
        raise kind_of_error(f"{path}: the file is empty; it needs one line for each clip")
    return rows


def split_line(line: str) -> tuple[str, str, str]:
    """A clip's name, its value's text, and why the line is not these two; empty if it is.

    A clip's name may hold commas.
    """
    *names, value = split_fields(line)
    return ",".join(names).strip(), value, _find_fault(line, names, value)


def split_fields(line: str) -> list[str]:
    """Fields of a CSV line, without the quotes around them; a stray quote stands for itself."""
    return [
        bare if quoted is None else quoted.replace('""', '"')
        for quoted, bare in (match.group(1, 2) for match in _FIELD.finditer(line + ","))
    ]


def other_separator(line: str) -> str:
    """Say that a line's fields are separated by something else than commas; empty if not so."""
    match = _OTHER_SEPARATOR.search(line)
    if match is None and "," not in line:
        match = re.search(r"([;\t|])", line)
    return f"the fields are separated by {match[1]!r}; separate them by commas" if match else ""


def _find_fault(line: str, names: list[str], text: str) -> str:
    """Why a line is not one clip and one value; empty if it is."""
    of_clip = bool(names) and names[-1].strip().lower().endswith(AUDIO_SUFFIXES)
    if not of_clip and (separator := other_separator(line)):
        return separator
    value = text.strip() if of_clip or len(names) < 2 else f"{names[-1]},{text}".strip()  # noqa: PLR2004
    if _DECIMAL_COMMA.fullmatch(value):
        return f"{value!r} has a decimal comma; write it with a point"
    others = any(name.strip().lower().endswith(AUDIO_SUFFIXES) for name in names)
    if not "".join(names).strip() or (others and not of_clip):
        return f"{line!r} is not <clip>.wav,<value>"
    return ""


def read_lines(path: str | Path, kind_of_error: type[DcaseAsdError]) -> list[str]:
    """Lines of a text file of somebody else's, whatever its line ends.

    Raises:
        DcaseAsdError: Of the given kind: the file is missing or no text.
    """
    try:
        return Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise kind_of_error(f"{path}: cannot be read ({reason})") from error


def find_official_files(folder: str | Path, edition: Edition) -> list[OfficialFile]:
    """Score and decision files anywhere below a folder, by the edition's own name patterns.

    Names that lack 2022's ``_test``, and the longer names with a seed that the evaluators of 2023
    and later accept, are found too; and files of train clips, named alike but for ``_train``.

    Returns:
        The files, sorted by kind, machine, section and domain.

    Raises:
        ScoresError: The folder is missing or holds no score file, a file is named almost like
            one, or two files stand for one machine and section.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ScoresError(f"{folder}: no such folder; give a run folder or one with score files")
    paths = find_below(folder, "**/*.csv")
    rules = edition.submission
    templates: dict[Kind, str] = {"decision": rules.decision_file, "score": rules.score_file}
    patterns = {kind: _name_patterns(edition, each) for kind, each in templates.items()}
    patterns["train"] = _name_patterns(edition, rules.score_file, "train")
    found: dict[tuple[str, ...], OfficialFile] = {}
    for path in paths:
        file = _named(path, patterns)
        if file is None:
            for kind, template in templates.items():
                if template and path.name.startswith(template.partition("{")[0]):
                    raise _misnamed(path, kind, edition, template)
            continue
        other = found.setdefault((file.kind, *file.key), file)
        if other is not file:
            raise ScoresError(
                f"{folder}: {other.path} and {path} are both the {file.kind} file of "
                f"{' '.join(filter(None, file.key))}; give the folder of one system"
            )
    if not any(file.kind == "score" for file in found.values()):
        paths = [path for path in paths if _named(path, patterns) is None]
        names = [path.name for path in paths]
        for close in difflib.get_close_matches(rules.score_file, names, n=1):
            raise _misnamed(paths[names.index(close)], "score", edition, rules.score_file)
        raise ScoresError(
            f"{folder}: neither a run folder nor one with score files of {edition.name}, "
            f"which are named {_shown(rules.score_file)}"
        )
    return [found[key] for key in sorted(found)]


def _named(path: Path, patterns: Mapping[Kind, list[re.Pattern[str]]]) -> OfficialFile | None:
    """What a file's name says; None where it is none of these."""
    for kind, expressions in patterns.items():
        for match in filter(None, (each.fullmatch(path.name) for each in expressions)):
            machine, section, domain = (match.groupdict().get(name) or "" for name in PARTS)
            return OfficialFile(path, kind, machine, section, domain)
    return None


def _name_patterns(edition: Edition, template: str, split: str = "test") -> list[re.Pattern[str]]:
    """Expressions for the names of a kind of files, the strictest first."""
    if not template:
        return []
    stem = template.removesuffix(".csv").removesuffix("_test")
    if split == "train":
        stem = stem.replace("_{domain}", "(?:_{domain})?")
    templates = [f"{stem}_train.csv" if split == "train" else f"{stem}(?:_test)?.csv"]
    if edition.metric == "2022" or not edition.official:
        year = edition.year or r"\d{4}"
        of_seed = rf"{stem}_{split}_seed\d+.*.csv"
        templates.append(of_seed.replace("{machine}", f"DCASE{year}T2{{machine}}"))
    known = {name for machines in edition.machines.values() for name in machines}
    # An edition's tree may hold machines of one's own beside the official ones.
    machines = [*(["|".join(sorted(known))] if known else []), ".+?"]
    return [
        re.compile(
            template.replace(".csv", r"\.csv")
            .replace("{machine}", f"(?P<machine>{machine})")
            .replace("{section}", r"(?P<section>\d{2})")
            .replace("{domain}", "(?P<domain>source|target)")
        )
        for machine in machines
        for template in templates
    ]


def _misnamed(path: Path, kind: Kind, edition: Edition, template: str) -> ScoresError:
    told = f"{path}: not the name of a {kind} file of {edition.name}, which is {_shown(template)}"
    for name in official_editions():
        other = load_edition(name)
        if _named(path, {kind: _name_patterns(other, other.submission.score_file)}):
            told += f"; files of {name} are named so: give --edition {name} for them"
            break
    return ScoresError(told)


def _shown(template: str) -> str:
    return re.sub(r"\{(\w+)\}", r"<\1>", template)
