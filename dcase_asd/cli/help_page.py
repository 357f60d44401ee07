"""The page of all commands and recipe values, ``docs/help.md``: ``python -m …cli.help_page``."""

from __future__ import annotations

import dataclasses
import textwrap
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import typer

from dcase_asd.cli import app
from dcase_asd.cli.flags import shown_default
from dcase_asd.recipe.detector import Detector
from dcase_asd.recipe.fusion import FusedSystem, Fusion
from dcase_asd.recipe.pretraining import Pretraining
from dcase_asd.recipe.setting import range_text
from dcase_asd.recipe.subset import Subset
from dcase_asd.recipe.system import Embedding, System
from dcase_asd.recipe.training import Training

PAGE = Path(__file__).parents[2] / "docs" / "help.md"
WIDTH = 100
TABLES = {
    "A system": System,
    "`[embed]`": Embedding,
    "`[train]`": Training,
    "`[score]`": Detector,
    "`[data]`": Subset,
    "A fusion": FusedSystem,
    "`[fusion]`": Fusion,
    "A pre-training": Pretraining,
}
TYPES = {str: "text", int: "whole number", float: "number", bool: "true or false"}


def help_page() -> str:
    """The page, as Markdown."""
    return "\n".join([*_commands(), *_recipes()])


def _commands() -> Iterator[str]:
    group: Any = typer.main.get_command(app)
    yield "# Commands and recipes\n"
    yield "Written by `make docs` from the program itself.\n"
    yield "## Commands\n"
    yield from _help("dcase-asd", group, None)
    context = group.context_class(group, info_name="dcase-asd", **group.context_settings)
    for name, command in group.commands.items():
        yield f"### {name}\n"
        yield from _help(name, command, context)


def _help(name: str, command: Any, parent: Any) -> Iterator[str]:
    """A command's ``--help`` without frames and colors."""
    command.rich_markup_mode = None
    context = command.context_class(
        command, info_name=name, parent=parent, terminal_width=WIDTH, **command.context_settings
    )
    lines = command.get_help(context).splitlines()
    yield "\n".join(["```text", *(line.rstrip() for line in lines), "```\n"])


def _recipes() -> Iterator[str]:
    yield "## Recipes\n"
    yield textwrap.fill(
        "A recipe is a TOML file. One of a single system has `[embed]`, perhaps `[score]` and "
        "`[data]`, and `[train]` where its backbone is fine-tuned; one of a fusion has "
        "`[fusion]`. An overlay, and `--set table.name=value`, replace single values of these "
        "tables.",
        WIDTH,
    )
    for title, kind in TABLES.items():
        yield f"\n### {title}\n"
        yield "| name | type | default | choices or range | meaning |\n|---|---|---|---|---|"
        hints = typing.get_type_hints(kind)
        for field in dataclasses.fields(kind):
            required = field.default is field.default_factory is dataclasses.MISSING
            default = "required" if required else shown_default(field)
            words, choices = _type_and_choices(hints[field.name], field)
            cells = (f"`{field.name}`", words, default, choices, field.metadata["help"])
            yield f"| {' | '.join(cells)} |".replace("|  |", "| |").replace("|  |", "| |")
    yield ""


def _type_and_choices(hint: Any, field: dataclasses.Field[Any]) -> tuple[str, str]:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        hint = next(each for each in typing.get_args(hint) if each is not type(None))
    if typing.get_origin(hint) is Literal:
        return "text", ", ".join(map(str, typing.get_args(hint)))
    of = typing.get_args(hint)[0] if typing.get_origin(hint) is tuple else hint
    limits = range_text(**field.metadata) if of in (int, float) else ""
    word = TYPES.get(of, "table")
    return (word if of is hint else f"list of {word.replace('number', 'numbers')}"), limits


def write(path: Path = PAGE) -> None:
    """Write the page."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(help_page(), encoding="utf-8")


if __name__ == "__main__":
    write()
