"""Command check: recordings -> verdicts."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dcase_asd.cli.app import AsJson, app
from dcase_asd.cli.display import Display, say, show_json
from dcase_asd.errors import DcaseAsdError, RecipeError

if TYPE_CHECKING:
    from dcase_asd.monitor.monitor import Monitor
    from dcase_asd.monitor.verdict import Rule, Verdict

FAILED, ANOMALY = 1, 3
"""Exit status where a recording could not be checked; where something is anomalous and
--fail-on-anomaly was given, which says more."""


@app.command()
def check(
    model: Annotated[Path, typer.Argument(help="Model that `fit` has written, such as fan.asd.")],
    paths: Annotated[
        list[Path],
        typer.Argument(
            help="Recordings, or folders of them; - reads raw 16-bit samples or a WAV file from "
            "standard input."
        ),
    ],
    *,
    false_alarms: Annotated[
        float | None,
        typer.Option(
            "--false-alarms",
            help="Share of normal recordings that may be called anomalous (that of the model).",
            show_default=False,
        ),
    ] = None,
    rule: Annotated[
        str | None,
        typer.Option(
            "--rule",
            help="How many of how many consecutive windows have to be anomalous, such as 2/3.",
        ),
    ] = None,
    fail_on_anomaly: Annotated[
        bool,
        typer.Option("--fail-on-anomaly", help="Exit with status 3 where something is anomalous."),
    ] = False,
    watch: Annotated[
        bool,
        typer.Option("--watch", help="Stay, and check each recording once when it arrives whole."),
    ] = False,
    log: Annotated[
        Path | None,
        typer.Option(
            "--log",
            help="With --watch, file that gets a JSON line for each recording (<model>.log.jsonl).",
            show_default=False,
        ),
    ] = None,
    idle: Annotated[
        float,
        typer.Option(
            "--idle",
            min=0.0,
            help="With --watch, end after so many seconds without a new recording; 0 never.",
        ),
    ] = 0.0,
    rate: Annotated[
        int | None,
        typer.Option("--rate", min=1000, max=384000, help="Rate in Hz of raw samples."),
    ] = None,
    window: Annotated[
        float | None,
        typer.Option(
            "--window",
            help="Of standard input, seconds that are judged at once (as the model's).",
            show_default=False,
        ),
    ] = None,
    hop: Annotated[
        float | None,
        typer.Option(
            "--hop",
            help="Of standard input, seconds from one window to the next (one window).",
            show_default=False,
        ),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(
            "--report",
            help="Page to write: the 50 most anomalous recordings to be listened to and looked at, "
            "all with their scores.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Tell whether recordings sound like the normal ones, and when, where and why not.

    Of each recording: the verdict, its score, the threshold, how unusual that is among normal ones,
    the times and bands that differ most, the normal recording that is most similar, and what is
    unusual about the recording itself. With --json a list of these; of a stream or with --watch one
    JSON line each. With --report a page that needs no network: the most anomalous recordings with
    player, spectrogram, what differs and the most similar normal one where its file is still there,
    then the distribution of all scores.

    Exit status: 0; 3 where something is anomalous and --fail-on-anomaly was given; 1 for an error.

    Example: dcase-asd check fan.asd today.wav
    """
    from dcase_asd.monitor.monitor import Monitor, check_share
    from dcase_asd.monitor.verdict import Rule

    stream = Path("-") in paths
    _refuse(stream, watch, paths, {"--rate": rate, "--window": window, "--hop": hop},
            {"--log": log, "--idle": idle or None}, report)  # fmt: skip
    if report is not None:
        from dcase_asd.reports.check import check_way

        check_way(report)
    monitor = Monitor.load(model)
    parsed = Rule.parse(rule) if rule else None
    share = monitor.false_alarms if false_alarms is None else check_share(false_alarms)
    found: Iterator[Verdict | str]
    if stream:
        from dcase_asd.monitor.streams import Windows, check_stream

        length = monitor.front.window if window is None else window
        cut = Windows(length, length if hop is None else hop, rate)
        found = check_stream(monitor, sys.stdin.buffer, cut, share, parsed)
    elif watch:
        from dcase_asd.monitor.arrivals import watch as arriving

        found = arriving(monitor, paths[0], log or model.with_suffix(".log.jsonl"),
                         false_alarms=share, rule=parsed, idle=idle)  # fmt: skip
    else:
        found = _each(monitor, paths, share, parsed)
    kept: list[Verdict | str] = []
    failed, anomalous = _shown(
        found if report is None else _keeping(found, kept), as_json, lines=stream or watch
    )
    if report is not None:
        from dcase_asd.reports.verdicts import write_verdicts

        write_verdicts(
            report, monitor, model, [each for each in kept if not isinstance(each, str)],
            [each for each in kept if isinstance(each, str)], false_alarms=share,
            progress=Display(),
        )  # fmt: skip
        say(f"{report}: written")
    if anomalous and fail_on_anomaly:
        raise typer.Exit(ANOMALY)
    if failed:
        raise typer.Exit(FAILED)


