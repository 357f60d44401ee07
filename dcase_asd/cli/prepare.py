"""Commands about recordings: prepare, labels."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from dcase_asd.cli.app import AsJson, Data, app
from dcase_asd.cli.display import Display, say, show_json, show_table
from dcase_asd.progress import size_text

if TYPE_CHECKING:
    from dcase_asd.embeddings.findings import Findings
    from dcase_asd.embeddings.pseudo_labels import Agreement, Clustering

PROBLEMS_SHOWN = 10
"""Problems printed; all of them are in the table on disk."""


@app.command()
def prepare(
    data: Data,
    manifest: Annotated[
        Path | None,
        typer.Option(
            "--manifest",
            help="Folder for the tables where the data folder is read-only; give it to the other "
            "commands as --data.",
        ),
    ] = None,
    pack: Annotated[
        bool,
        typer.Option(
            "--pack",
            help="Also write the 16-bit samples of each machine into one file, packed/, from which "
            "finetune and embed read them faster.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Find the recordings below a data folder and write its manifest.

    Reads headers, and on a second run only those of files that changed. Writes clips.csv,
    clips.problems.csv (files left out, with the reason), clips.notes.csv (what a header lacks and
    was assumed) and clips.duplicates.csv.

    Of machines with two channels (a near and a far microphone) it hears a few clips and tells how
    much of the near energy `embed --far cancel` would remove.

    Recordings on a read-only disk: --manifest DIR puts the tables and links to the recordings into
    DIR, which is from then on the data folder.

    --pack takes about as much disk as the recordings, which it tells before. Run again it packs
    machines that changed; a recording that changed since is read from its own file.

    Example: dcase-asd prepare --data data
    """
    from dcase_asd.clips.manifest import manifest_path, take_inventory
    from dcase_asd.clips.prepare import prepare as run_step
    from dcase_asd.embeddings.findings import sample_far

    found = run_step(data, Display(), manifest, pack=pack)
    tables = manifest or data
    rows = [asdict(each) for each in take_inventory(found.clips, list(found.problems["path"]))]
    problems, groups = len(found.problems), found.duplicates["group"].nunique()
    far = sample_far(data, found.clips)
    if as_json:
        told = {name: getattr(found, name).to_dict("records")
                for name in ("problems", "notes", "duplicates")}  # fmt: skip
        told["two_channels"] = [
            dict(zip(("edition", "stage", "machine"), machine, strict=True)) | of_it.provenance()
            for machine, of_it in far.items()
        ]
        counts = {"manifest": manifest_path(tables), "clips": len(found.clips), "machines": rows}
        packed = {"packed": asdict(found.packing)} if found.packing else {}
        show_json(counts | told | packed)
    columns = list(rows[0])
    numbers = [column for column in columns if isinstance(rows[0][column], int)]
    show_table(columns, [list(row.values()) for row in rows], numbers=numbers)
    for path, reason in found.problems.head(PROBLEMS_SHOWN).itertuples(index=False):
        say(f"left out: {path}: {reason}")
    if problems > PROBLEMS_SHOWN:
        say(f"left out: {problems - PROBLEMS_SHOWN} more; see {tables / 'clips.problems.csv'}")
    if len(found.notes):
        path, note = found.notes.iloc[0]
        more = f" (and {len(found.notes) - 1} more such)" if len(found.notes) > 1 else ""
        say(f"assumed: {path}: {note}{more}; see {tables / 'clips.notes.csv'}")
    if groups:
        say(
            f"the same audio stands in several places: {len(found.duplicates)} clips, {groups} "
            f"recordings; see {tables / 'clips.duplicates.csv'}"
        )
    _tell_far(far, tables)
    if str(found.changes):
        say(f"since the last time: {found.changes}")
    state = "written" if found.changed else "unchanged"
    say(f"{len(found.clips)} clips, {problems} left out, {found.read} files read; "
        f"{manifest_path(tables)} {state}")  # fmt: skip
    if (packing := found.packing) is not None:
        left = f", {packing.left_out} without 16-bit samples left out" if packing.left_out else ""
        say(
            f"packed: {packing.recordings} recordings{left}, {size_text(packing.bytes)}; "
            f"{packing.written} machine(s) now, {packing.kept} before"
        )
    if manifest is not None:
        say(f"give --data {shlex.quote(str(manifest))} to the other commands")


