"""Parts of a page in HTML, and the page: one file that needs no other, no script and no network.

Every function takes plain text and returns markup; markup is handed on as `Html` only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources
from typing import NewType

from dcase_asd.reports.figures.style import Picture

Html = NewType("Html", str)

ALLOWED = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
"""Content security policy: nothing is loaded from anywhere and nothing is run."""


NARROW = 340
"""CSS pixels; pictures up to this width are shown whole on every telephone."""
LARGEST = 1.15
"""How far narrow pictures may grow where there is room."""


@dataclass(frozen=True)
class Line:
    """A line of a table.

    Attributes:
        heads: Leading cells, which name the line; an empty first one holds that above.
        cells: The others.
        best: Numbers of the cells to be stressed.
        kind: ``first`` of a group, ``total`` or empty.
        words: A last cell in words; empty where there is none.
    """

    heads: Sequence[str]
    cells: Sequence[str]
    best: frozenset[int] = frozenset()
    kind: str = ""
    words: str = ""


def page(title: str, lead: Html, contents: Sequence[tuple[str, str]], body: Html, foot: str) -> str:
    """A whole page.

    Args:
        title: Of the window; plain text.
        lead: What stands above the contents.
        contents: Anchor and name of each section.
        body: The sections.
        foot: The last line; plain text.
    """
    css = resources.files("dcase_asd.reports").joinpath("page.css").read_text(encoding="utf-8")
    links = "".join(f'<li><a href="#{anchor}">{escape(name)}</a></li>' for anchor, name in contents)
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f'<meta http-equiv="Content-Security-Policy" content="{ALLOWED}">',
            '<meta name="color-scheme" content="light dark">',
            '<link rel="icon" href="data:,">',
            f"<title>{escape(title)}</title>",
            f"<style>\n{css}</style>",
            "</head>",
            "<body>",
            '<a class="skip" href="#main">Skip to the results</a>',
            f'<header>\n{lead}\n<nav aria-label="Contents"><ul>{links}</ul></nav>\n</header>',
            f'<main id="main">\n{body}\n</main>',
            f"<footer><p>{escape(foot)}</p></footer>",
            "</body>",
            "</html>",
            "",
        ]
    )


def join(parts: Iterable[Html]) -> Html:
    """Parts one below the other."""
    return Html("\n".join(part for part in parts if part))


def section(anchor: str, title: str, parts: Iterable[Html]) -> Html:
    """A section with its heading; `anchor` is where the contents lead to."""
    return Html(
        f'<section id="{anchor}" aria-labelledby="{anchor}-title">\n'
        f'<h2 id="{anchor}-title">{escape(title)}</h2>\n{join(parts)}\n</section>'
    )


def heading(level: int, text: str) -> Html:
    """A heading of a level from 1 to 6."""
    return Html(f"<h{level}>{escape(text)}</h{level}>")


def paragraph(text: str, kind: str = "") -> Html:
    """A paragraph, perhaps of a kind that the style knows."""
    return Html(f"<p{_class(kind)}>{escape(text)}</p>")


def notes(sentences: Sequence[str]) -> Html:
    """A list of remarks; nothing where there are none."""
    if not sentences:
        return Html("")
    items = "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences)
    return Html(f'<ul class="notes">{items}</ul>')


def facts(pairs: Sequence[tuple[str, str]]) -> Html:
    """Names and values."""
    inside = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in pairs)
    return Html(f"<dl>{inside}</dl>")


def tiles(values: Sequence[tuple[str, str]]) -> Html:
    """The most important numbers, large, each with what it is."""
    inside = "".join(
        f'<div class="tile"><b>{escape(value)}</b><span>{escape(what)}</span></div>'
        for value, what in values
    )
    return Html(f'<div class="tiles">{inside}</div>')


def table(columns: Sequence[str], lines: Sequence[Line], caption: str) -> Html:
    """A table that scrolls by itself where it is wider than the screen.

    The columns of the lines' cells hold numbers and are set flush right.
    """
    first = len(lines[0].heads) if lines else 0
    numbers = range(first, first + (len(lines[0].cells) if lines else 0))
    kinds = ["number" if place in numbers else "" for place in range(len(columns))]
    top = "".join(
        f'<th scope="col"{_class(kind)}>{escape(column)}</th>'
        for kind, column in zip(kinds, columns, strict=True)
    )
    rows = "".join(_row(line, _span(lines[place:])) for place, line in enumerate(lines))
    inside = f"<table><thead><tr>{top}</tr></thead><tbody>{rows}</tbody></table>"
    return Html(f"<div>{paragraph(caption, 'note')}{_scrolling(inside, caption)}</div>")


def figure(picture: Picture, caption: str = "") -> Html:
    """A picture with its replacement in words; one wider than a telephone scrolls by itself."""
    wide = picture.width > NARROW
    style = f"width:{picture.width}px" if wide else f"max-width:{round(LARGEST * picture.width)}px"
    label = escape(picture.alt, quote=True)
    image = picture.svg.replace("<svg", f'<svg role="img" aria-label="{label}" style="{style}"', 1)
    if wide:
        image = _scrolling(image, picture.alt)
    below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return Html(f"<figure>{image}{below}</figure>")


def pictures(figures: Iterable[Html]) -> Html:
    """Figures side by side as far as there is room."""
    return Html(f'<div class="pictures">{join(figures)}</div>')


def beside(parts: Iterable[Html]) -> Html:
    """A table and a picture of it, side by side where there is room."""
    return Html(f'<div class="split">{join(parts)}</div>')


def columns(parts: Iterable[Html]) -> Html:
    """Two parts of a section side by side on a wide screen."""
    inside = join(Html(f"<div>{part}</div>") for part in parts if part)
    return Html(f'<div class="stages">{inside}</div>' if inside else "")


def cards(parts: Iterable[Html]) -> Html:
    """Cards side by side as far as there is room."""
    return Html(f'<div class="cards">{join(parts)}</div>')


def card(title: str, text: str, figures: Iterable[Html]) -> Html:
    """Figures that belong together, under a heading of the fourth level."""
    said = paragraph(text) if text else Html("")
    return Html(f'<div class="card">{heading(4, title)}{said}{join(figures)}</div>')


def folded(summary: str, inside: Html) -> Html:
    """Something that is opened by those who want to see it."""
    return Html(f"<details><summary>{escape(summary)}</summary>{inside}</details>")


def verbatim(text: str) -> Html:
    """Text as it stands in a file."""
    return Html(f"<pre>{escape(text)}</pre>")


def _span(lines: Sequence[Line]) -> int:
    """How many lines the first head of the first of them holds for."""
    others = enumerate(lines[1:], start=1)
    return next((place for place, line in others if line.heads[0]), len(lines))


def _row(line: Line, span: int) -> str:
    rows = f' rowspan="{span}"' if span > 1 else ""
    named = f'<th scope="row"{rows}>{escape(line.heads[0])}</th>' if line.heads[0] else ""
    others = "".join(f'<th scope="row">{escape(head)}</th>' for head in line.heads[1:])
    heads = named + others
    cells = "".join(
        f"<td{_class('number best' if place in line.best else 'number')}>{escape(cell)}</td>"
        for place, cell in enumerate(line.cells)
    )
    words = f'<td class="words">{escape(line.words)}</td>' if line.words else ""
    return f"<tr{_class(line.kind)}>{heads}{cells}{words}</tr>"


def _scrolling(inside: str, label: str) -> Html:
    # Focusable, so that it can be scrolled with the keys.
    name = escape(label, quote=True)
    return Html(
        f'<div class="scroll" tabindex="0" role="region" aria-label="{name}">{inside}</div>'
    )


def _class(kind: str) -> str:
    return f' class="{kind}"' if kind else ""
