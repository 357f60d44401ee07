from html.parser import HTMLParser

import pytest

from dcase_asd.reports import page
from dcase_asd.reports.figures.style import Picture
from dcase_asd.reports.page import Html, Line

EVIL = "<script>alert('x')</script>\"&"
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


def test_a_page_is_whole_and_needs_nothing_from_outside():
    body = page.section("a", "Results", [page.paragraph("text"), Html("")])
    text = page.page("Title", page.heading(1, "Title"), [("a", "Results")], body, "foot")
    reader = Reader(text)
    assert text.startswith("<!DOCTYPE html>\n")
    names = [tag for tag, _ in reader.tags]
    assert not {"script", "img", "iframe", "object"} & set(names)
    assert [attrs["href"] for tag, attrs in reader.tags if "href" in attrs] == [
        "data:,",
        "#main",
        "#a",
    ]
    assert "http:" not in text
    assert "https:" not in text
    metas = [attrs for tag, attrs in reader.tags if tag == "meta"]
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in metas
    assert any("default-src 'none'" in attrs.get("content", "") for attrs in metas)


@pytest.mark.parametrize(
    "part",
    [
        page.heading(3, EVIL),
        page.paragraph(EVIL),
        page.notes([EVIL]),
        page.facts([(EVIL, EVIL)]),
        page.tiles([(EVIL, EVIL)]),
        page.table([EVIL, EVIL], [Line((EVIL,), (EVIL,))], EVIL),
        page.section("x", EVIL, []),
        page.card(EVIL, EVIL, []),
        page.folded(EVIL, Html("")),
        page.verbatim(EVIL),
        page.figure(Picture("x", EVIL, "<svg></svg>", 300, b""), EVIL),
        page.figure(Picture("x", EVIL, "<svg></svg>", 900, b""), EVIL),
        page.page(EVIL, Html(""), [("x", EVIL)], Html(""), EVIL),
    ],
)
def test_text_never_becomes_markup(part):
    reader = Reader(part)
    assert "script" not in [tag for tag, _ in reader.tags]
    assert EVIL in reader.words or any(EVIL in attrs.values() for _, attrs in reader.tags)


def test_a_table_joins_the_lines_of_a_group_and_stresses_the_best():
    lines = [
        Line(("fan", "AUC_s"), ("1", "2"), frozenset({1})),
        Line(("", "AUC_t"), ("3", "4")),
        Line(("valve", "AUC_s"), ("5", "6"), kind="first"),
    ]
    text = page.table(["Machine", "Metric", "a", "b"], lines, "Percent")
    reader = Reader(text)
    assert '<th scope="row" rowspan="2">fan</th>' in text
    assert '<th scope="row">valve</th>' in text
    assert text.count('class="number best"') == 1
    assert '<td class="number best">2</td>' in text
    assert [attrs.get("class") for tag, attrs in reader.tags if tag == "th"][:4] == [
        None, None, "number", "number",
    ]  # fmt: skip
    scrolling = next(attrs for _, attrs in reader.tags if attrs.get("class") == "scroll")
    assert scrolling["tabindex"] == "0"


def test_a_last_cell_may_hold_words():
    text = page.table(["Machine", "Score", "Why"], [Line(("fan",), ("1",), words="so")], "x")
    assert '<th scope="col">Why</th>' in text
    assert '<td class="words">so</td>' in text


def test_pictures_have_their_words_and_wide_ones_scroll_by_themselves():
    narrow = page.figure(
        Picture("x", "A line.", "<svg viewBox='0 0 1 1'></svg>", 326, b""), "below"
    )
    assert 'role="img" aria-label="A line."' in narrow
    assert "max-width:375px" in narrow
    assert "<figcaption>below</figcaption>" in narrow
    assert "scroll" not in narrow
    wide = page.figure(Picture("x", "A line.", "<svg></svg>", 600, b""))
    assert 'class="scroll" tabindex="0"' in wide
    assert "width:600px" in wide


def test_nothing_to_say_is_no_empty_list():
    assert page.notes([]) == ""
    assert page.join([Html(""), Html("a"), Html("")]) == "a"