def _tell_far(machines: dict[tuple[str, str, str], Findings], data: Path) -> None:
    """Say what cancelling the far channel would remove, and the command that does."""
    from dcase_asd.errors import command

    for (edition, stage, machine), found in machines.items():
        say(found.foretold(f"{edition} {stage} {machine}"))
    if machines:
        edition = next(iter(machines))[0]
        cancel = command("embed", "--plugin", "spectral", "--data", data, "--edition", edition,
                         "--far", "cancel", "--run", "runs/cancel")  # fmt: skip
        say(f"where these are a near and a far microphone, {cancel} takes the far one out")


@app.command()
def labels(
    *,
    data: Data,
    edition: Annotated[
        str | None, typer.Option("--edition", help="Print only the classes of this edition.")
    ] = None,
    pseudo: Annotated[
        Literal["kmeans", "ward"] | None,
        typer.Option("--pseudo", help="Cluster machines without attributes."),
    ] = None,
    embeddings: Annotated[
        Path | None, typer.Option("--embeddings", help="Run folder whose embeddings are clustered.")
    ] = None,
    share: Annotated[
        float, typer.Option("--share", help="Clusters for each source clip; at least one.")
    ] = 0.008,
    clusters: Annotated[
        int, typer.Option("--clusters", min=0, help="Source clusters in place of --share.")
    ] = 0,
    threshold: Annotated[
        float, typer.Option("--threshold", min=0, help="Distance at which ward stops merging.")
    ] = 0.0,
    against: Annotated[
        Path | None,
        typer.Option("--against", help="Folder of published attributes, <machine>/*.csv."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print the classes of the unified label space with their train clips and sub-centers.

    Attributes name a class where the challenge gives them, else the section; classes without
    attributes get several sub-centers by the edition's rule. With --pseudo clusters of embeddings
    take the place of withheld attributes (`[train] pseudo` of a recipe). --against compares one
    class, k-means, Ward, and of a fine-tuned run the nearest sub-center, with published ones.

    Example: dcase-asd labels --data data --edition dcase2025
    """
    from dcase_asd.clips.classes import training_classes
    from dcase_asd.clips.manifest import clips_of_edition, read_manifest
    from dcase_asd.editions.edition import load_edition

    clips = read_manifest(data)
    if edition is not None:
        clips = clips_of_edition(clips, load_edition(edition).name, data)
    compared: list[Agreement] = []
    if (pseudo or against) and embeddings is None:
        raise typer.BadParameter("a run folder is needed with --pseudo and --against",
                                 param_hint="--embeddings")  # fmt: skip
    if embeddings is not None:
        if not (pseudo or against):
            raise typer.BadParameter("kmeans or ward, or --against, is needed with --embeddings",
                                     param_hint="--pseudo")  # fmt: skip
        from dcase_asd.embeddings.pseudo_labels import Clustering, with_pseudo_labels
        from dcase_asd.embeddings.sub_centers import folder_to_cluster

        folder = folder_to_cluster(embeddings)
        if folder != embeddings:
            Display().note(f"{embeddings}: of its checkpoints the last is taken, {folder}")
        clustering = Clustering(pseudo or "kmeans", share, clusters, threshold)
        clips = clips[(clips["split"] == "train") & (clips["role"] == "machine")]
        if against is not None:
            editions = map(str, clips["edition"].unique())
            compared = _compare(folder, editions, clustering, against)
        if pseudo is not None:
            clips = with_pseudo_labels(clips, folder, clustering)
    classes = training_classes(clips)
    if as_json:
        show_json({"classes": classes, "agreement": compared} if against else classes)
    rows = [[each.label, each.clips, each.sub_centers] for each in classes]
    show_table(["class", "clips", "sub-centers"], rows, numbers=["clips", "sub-centers"])
    say(
        f"{len(classes)} classes of {sum(each.clips for each in classes)} train clips, "
        f"{sum(each.sub_centers for each in classes)} sub-centers"
    )
    if compared:
        _show_agreement(compared)


def _compare(
    folder: Path, editions: Iterable[str], clustering: Clustering, against: Path
) -> list[Agreement]:
    from dcase_asd.embeddings.sub_centers import compare_with_attributes

    compared = []
    for name in editions:
        found, missing = compare_with_attributes(folder, name, clustering, against)
        compared += found
        if missing:
            Display().note(f"{name}: no sub-centers are compared: {missing}")
    return compared


def _show_agreement(compared: list[Agreement]) -> None:
    figures = ("clips", "attributes", "clusters", "adjusted Rand index", "mutual information")
    show_table(
        ("stage", "machine", "parted by", *figures),
        [(*list(vars(each).values())[:6], f"{each.rand:.3f}", f"{each.information:.3f}")
         for each in compared],
        title="agreement with published attributes",
        numbers=figures,
    )  # fmt: skip
