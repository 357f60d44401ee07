"""Verdicts of new clips -> one page: the clips, then where their scores lie."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import dcase_asd
from dcase_asd.errors import ArtifactError, DataError
from dcase_asd.files import replacing
from dcase_asd.metrics.ranking import Floats
from dcase_asd.progress import Progress, Silent
from dcase_asd.reports.clips import ClipRow, clip_cards, in_order
from dcase_asd.reports.figures.heat_map import NONE
from dcase_asd.reports.figures.histograms import Panel, score_histogram
from dcase_asd.reports.figures.style import Gallery, drawing
from dcase_asd.reports.page import render_page
from dcase_asd.reports.results import Line, Table

MADE_HERE = b'<meta name="generator" content="dcase-asd">'
"""Stands near the beginning of every page."""


def write_check_page(
    path: str | Path,
    rows: Sequence[ClipRow],
    train: Floats,
    *,
    title: str,
    facts: Sequence[tuple[str, str]] = (),
    notes: Sequence[str] = (),
    most: int = 50,
    progress: Progress | None = None,
) -> Path:
    """Write what is decided of new clips as a page that needs nothing else.

    Args:
        path: The file; a page that was made here is replaced.
        rows: The clips, each with a score, in any order.
        train: Leave-one-out scores of the normal clips, (n,).
        title: What was checked.
        facts: Names and values of what the verdicts rest on.
        notes: What the reader should know of all clips, in sentences.
        most: How many clips, the most anomalous, have players and pictures; 0 for all.
        progress: Where to tell how far it is.

    Returns:
        The file. The same inputs give the same bytes.

    Raises:
        DataError: There is no clip.
        ArtifactError: A file that was not made here is in the way, or it cannot be written.
    """
    path, progress = Path(path), progress or Silent()
    if not rows:
        raise DataError(f"{path}: there is no clip to show; check at least one recording")
    check_way(path)
    rows = in_order(rows)
    shown = rows[: most or None]
    gallery = Gallery("svg")
    with progress.bar("Drawing", len(shown), "clips") as advance, drawing():
        cards = clip_cards(shown, gallery, advance)
        picture = gallery.show(*_distribution(rows, train))
    counts = Counter(row.verdict for row in rows)
    page = render_page(
        {
            "version": dcase_asd.__version__,
            "title": title,
            "lede": f"{len(rows)} clips: {', '.join(f'{n} {word}' for word, n in counts.items())}.",
            "facts": facts,
            "notes": notes,
            "cards": cards,
            "caption": f"The {len(shown)} most anomalous of {len(rows)} clips, by score."
            if len(shown) < len(rows)
            else "By score.",
            "table": _table(rows),
            "picture": picture,
        },
        "check.html.jinja",
    )
    with replacing(path) as temporary:
        temporary.write_bytes(page.encode())
    return path


def check_way(path: Path) -> None:
    """Refuse to replace what was not made here.

    Raises:
        ArtifactError: A folder, or another file, is in the way.
    """
    if path.is_dir():
        raise ArtifactError(f"{path}: is a folder; give a file to write the page to")
    if path.is_file():
        with path.open("rb") as file:
            if MADE_HERE not in file.read(1024):
                raise ArtifactError(
                    f"{path}: was not made by dcase-asd; move it away, or give another file"
                )


def _distribution(rows: Sequence[ClipRow], train: Floats) -> tuple[Figure, str, str, str]:
    """A histogram of the clips beside the normal ones; its name, words and caption."""
    scores = np.array([row.score for row in rows], dtype=np.float64)
    limits = {row.threshold for row in rows}
    limit = next(iter(limits)) if len(limits) == 1 else None
    figure = score_histogram([Panel(f"{len(rows)} clips", {"": scores})], train, limit)
    alt = (
        f"Histogram of anomaly scores: {len(rows)} clips, median {np.median(scores):.4g}; "
        f"{len(train)} normal clips, each scored by the others"
        f"{f', median {np.median(train):.4g}' if len(train) else ''}"
        f"{'' if limit is None else f'; threshold {limit:.4g}'}."
    )
    caption = "Train: normal clips that the detector rests on, each scored by the others."
    return figure, "scores", alt, caption


def _table(rows: Sequence[ClipRow]) -> Table:
    """All clips with their numbers."""
    lines = [
        Line(
            (row.file,),
            [NONE if value is None else f"{value:.4g}" for value in (row.score, row.p_value)],
            words=row.verdict,
        )
        for row in rows
    ]
    return Table(["Clip", "Score", "p", "Verdict"], lines, "Clips, the most anomalous first")
