"""Commands that fetch: download, weights."""

from __future__ import annotations

import sys
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dcase_asd.cli.app import AsJson, Data, app
from dcase_asd.cli.display import Display, say, show_json, show_table
from dcase_asd.errors import DownloadError, command
from dcase_asd.progress import size_text

if TYPE_CHECKING:
    from dcase_asd.downloads.download import Outcome
    from dcase_asd.downloads.ground_truth import LabelPlan
    from dcase_asd.downloads.plan import Plan
    from dcase_asd.downloads.request import PlannedFile

PLANNED = ("edition", "split", "machine", "file", "size", "state")
"""What is told of each archive of a plan."""
Mirror = Annotated[
    str, typer.Option("--mirror", metavar="URL", help="Host that takes the place of the original.")
]


class Split(StrEnum):
    """Parts of an edition, as `editions.publication.Part`, of which typer takes no list."""

    dev = "dev"
    add = "add"
    eval = "eval"


@app.command()
def download(
    editions: Annotated[
        list[str] | None, typer.Argument(help="Years of the challenge: 2025, dcase2020, …")
    ] = None,
    *,
    everything: Annotated[
        bool, typer.Option("--all", help="Fetch all editions, 2020 to 2026.")
    ] = False,
    data: Data,
    split: Annotated[
        list[Split] | None,
        typer.Option(
            "--split",
            help="Part to fetch: development, additional training, evaluation; default: all.",
        ),
    ] = None,
    machine: Annotated[
        list[str] | None,
        typer.Option("--machine", help="Machine type to fetch; may be repeated; default: all."),
    ] = None,
    noise_only: Annotated[
        bool, typer.Option("--noise-only", help="Unpack only the supplemental noise clips (2025).")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the plan, fetch nothing.")
    ] = False,
    jobs: Annotated[
        int, typer.Option("--jobs", "-j", min=1, max=16, help="Files fetched at once.")
    ] = 3,
    keep_zips: Annotated[
        bool, typer.Option("--keep-zips", help="Keep zips in <data>/downloads once unpacked.")
    ] = False,
    source: Annotated[
        Path | None,
        typer.Option("--from", metavar="DIR", help="Take zips (or a checkout) from here, offline."),
    ] = None,
    mirror: Mirror = "",
    ground_truth: Annotated[
        bool, typer.Option("--ground-truth", help="Fetch evaluation labels instead of recordings.")
    ] = False,
    accept_licence: Annotated[
        bool,
        typer.Option("--accept-licence", help="Accept the labels' licence without a question."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Fetch what the challenge publishes into the official data tree, ready for `prepare`.

    Resumes after any interruption, checks every file before it is unpacked, and leaves alone what
    is there already, also trees of the official baselines.

    Example: dcase-asd download 2025 --split dev --machine fan --machine valve
    """
    from dcase_asd.editions.edition import official_editions

    if bool(editions) == everything:
        raise typer.BadParameter(
            "name the editions, as in `dcase-asd download 2025`, or give --all"
        )
    names = official_editions() if everything else tuple(editions or ())
    if ground_truth:
        if split or machine or noise_only:
            raise typer.BadParameter("--ground-truth goes without --split, --machine, --noise-only")
        _labels(
            data=data, editions=names, checkout=source, mirror=mirror, accepted=accept_licence,
            dry_run=dry_run, as_json=as_json,
        )  # fmt: skip
        return
    from dcase_asd.downloads.download import download as step
    from dcase_asd.downloads.plan import plan_download
    from dcase_asd.downloads.request import Request

    request = Request(
        data=data, editions=names, machines=tuple(machine or ()), noise_only=noise_only,
        source=source, mirror=mirror, jobs=jobs, keep_archives=keep_zips,
    )  # fmt: skip
    if split:
        request = replace(request, parts=tuple(dict.fromkeys(part.value for part in split)))
    plan = plan_download(request)
    _show_plan(plan)
    plan.require_space()
    outcome = None if dry_run else step(plan, Display())
    if as_json:
        show_json(_plan_json(plan, outcome))
    if outcome is not None:
        _end(plan, outcome)


@app.command()
def weights(
    plugin: Annotated[
        str | None, typer.Argument(help="Plugin whose weights to fetch; default: list all.")
    ] = None,
    checkpoint: Annotated[
        str,
        typer.Option("--checkpoint", help="Weights to fetch; default: the plugin's default ones."),
    ] = "",
    mirror: Mirror = "",
    as_json: AsJson = False,
) -> None:
    """List the published weights that the installed plugins name, or fetch a plugin's.

    They go to the folder that DCASE_ASD_CACHE names, else to ~/.cache/dcase-asd.

    Example: dcase-asd weights beats
    """
    from dcase_asd.downloads.weights import fetch_weights, list_weights

    if plugin is not None:
        path = fetch_weights(plugin, checkpoint, mirror=mirror, progress=Display())
        if as_json:
            show_json({"plugin": plugin, "path": path})
        say(str(path))
        return
    rows = [
        {
            "plugin": row.plugin,
            "checkpoint": row.checkpoint.name,
            "here": row.there,
            "licence": row.checkpoint.licence,
            "what it is": row.checkpoint.description,
            "path": row.path,
        }
        for row in list_weights()
    ]
    if as_json:
        show_json(rows)
    if rows:
        shown = [row | {"here": "yes" if row["here"] else "no"} for row in rows]
        show_table(list(rows[0]), [list(row.values()) for row in shown])
    else:
        say("no installed plugin names published weights")


def _end(plan: Plan, outcome: Outcome) -> None:
    """Say how a download went; status 1 where archives are missing."""
    for problem in outcome.problems:
        print(f"error: {problem}", file=sys.stderr)
    if outcome.problems:
        missing = f"{len(outcome.problems)} of {len(plan.files)} archives are missing"
        print(f"{missing}; the same command goes on where it was", file=sys.stderr)
        raise typer.Exit(1)
    say(
        f"{outcome.complete} of {len(plan.files)} archives are in place; "
        f"next: {command('prepare', '--data', plan.request.data)}"
    )


def _planned(file: PlannedFile) -> tuple[str, str, str, str]:
    return file.edition, file.part, file.archive.machine, file.archive.name


def _plan_json(plan: Plan, outcome: Outcome | None) -> dict[str, object]:
    """What was planned; after it was done also how it went."""
    names = (*PLANNED, "problem")
    files = [
        dict(zip(names, (*_planned(file), file.size, file.state, file.problem), strict=True))
        for file in plan.files
    ]
    licences = [
        dict(zip(("edition", "split", "licence", "page"), each, strict=True))
        for each in plan.licences
    ]
    told = {"files": files, "licences": licences, "notes": plan.notes, "needed": plan.needed}
    return told | ({} if outcome is None else vars(outcome))


def _show_plan(plan: Plan) -> None:
    rows = [
        (*_planned(file), "?" if file.size is None else size_text(file.size), _state_text(file))
        for file in plan.files
    ]
    show_table(PLANNED, rows, numbers=("size",))
    for edition, part, licence, page in plan.licences:
        say(f"licence of {edition} {part}: {licence or 'not known here, read it there'}, {page}")
    say("The recordings are for non-commercial use; read the licence before any other.")
    for note in plan.notes:
        say(f"note: {note}")
    unknown = sum(file.size is None and not file.complete for file in plan.files)
    say(
        f"disk: about {size_text(plan.archives_size)} for zips and {size_text(plan.unpacked_size)} "
        f"unpacked, {size_text(plan.free)} free"
        + (f"; without {unknown} archives of unknown size" if unknown else "")
    )


def _state_text(file: PlannedFile) -> str:
    if file.problem:
        return "cannot be had"
    if file.state == "begun":
        return f"{size_text(file.fetched)} here"
    return {
        "done": "in place",
        "own": "in place (not by download)",
        "unpacked": "unpacked, to be moved",
        "archive": "zip here",
        "absent": "to fetch",
    }[file.state]


def _labels(
    *,
    data: Path,
    editions: tuple[str, ...],
    checkout: Path | None,
    mirror: str,
    accepted: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    from dcase_asd.downloads.ground_truth import fetch_labels, plan_labels

    plans = plan_labels(data, editions)
    wanted = [plan for plan in plans if not plan.there]
    rows = [
        {
            "edition": plan.edition,
            "from": plan.source.page,
            "licence": plan.source.licence,
            "folder": plan.folder,
            "in_place": plan.there or not dry_run,
        }
        for plan in plans
    ]
    states = ["in place" if plan.there else "to fetch" for plan in plans]
    show_table(
        ("edition", "from", "licence", "state"),
        [
            (row["edition"], row["from"], row["licence"] or "not known here", state)
            for row, state in zip(rows, states, strict=True)
        ],
    )
    if wanted and not dry_run:
        if not accepted:
            _ask(wanted, on_stderr=as_json)
        for plan in wanted:
            fetch_labels(plan, checkout=checkout, mirror=mirror, progress=Display())
    if as_json:
        show_json(rows)
    if not dry_run:
        for plan in plans:
            say(f"{plan.edition}: evaluate with --ground-truth {plan.folder}")


def _ask(plans: list[LabelPlan], *, on_stderr: bool) -> None:
    """Show the terms and ask once for all, also where --quiet silences the rest.

    Raises:
        DownloadError: The user does not accept them.
    """
    for plan in plans:
        terms = plan.source.terms or "read it there before you accept"
        licence = plan.source.licence or "licence"
        typer.echo(f"{plan.edition}: {licence}: {terms} ({plan.source.page})", err=on_stderr)
    try:
        accepted = typer.confirm("Do you accept these licences?", err=on_stderr)
    except typer.Abort:
        accepted = False
    if not accepted:
        raise DownloadError(
            "the labels were not fetched, as their licence was not accepted; say yes, or give "
            "--accept-licence"
        )
