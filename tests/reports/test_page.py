"""The page of a report: all its parts in markup, and text that never becomes any."""

from __future__ import annotations

from html.parser import HTMLParser
from importlib import resources

import pytest
from jinja2 import UndefinedError

from dcase_asd.reports.figures.style import Picture
from dcase_asd.reports.page import render_page
from dcase_asd.reports.results import Line, Table

VOID = {"meta", "link"}


class Reader(HTMLParser):
    """Checks that what is opened is closed, and keeps what is asked for."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.words = [], [], []
        self.feed(text)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def values(text=lambda: "text", count=1, **changes):
    """Values of a page of some systems with all its parts, each text of them made by a call."""

    def picture(width=326):
        return Picture(text(), '<svg viewBox="0 0 1 1"></svg>', width, b"", text())

    def table():
        line = Line((text(),), (text(),), words=text())
        return Table([text(), text(), text()], [line], text())

    def agreement():
        return {"picture": picture(), "table": table()}

    result = {"title": text(), "notes": [], "table": table(), "picture": picture(900)}
    without = {"title": text(), "notes": [text()], "table": None, "picture": None}
    several = {"standings": None if count == 1 else picture()}
    clips = {"title": text(), "caption": text(), "cards": [card(text)], "table": table()}
    fusion = {
        "facts": [(text(), text())], "notes": [text()], "pictures": [picture()],
        "systems": table(), "left_out": table(), "robustness": picture(),
        "agreement": agreement(), "lacking": [text()],
    }  # fmt: skip
    cards = [{"title": text(), "text": text(), "pictures": [picture()]}]
    stage = {"title": text(), "notes": [text()], "cards": cards, "shift": picture()}
    system = {
        "scores": [(text(), text())], "facts": [(text(), text())], "fusion": fusion,
        "training": [picture()], "stages": [stage], "recipe": text(), "command": text(),
    }  # fmt: skip
    return {
        "version": text(), "edition": text(), "official": True, "subset": False, "lede": text(),
        "score_title": text(),
        "ranking": None if count == 1 else table(),
        "results": [result | several, without | {"standings": None}],
        "clips": [clips], "many": False,
        "comparison": {"agreement": agreement(), "robustness": picture()},
        "systems": [{"name": text(), **system} for _ in range(count)],
    } | changes  # fmt: skip


def card(text):
    return {
        "file": text(), "verdict": text(), "kind": "anomalous", "facts": [(text(), text())],
        "sentence": text(), "notes": [text()], "players": [(text(), text()), (text(), text())],
        "picture": Picture(text(), '<svg viewBox="0 0 1 1"></svg>', 326, b""),
    }  # fmt: skip


def results(table, picture=None):
    picture = picture or Picture("A line.", "<svg></svg>", 326, b"")
    return [{"title": "Set", "notes": [], "table": table, "picture": picture, "standings": None}]


def test_a_page_is_whole_and_needs_nothing_from_outside():
    text = render_page(values())
    reader = Reader(text)
    assert text.startswith("<!DOCTYPE html>\n")
    assert text.endswith("</html>\n")
    names = [tag for tag, _ in reader.tags]
    assert not {"script", "img", "iframe", "object"} & set(names)
    assert [attrs["href"] for tag, attrs in reader.tags if "href" in attrs] == [
        "data:,",
        "#main",
        "#clips",
        "#results",
        "#comparison",
        "#system-1",
        "#reading",
    ]
    assert "http:" not in text
    assert "https:" not in text
    metas = [attrs for tag, attrs in reader.tags if tag == "meta"]
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in metas
    assert any("default-src 'none'" in attrs.get("content", "") for attrs in metas)


@pytest.mark.parametrize("systems", [1, 2])
def test_text_never_becomes_markup(systems):
    evil = [f"<script>alert('{number}')</script>\"&" for number in range(200)]
    left = iter(evil)
    page = render_page(values(lambda: next(left), systems))
    reader = Reader(page)
    used = evil[: evil.index(next(left))]
    assert len(used) > 70
    assert "script" not in [tag for tag, _ in reader.tags]
    shown = " ".join([*reader.words, *(v for _, attrs in reader.tags for v in attrs.values() if v)])
    assert [text for text in used if text not in shown] == []


def test_a_value_that_is_missing_is_an_error():
    incomplete = values()
    del incomplete["systems"][0]["recipe"]
    with pytest.raises(UndefinedError, match="recipe"):
        render_page(incomplete)


def test_a_table_joins_the_lines_of_a_group_and_stresses_the_best():
    lines = [
        Line(("fan", "AUC_s"), ("1", "2"), frozenset({1}), span=2),
        Line(("AUC_t",), ("3", "4")),
        Line(("valve", "AUC_s"), ("5", "6"), kind="first"),
    ]
    table = Table(["Machine", "Metric", "a", "b"], lines, "Percent")
    text = render_page(values(results=results(table), systems=[], clips=[]))
    reader = Reader(text)
    assert '<th scope="row" rowspan="2">fan</th>' in text
    assert '<th scope="row">valve</th>' in text
    assert text.count('class="number best"') == 1
    assert '<td class="number best">2</td>' in text
    assert '<tr class="first">' in text
    assert [attrs.get("class") for tag, attrs in reader.tags if tag == "th"][:4] == [
        None, None, "number", "number",
    ]  # fmt: skip
    scrolling = next(attrs for _, attrs in reader.tags if attrs.get("class") == "scroll")
    assert scrolling["tabindex"] == "0"


def test_a_last_cell_may_hold_words():
    lines = [Line(("fan",), ("1",), words="so"), Line(("all",), ("2",), words="")]
    table = Table(["Machine", "Score", "Why"], lines, "x")
    text = render_page(values(results=results(table)))
    assert '<th scope="col">Why</th>' in text
    assert '<td class="words">so</td>' in text
    assert '<td class="words"></td>' in text


def test_pictures_have_their_words_and_wide_ones_scroll_by_themselves():
    table = Table(["x"], [Line((), ("1",))], "x")
    pictures = [
        Picture("A line.", "<svg viewBox='0 0 1 1'></svg>", 326, b"", "below"),
        Picture("A line.", "<svg></svg>", 600, b""),
    ]
    narrow, wide = (
        text[text.index("<figure>", text.index('class="split"')) : text.index("</figure>")]
        for text in (
            render_page(values(results=results(table, each), clips=[])) for each in pictures
        )
    )
    assert 'role="img" aria-label="A line."' in narrow
    assert "max-width:375px" in narrow
    assert "<figcaption>below</figcaption>" in narrow
    assert "scroll" not in narrow
    assert 'class="scroll" tabindex="0"' in wide
    assert '"width:600px"' in wide
    assert "figcaption" not in wide


def test_nothing_to_say_is_no_empty_list():
    system = values()["systems"][0] | {"fusion": None, "training": [], "stages": [], "recipe": ""}
    system |= {"command": ""}
    bare = values(
        comparison={"agreement": None, "robustness": None}, systems=[system | {"scores": []}],
        results=[{"title": "Set", "notes": [], "table": None, "picture": None,
                  "standings": None}], clips=[],
    )  # fmt: skip
    text = render_page(bare)
    kinds = {attrs.get("class") for _, attrs in Reader(text).tags}
    assert kinds.isdisjoint({"notes", "tiles", "pictures", "scroll", "split", "cards"})
    assert "the labels of these clips are not known" in text
    assert "<details>" not in text


def test_template_and_style_are_in_the_package():
    files = {path.name for path in resources.files("dcase_asd.reports").iterdir()}
    assert {f"{name}.html.jinja" for name in ("page", "parts", "report", "check")} < files
    assert "page.css" in files
