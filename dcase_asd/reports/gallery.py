"""The pictures of a report: each stands on the page and is a file of its own."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from matplotlib.figure import Figure

from dcase_asd.reports import page
from dcase_asd.reports.figures.style import PictureFormat, finish
from dcase_asd.reports.page import Html

FOLDER = "pictures"


@dataclass
class Gallery:
    """Collects pictures; to be used within `reports.figures.style.drawing`.

    Attributes:
        form: Format of the files.
        files: Path below the report's folder -> content.
    """

    form: PictureFormat
    files: dict[str, bytes] = field(default_factory=dict)

    def show(self, figure: Figure, folder: str, name: str, alt: str, caption: str = "") -> Html:
        """Keep a figure as a file and return it as a part of the page.

        Args:
            figure: What to show.
            folder: Below `FOLDER`: the system's, or empty for what compares systems.
            name: File name without suffix; made safe for every file system, and unique.
            alt: What it shows, in words that replace it.
            caption: Below it on the page.
        """
        stem = "/".join(safe(part) for part in (FOLDER, folder, name) if part)
        path, number = f"{stem}.{self.form}", 2
        while path in self.files:
            path, number = f"{stem}-{number}.{self.form}", number + 1
        picture = finish(figure, path.removesuffix(f".{self.form}"), alt, self.form)
        self.files[path] = picture.file
        return page.figure(picture, caption)


def safe(name: str) -> str:
    """A name without letters that some file system forbids or an address must escape."""
    return re.sub(r"[^\w.-]+", "-", name).strip(".-") or "x"