def _each(
    monitor: Monitor, paths: list[Path], share: float, rule: Rule | None
) -> Iterator[Verdict | str]:
    """The verdict of each recording, or what is wrong with it."""
    from dcase_asd.monitor.normals import find_recordings

    display, several = Display(), len(paths) > 1 or paths[0].is_dir()
    files = []
    for path in paths:
        try:
            files += find_recordings(path)[0]
        except DcaseAsdError as error:
            if not several:
                raise
            yield str(error)
    with display.bar("check", len(files), "recordings") as advance:
        for file in files:
            try:
                yield monitor.check(file, false_alarms=share, rule=rule)
            except DcaseAsdError as error:
                yield str(error)
            advance(1)


def _keeping(found: Iterator[Verdict | str], kept: list[Verdict | str]) -> Iterator[Verdict | str]:
    for each in found:
        kept.append(each)
        yield each


def _shown(found: Iterator[Verdict | str], as_json: bool, *, lines: bool) -> tuple[bool, bool]:
    """Print verdicts as they come, and errors; returns whether there was one, and an anomaly."""
    told: set[str] = set()
    values, failed, anomalous = [], False, False
    for each in found:
        if isinstance(each, str):
            print(f"error: {each}", file=sys.stderr)
            failed = True
            continue
        anomalous |= each.verdict == "anomalous"
        if as_json and lines:
            print(json.dumps(each.as_json(), allow_nan=False), flush=True)
        elif as_json:
            values.append(each.as_json())
        else:
            told |= _say(each, told)
    if as_json and not lines:
        show_json(values)
    return failed, anomalous


def _say(verdict: Verdict, told: set[str]) -> set[str]:
    """Print a verdict; returns its notes, each of which is printed once."""
    say(str(verdict))
    for span in verdict.spans[1:]:
        say(f"  also {span}")
    if verdict.verdict != "normal":
        say(f"  most similar normal recording: {verdict.nearest}")
    for note in verdict.notes:
        if note not in told:
            say(f"  note: {note}")
    sys.stdout.flush()
    return set(verdict.notes)


def _refuse(
    stream: bool,
    watch: bool,
    paths: list[Path],
    of_stream: dict[str, object],
    of_watch: dict[str, object],
    report: Path | None,
) -> None:
    """Flags that belong to another way of checking."""
    if (stream or watch) and len(paths) > 1:
        what = "standard input" if stream else "--watch"
        raise RecipeError(f"{what} goes with nothing else; run the others by themselves")
    if stream and watch:
        raise typer.BadParameter("looks at a folder, not at standard input", param_hint="--watch")
    if (stream or watch) and report is not None:
        raise typer.BadParameter("goes with files and folders, which end", param_hint="--report")
    wrong = ({} if stream else of_stream) | ({} if watch else of_watch)
    for flag, value in wrong.items():
        if value is not None:
            where = "standard input (-)" if flag in of_stream else "--watch"
            raise typer.BadParameter(f"goes with {where} alone", param_hint=flag)
