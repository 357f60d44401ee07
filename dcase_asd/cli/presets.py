"""The command that lists the recipes that come with the toolkit."""

from __future__ import annotations

from typing import Annotated

import typer

from dcase_asd.cli.app import AsJson, app
from dcase_asd.cli.display import say, show_json, show_table


@app.command()
def presets(
    name: Annotated[
        str, typer.Argument(metavar="[NAME]", help="Print this preset's recipe instead.")
    ] = "",
    *,
    as_json: AsJson = False,
) -> None:
    """List the recipes that come with the toolkit, to be run as `run preset:NAME`.

    Published scores are their authors': they were not measured here, which would need the published
    weights and the recordings.

    Example: dcase-asd presets training-free
    """
    from dcase_asd.runs.presets import PREFIX, presets, recipe_file

    if name:
        print(recipe_file(PREFIX + name.removeprefix(PREFIX)).read_text(encoding="utf-8"), end="")
        return
    known = presets()
    if as_json:
        show_json([vars(each) | {"recipe": str(each.recipe)} for each in known])
        return
    rows = [(each.name, each.about, each.published or "-", each.source) for each in known]
    show_table(("preset", "what it does", "published, not measured here", "source"), rows)
    say("run one with `dcase-asd run preset:spectral --data data`")
