"""Which clips a command takes: `[data]` of a recipe, and what it leaves of a table of clips."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from dcase_asd.editions.edition import load_edition, official_editions
from dcase_asd.errors import DataError, EditionError, nearest_name
from dcase_asd.recipe.setting import flag_of, setting

if TYPE_CHECKING:
    import pandas as pd

Names = str | Sequence[str]
"""Names, each of which may be several with commas between."""


@dataclass(frozen=True)
class Subset:
    """Some machine types, sections and editions; all by default.

    A section is known by its number, however that is written: ``0``, ``00``, ``section_00``.
    """

    machines: tuple[str, ...] = setting(
        (),
        "Machine type to take, in every edition; default: all. May be repeated, or several with "
        "commas.",
        flag="machine",
    )
    sections: tuple[str, ...] = setting(
        (),
        "Section to take, of every machine type: 00, 0 or section_00; default: all. May be "
        "repeated, or several with commas.",
        flag="section",
    )
    exclude_editions: tuple[str, ...] = setting(
        (),
        "Edition to leave out, its noise clips, too; default: none. May be repeated, or several "
        "with commas.",
        flag="exclude-edition",
    )

    def __post_init__(self) -> None:
        readers: dict[str, Callable[[str], str]] = {
            "machines": str, "sections": _section, "exclude_editions": _edition
        }  # fmt: skip
        for name, read in readers.items():
            names = dict.fromkeys(map(read, _split(getattr(self, name))))
            object.__setattr__(self, name, tuple(names))

    def __bool__(self) -> bool:
        """Whether anything may be left out."""
        return bool(self.narrows or self.exclude_editions)

    @property
    def narrows(self) -> bool:
        """Whether clips of an edition that is taken may be left out."""
        return bool(self.machines or self.sections)

    def __str__(self) -> str:
        """What is taken of an edition, in words: ``machine fan, section 00``."""
        named = {"machine": self.machines, "section": self.sections}
        parts = [
            f"{word}{'s' * (len(names) > 1)} {', '.join(names)}"
            for word, names in named.items()
            if names
        ]
        return ", ".join(parts) or "all"

    def changed(
        self,
        machines: Names | None = None,
        sections: Names | None = None,
        exclude_editions: Names | None = None,
    ) -> Subset:
        """With what is given in the place of what is there; None stands for what is not given."""
        given: dict[str, Any] = {
            "machines": machines, "sections": sections, "exclude_editions": exclude_editions
        }  # fmt: skip
        return replace(self, **{name: of for name, of in given.items() if of is not None})

    def flags(self) -> list[str]:
        """The flags that give it."""
        values = [(flag_of(each), getattr(self, each.name)) for each in fields(self)]
        return [word for flag, names in values if names for word in (flag, ",".join(names))]

    def given(self) -> dict[str, list[str]]:
        """What is not as it is by default, as TOML and JSON hold it."""
        return {name: list(names) for name, names in vars(self).items() if names}

    def within(self, other: Subset) -> bool:
        """Whether the other takes at least what this takes of an edition, by their names."""
        taken = ((self.machines, other.machines), (self.sections, other.sections))
        return all(not more or (bool(few) and set(few) <= set(more)) for few, more in taken)

    def takes(self, machine: str, section: str) -> bool:
        """Whether a section of a machine type is taken."""
        return (not self.machines or machine in self.machines) and (
            not self.sections or _section(section) in self.sections
        )

    def mask(self, clips: pd.DataFrame) -> pd.Series[bool]:
        """Which rows are taken.

        Args:
            clips: Columns ``machine``, ``section`` and, where editions count, ``edition``.
        """
        taken = clips["machine"].notna()
        if self.machines:
            taken &= clips["machine"].isin(self.machines)
        if self.sections:
            taken &= clips["section"].map(_section).isin(self.sections)
        if self.exclude_editions and "edition" in clips:
            taken &= ~clips["edition"].isin(self.exclude_editions)
        return taken

    def unknown(self, clips: pd.DataFrame) -> list[str]:
        """A phrase for each name that nothing there has, with the nearest that something has.

        Args:
            clips: As `mask` takes them.
        """
        present = set(clips["edition"]) if "edition" in clips else set()
        there = {
            "machine": (self.machines, set(clips["machine"])),
            "section": (self.sections, set(map(_section, clips["section"].unique()))),
            "edition": (self.exclude_editions, present | set(official_editions())),
        }
        return [
            f"no {word} {name!r} ({nearest_name(name, known)})"
            for word, (names, known) in there.items()
            for name in names
            if name not in known
        ]

    def select(
        self, clips: pd.DataFrame, source: object, known: pd.DataFrame | None = None
    ) -> pd.DataFrame:
        """The rows that are taken, at least one.

        Args:
            clips: As `mask` takes them.
            source: Where they are from, for messages.
            known: Where a name must be found, such as in clips of all editions; default: in these.

        Raises:
            DataError: Names are unknown, all of which are told; or none of the rows is taken.
        """
        if problems := self.unknown(clips if known is None else known):
            raise DataError(f"{source}: {'; '.join(problems)}")
        chosen = clips[self.mask(clips)]
        if chosen.empty and not clips.empty:
            raise DataError(f"{source}: no clip of {self}; {self._there(clips)}")
        return chosen

    def of_edition(
        self, clips: pd.DataFrame, edition: str, source: object, known: pd.DataFrame | None = None
    ) -> pd.DataFrame:
        """The rows of an edition that are taken, at least one.

        Raises:
            DataError: As `select`; or the edition is one of those to be left out.
        """
        if edition in self.exclude_editions:
            raise DataError(
                f"{source}: {edition} is asked for, and left out by --exclude-edition or "
                "exclude_editions of the recipe; take it out there, or give --exclude-edition ''"
            )
        return self.select(clips, f"{source}: {edition}", known)

    def leaves_out(self, clips: pd.DataFrame) -> bool:
        """Whether some of the rows are not taken."""
        return not bool(self.mask(clips).all())

    def narrowed(self, asked: Subset, clips: pd.DataFrame) -> Subset:
        """What is left of clips of this subset once another is taken of them, without editions."""
        if not asked.leaves_out(clips):
            asked = EVERYTHING
        return Subset(asked.machines or self.machines, asked.sections or self.sections)

    def _there(self, clips: pd.DataFrame) -> str:
        """What the rows are of, where a subset takes none of them."""
        rows = clips[clips["machine"].isin(self.machines)] if self.machines else clips
        if rows.empty:
            return f"there are machines {', '.join(sorted(clips['machine'].unique()))}"
        whose = f"{', '.join(self.machines)} has" if self.machines else "there are"
        return f"{whose} sections {', '.join(sorted(rows['section'].unique()))}"


def _split(names: Names) -> list[str]:
    listed = [names] if isinstance(names, str) else names
    return [part.strip() for each in listed for part in each.split(",") if part.strip()]


def _section(text: str) -> str:
    number = text.lower().removeprefix("section").removeprefix("id").lstrip("_- ")
    return f"{int(number):02}" if number.isdecimal() else text


def _edition(name: str) -> str:
    try:
        return load_edition(name).name
    except EditionError:
        return name  # that there is no such edition is told with the other unknown names


EVERYTHING = Subset()
"""Leaves nothing out."""
