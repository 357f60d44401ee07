"""How every picture looks, and how a figure becomes a file or a part of a page.

Figures are as wide as a telephone's screen and never shrunk on one, so that their text stays at
twelve CSS pixels. On a page their colours are the page's, light or dark; as files they are light.
"""

from __future__ import annotations

import io
import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal
from unicodedata import east_asian_width

import matplotlib as mpl
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure

PictureFormat = Literal["png", "svg"]

INK, MUTED, GRID, PAPER = "#1b2733", "#566473", "#dfe5eb", "#fefefe"
NORMAL, ANOMALY = "#0072b2", "#d55e00"
SOURCE, TARGET = "#00805d", "#aa4499"
TRAIN, TEST = "#7b8794", "#8a5a00"
COLOURS = {
    "ink": INK, "muted": MUTED, "grid": GRID, "paper": PAPER, "normal": NORMAL,
    "anomaly": ANOMALY, "source": SOURCE, "target": TARGET, "train": TRAIN, "test": TEST,
}  # fmt: skip
"""CSS variable of the page -> colour on light paper. Hues after M. Okabe and K. Ito's palette for
colour-blind readers; no two things that are drawn together differ in hue alone."""

WIDTH = 3.4
"""Inches: 326 CSS pixels, within the 328 that a telephone 360 pixels wide has between margins."""
TEXT_SIZE = 9.0
"""Points, which are 12 CSS pixels."""
DOTS_PER_INCH = 200
SANS_FALLBACKS = (
    "Noto Sans CJK JP", "Noto Sans CJK SC", "Hiragino Sans", "PingFang SC", "Yu Gothic",
    "Microsoft YaHei", "Malgun Gothic", "WenQuanYi Micro Hei", "Noto Sans",
)  # fmt: skip
"""Fonts for machine names that matplotlib's own font cannot write, where they are installed."""

SETTINGS: Any = {
    "font.size": TEXT_SIZE,
    "axes.titlesize": TEXT_SIZE,
    "axes.titlelocation": "left",
    "axes.titlecolor": INK,
    "axes.titlepad": 4.0,
    "axes.labelsize": TEXT_SIZE,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.facecolor": "none",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "hatch.linewidth": 0.7,
    "figure.facecolor": PAPER,
    "legend.fontsize": TEXT_SIZE,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "lines.linewidth": 1.6,
    "lines.solid_capstyle": "butt",
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": MUTED,
    "xtick.labelcolor": INK,
    "xtick.labelsize": TEXT_SIZE,
    "ytick.color": MUTED,
    "ytick.labelcolor": INK,
    "ytick.labelsize": TEXT_SIZE,
    "svg.fonttype": "none",
    "svg.hashsalt": "dcase-asd",
    "savefig.facecolor": "auto",
}


@dataclass(frozen=True)
class Picture:
    """A picture as a file and as a part of a page.

    Attributes:
        name: File name without suffix.
        alt: What it shows, in words that replace it.
        svg: An ``<svg>`` element in the page's colours.
        width: Its own width in CSS pixels.
        file: The picture in the format that was asked for.
    """

    name: str
    alt: str
    svg: str
    width: int
    file: bytes


@contextmanager
def drawing() -> Iterator[None]:
    """Within this, figures are made and saved; nobody's own settings of matplotlib count.

    A letter that no installed font has is a box in a PNG, and no reason for a warning.
    """
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    with mpl.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        # A picture is saved, never shown: the user's choice of a window system stays as it is.
        defaults: Any = {
            name: value
            for name, value in mpl.rcParamsDefault.items()
            if not name.startswith("backend")
        }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", mpl.MatplotlibDeprecationWarning)
            mpl.rcParams.update(defaults)
        mpl.rcParams.update(SETTINGS)
        installed = set(font_manager.get_font_names())
        found = [name for name in SANS_FALLBACKS if name in installed]
        mpl.rcParams["font.family"] = ["DejaVu Sans", *found]
        yield


def new_figure(
    height: float, *, width: float = WIDTH, left: float = 0.5, top: float = 0.1, bottom: float = 0.5
) -> Figure:
    """An empty figure whose axes begin at these margins; all in inches."""
    figure = Figure(figsize=(width, height))
    figure.subplots_adjust(
        left=left / width, right=1 - 0.12 / width, top=1 - top / height, bottom=bottom / height
    )
    return figure


def finish(figure: Figure, name: str, alt: str, form: PictureFormat) -> Picture:
    """Save a figure; to be called within `drawing`. The same figure gives the same bytes."""
    plain = _saved(figure, "svg")
    file = plain if form == "svg" else _saved(figure, "png")
    width = round(96 * figure.get_figwidth())
    return Picture(name, alt, _for_page(plain.decode(), name), width, file)


def shortened(name: str, letters: int = 22) -> str:
    """A name that fits beside an axis: the middle of a long one is left out."""
    if _letters(name) <= letters:
        return name
    head, tail = name[: len(name) // 2], name[len(name) // 2 :]
    while _letters(head) + _letters(tail) > letters - 1:
        if _letters(head) >= _letters(tail):
            head = head[:-1]
        else:
            tail = tail[1:]
    return f"{head}…{tail}"


def room_for(names: list[str] | tuple[str, ...]) -> float:
    """Inches that labels at `TEXT_SIZE` take beside an axis; letters are 0.56 of the size wide."""
    return 0.2 + 0.56 * TEXT_SIZE / 72 * max(map(_letters, names), default=0)


def _letters(name: str) -> int:
    """How many letters wide a name is: those of East Asian scripts are two wide."""
    return sum(2 if east_asian_width(letter) in "WF" else 1 for letter in name)


def light_grid(axes: Axes, axis: Literal["both", "x", "y"] = "y") -> None:
    """Lines that help to read values off."""
    axes.grid(visible=True, axis=axis)
    axes.tick_params(length=3)


def _saved(figure: Figure, form: PictureFormat) -> bytes:
    buffer = io.BytesIO()
    nothing = {"Date": None, "Creator": None} if form == "svg" else {"Software": None}
    figure.savefig(buffer, format=form, dpi=DOTS_PER_INCH, metadata=nothing)
    return buffer.getvalue()


def _for_page(svg: str, name: str) -> str:
    """An SVG file -> an element whose colours and font are the page's and whose ids are its own."""
    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(r"\s*<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<!--.*?-->\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<style.*?</style>\s*", "", svg, flags=re.DOTALL)  # is a part of the page's
    for variable, colour in COLOURS.items():
        svg = svg.replace(colour, f"var(--{variable})")
    svg = re.sub(r"(font[^;\"]*?)'DejaVu Sans'[^;\"]*", r"\1var(--sans)", svg)
    prefix = re.sub(r"\W", "_", name)
    used = set(re.findall(r'(?:href="|url\()#([\w-]+)', svg))
    svg = re.sub(r' id="([^"]+)"', lambda m: m[0] if m[1] in used else "", svg)
    svg = re.sub(r'(id="|href="#|url\(#)([\w-]+)', rf"\g<1>{prefix}-\2", svg)
    box = re.search(r'viewBox="[^"]*"', svg)
    opening = f"<svg {box[0] if box else ''}"
    return re.sub(r"^<svg[^>]*", opening, svg, count=1).replace("xlink:href", "href")
