"""Commands about recordings: prepare, labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from dcase_asd.cli.app import AsJson, Data, app
from dcase_asd.cli.console import Display, say, show_json, show_table

if TYPE_CHECKING:
    import pandas as pd

PROBLEMS_SHOWN = 10
"""Problems printed; all of them are in the table on disk."""


@app.command()
def prepare(data: Data, as_json: AsJson = False) -> None:
    """Find the recordings below a data folder and write its manifest.

    Reads headers only, and on a second run only those of files that changed. Writes clips.csv,
    clips.problems.csv (files left out, with the reason) and clips.duplicates.csv.

    Example: dcase-asd prepare --data data
    """
    from dcase_asd.artifacts.manifest import manifest_path
    from dcase_asd.steps.prepare import prepare as run_step

    found = run_step(data, Display())
    rows = _summary(found.clips)
    problems, groups = len(found.problems), found.duplicates["group"].nunique()
    if as_json:
        show_json(
            {
                "manifest": str(manifest_path(data)),
                "clips": len(found.clips),
                "machines": rows,
                "problems": found.problems.to_dict("records"),
                "duplicates": found.duplicates.to_dict("records"),
            }
        )
        return
    if rows:
        columns = list(rows[0])
        numbers = [column for column in columns if isinstance(rows[0][column], int)]
        show_table(columns, [list(row.values()) for row in rows], numbers=numbers)
    for path, reason in found.problems.head(PROBLEMS_SHOWN).itertuples(index=False):
        say(f"left out: {path}: {reason}")
    if problems > PROBLEMS_SHOWN:
        say(f"left out: {problems - PROBLEMS_SHOWN} more; see {data / 'clips.problems.csv'}")
    if groups:
        say(
            f"the same audio stands in several places: {len(found.duplicates)} clips, {groups} "
            f"recordings; see {data / 'clips.duplicates.csv'}"
        )
    state = "written" if found.changed else "unchanged"
    say(f"{len(found.clips)} clips, {problems} left out, {found.read} files read; "
        f"{manifest_path(data)} {state}")  # fmt: skip


def _summary(clips: pd.DataFrame) -> list[dict[str, str | int]]:
    """One row for each edition, stage and machine: what there is of it."""
    rows: list[dict[str, str | int]] = []
    for (edition, stage, machine), group in clips.groupby(["edition", "stage", "machine"]):
        machine_clips = group[group["role"] == "machine"]
        train = machine_clips[machine_clips["split"] == "train"]
        test = machine_clips[machine_clips["split"] == "test"]
        domains = [domain for domain in ("source", "target") if (train["domain"] == domain).any()]
        attributes = train.loc[train["attributes"] != "", "attributes"].nunique()
        seconds = group["frames"] / group["sample_rate"]
        shortest, longest = f"{seconds.min():.3g}", f"{seconds.max():.3g}"
        rows.append(
            {
                "edition": str(edition),
                "stage": str(stage),
                "machine": str(machine),
                "sections": " ".join(sorted(machine_clips["section"].unique())),
                "train": len(train),
                "domains": "/".join(str((train["domain"] == each).sum()) for each in domains)
                or "-",
                "test": len(test),
                "labelled": int((test["condition"] != "").sum()),
                "attributes": str(attributes) if attributes else "none",
                "clean": int((machine_clips["split"] == "supplemental").sum()),
                "noise": int((group["role"] == "noise").sum()),
                "seconds": shortest if shortest == longest else f"{shortest}-{longest}",
                "Hz": "/".join(str(rate) for rate in sorted(group["sample_rate"].unique())),
                "channels": "/".join(str(count) for count in sorted(group["channels"].unique())),
            }
        )
    return rows


@app.command()
def labels(
    data: Data,
    edition: Annotated[
        str | None, typer.Option("--edition", help="Only the classes of this edition.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print the classes of the unified label space with their train clips and sub-centers.

    Attributes name a class where the challenge gives them, else the section; classes without
    attributes get several sub-centers by the edition's rule.

    Example: dcase-asd labels --data data --edition dcase2025
    """
    from dataclasses import asdict

    from dcase_asd.artifacts.manifest import clips_of_edition, read_manifest
    from dcase_asd.challenge.edition import load_edition
    from dcase_asd.challenge.labels import training_classes

    clips = read_manifest(data)
    if edition is not None:
        clips = clips_of_edition(clips, load_edition(edition).name, data)
    classes = training_classes(clips)
    if as_json:
        show_json([asdict(each) for each in classes])
        return
    rows = [[each.label, each.clips, each.sub_centers] for each in classes]
    show_table(["class", "clips", "sub-centers"], rows, numbers=["clips", "sub-centers"])
    say(
        f"{len(classes)} classes of {sum(each.clips for each in classes)} train clips, "
        f"{sum(each.sub_centers for each in classes)} sub-centers"
    )
