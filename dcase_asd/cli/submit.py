"""Commands that make a challenge package and check it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dcase_asd.cli.app import AsJson, Data, EditionName, Quantile, Run, ThresholdRule, app
from dcase_asd.cli.display import Display, say, show_json, show_table

if TYPE_CHECKING:
    from dcase_asd.submission.validate import Validation


@app.command()
def submit(
    run: Run,
    *,
    edition: EditionName,
    label: Annotated[
        str, typer.Option("--label", help="Label of the system: <Lastname>_<Inst>_task2_<1-4>.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder for packages and their zips.")] = Path(
        "submissions/dist"
    ),
    form: Annotated[
        Path | None,
        typer.Option(
            "--form", help="Form of authors and descriptions, as in submissions/examples."
        ),
    ] = None,
    report: Annotated[
        Path | None, typer.Option("--report", help="Technical report, a PDF.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a system or report that differs.")
    ] = False,
    quantile: Quantile = 0.9,
    rule: ThresholdRule = "empirical",
    as_json: AsJson = False,
) -> None:
    """Put a run's evaluation scores and decisions into a challenge package.

    Writes the CSV files, the meta file and the zip as the challenge asks for them that year. A
    second run with another label joins the same package.

    Example: dcase-asd submit runs/spectral --edition dcase2025 --label Lastname_INST_task2_1
    --out submissions/dist --form submissions/examples/submission.toml
    """
    from dcase_asd.submission.submit import submit as step

    done = step(
        run, edition, label, out, form=form, report=report, overwrite=overwrite, quantile=quantile,
        rule=rule, progress=Display(),
    )  # fmt: skip
    if as_json:
        show_json(done)
    show_table(
        ("machine", "section", "domain", "clips", "threshold", "anomalous"),
        [
            (
                file.machine,
                file.section,
                file.domain or "-",
                file.clips,
                "-" if file.threshold is None else f"{file.threshold:.4g}",
                "-" if file.anomalies is None else file.anomalies,
            )
            for file in done.files
        ],
        title=f"{label}: {edition}",
        numbers=("clips", "threshold", "anomalous"),
    )
    state = "written" if done.changed else "unchanged"
    say(f"{done.archive}: {state}, {len(done.systems)} system(s): {', '.join(done.systems)}")


@app.command()
def validate(
    package: Annotated[Path, typer.Argument(help="Zip or folder, as `submit` makes it.")],
    *,
    edition: EditionName,
    data: Data,
    run: Annotated[
        list[str] | None,
        typer.Option(
            "--run",
            help="Run folder to compare scores, decisions, results and what was trained on with; "
            "once for each system in the order of the labels, or as LABEL=FOLDER.",
        ),
    ] = None,
    quantile: Quantile = 0.9,
    strict: Annotated[
        bool, typer.Option("--strict", help="Take every warning for an error.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check a challenge package as its organisers would, and more closely.

    Lists everything that is wrong; the exit status is 1 where the package would be refused.

    Example: dcase-asd validate submissions/dist/Lastname_INST_task2.zip --edition dcase2025
    --data data --run runs/spectral
    """
    from dcase_asd.submission.validate import validate as step

    found = step(package, edition, data, run or (), quantile=quantile)
    accepted = found.accepted(strict)
    if as_json:
        counts = {"errors": found.errors, "warnings": found.warnings, "accepted": accepted}
        show_json(vars(found) | counts)
    show_validation(found, strict)
    if not accepted:
        raise typer.Exit(1)


def show_validation(found: Validation, strict: bool = False) -> None:
    """Print what was found in a package, and the verdict."""
    if found.problems:
        show_table(
            ("level", "where", "what"),
            [
                ("error" if strict else problem.level, problem.where, problem.what)
                for problem in found.problems
            ],
        )
    verdict = "valid" if found.accepted(strict) else "NOT valid"
    say(
        f"{found.package}: {verdict} for {found.edition}: {len(found.systems)} system(s), "
        f"{found.clips} evaluation clips, {found.errors} error(s), {found.warnings} warning(s)"
    )
