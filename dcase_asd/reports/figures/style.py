"""How every picture looks, and how a figure becomes a file or a part of a page.

Figures are as wide as a telephone's screen and never shrunk on one, so that their text stays at
twelve CSS pixels. On a page their colors are the page's, light or dark; as files they are light.
"""

from __future__ import annotations

import io
import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from hashlib import blake2b
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
COLORS = {
    "ink": INK, "muted": MUTED, "grid": GRID, "paper": PAPER, "normal": NORMAL,
    "anomaly": ANOMALY, "source": SOURCE, "target": TARGET, "train": TRAIN, "test": TEST,
}  # fmt: skip
"""CSS variable of the page -> color on light paper. Hues after M. Okabe and K. Ito's palette for
color-blind readers; no two things that are drawn together differ in hue alone."""

PICTURES = "pictures"
"""Folder of the pictures below that of a report."""

WIDTH = 3.4
"""Inches: 326 CSS pixels, within the 328 that a telephone 360 pixels wide has between margins."""
TEXT_SIZE = 9.0
"""Points, which are 12 CSS pixels."""
DOTS_PER_INCH = 200
NARROW = 340
"""CSS pixels; pictures up to this width are shown whole on every telephone."""
LARGEST = 1.15
"""How far narrow pictures may grow where there is room."""
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
        alt: What it shows, in words that replace it.
        svg: An ``<svg>`` element in the page's colors.
        width: Its own width in CSS pixels.
        file: The picture in the format that was asked for.
        caption: What stands below it; empty where nothing does.
    """

    alt: str
    svg: str
    width: int
    file: bytes
    caption: str = ""

    @property
    def wide(self) -> bool:
        """Whether it is wider than a telephone, so that it has to scroll by itself."""
        return self.width > NARROW

    @property
    def shown_width(self) -> int:
        """CSS pixels: its own width where it scrolls, and otherwise the most it may grow to."""
        return self.width if self.wide else round(LARGEST * self.width)


@dataclass
class Gallery:
    """Collects the pictures of a report, each for its page and as a file; used within `drawing`.

    Attributes:
        picture_format: Format of the files.
        folder: Folder below `PICTURES`: a system's, or empty for what compares systems.
        files: Path below the report's folder -> content.
    """

    picture_format: PictureFormat
    folder: str = ""
    files: dict[str, bytes] = field(default_factory=dict)

    def below(self, folder: str) -> Gallery:
        """The same, with its next pictures in a folder."""
        return replace(self, folder=folder)

    def show(self, figure: Figure, name: str, alt: str, caption: str = "") -> Picture:
        """Keep a figure as a file and return it for the page.

        Args:
            figure: What to show.
            name: File name without suffix; made safe for every file system, and unique.
            alt: What it shows, in words that replace it.
            caption: Below it on the page.
        """
        stem = "/".join([PICTURES, *(_safe(part) for part in (self.folder, name) if part)])
        path, number = stem, 2
        while f"{path}.{self.picture_format}" in self.files:
            path, number = f"{stem}-{number}", number + 1
        picture = finish(figure, path, alt, self.picture_format, caption)
        self.files[f"{path}.{self.picture_format}"] = picture.file
        return picture


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


def finish(
    figure: Figure, name: str, alt: str, picture_format: PictureFormat, caption: str = ""
) -> Picture:
    """Save a figure; to be called within `drawing`. The same figure gives the same bytes.

    The ids in it begin with a hash of `name`, so that pictures on one page never share any.
    """
    plain = _saved(figure, "svg")
    file = plain if picture_format == "svg" else _saved(figure, "png")
    width = round(96 * figure.get_figwidth())
    return Picture(alt, _for_page(plain.decode(), name), width, file, caption)


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


def _safe(name: str) -> str:
    """A name without letters that some file system forbids or an address must escape."""
    return re.sub(r"[^\w.-]+", "-", name).strip(".-") or "x"


def _letters(name: str) -> int:
    """How many letters wide a name is: those of East Asian scripts are two wide."""
    return sum(2 if east_asian_width(letter) in "WF" else 1 for letter in name)


def light_grid(axes: Axes, axis: Literal["both", "x", "y"] = "y") -> None:
    """Lines that help to read values off."""
    axes.grid(visible=True, axis=axis)
    axes.tick_params(length=3)


def _saved(figure: Figure, picture_format: PictureFormat) -> bytes:
    buffer = io.BytesIO()
    nothing = {"Date": None, "Creator": None} if picture_format == "svg" else {"Software": None}
    figure.savefig(buffer, format=picture_format, dpi=DOTS_PER_INCH, metadata=nothing)
    return buffer.getvalue()


def _for_page(svg: str, name: str) -> str:
    """An SVG file -> an element whose colors and font are the page's and whose ids are its own."""
    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(r"\s*<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<!--.*?-->\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<style.*?</style>\s*", "", svg, flags=re.DOTALL)  # is a part of the page's
    for variable, color in COLORS.items():
        svg = svg.replace(color, f"var(--{variable})")
    svg = re.sub(r"(font[^;\"]*?)'DejaVu Sans'[^;\"]*", r"\1var(--sans)", svg)
    prefix = f"p{blake2b(name.encode(), digest_size=6).hexdigest()}"
    used = set(re.findall(r'(?:href="|url\()#([\w-]+)', svg))
    svg = re.sub(r' id="([^"]+)"', lambda m: m[0] if m[1] in used else "", svg)
    svg = re.sub(r'(id="|href="#|url\(#)([\w-]+)', rf"\g<1>{prefix}-\2", svg)
    # A hundredth of a point is less than any screen shows; a matrix has factors, too.
    points = r' (?:d="|x="|y="|transform="rotate)[^"]*'
    svg = re.sub(points, lambda m: re.sub(r"(\.\d\d)\d+", r"\1", m[0]), svg)
    svg = re.sub(r"\s*\n\s*", " ", svg).replace("<defs> </defs> ", "")
    box = re.search(r'viewBox="[^"]*"', svg)
    opening = f"<svg {box[0] if box else ''}"
    return re.sub(r"^<svg[^>]*", opening, svg, count=1).replace("xlink:href", "href")
