"""The page of clips that were checked: verdicts first, then the distribution; names are text."""

from __future__ import annotations

import re
from html import escape
from html.parser import HTMLParser
from importlib import resources

import numpy as np
import pytest

from dcase_asd.errors import ArtifactError, DataError
from dcase_asd.reports.check import write_check_page
from dcase_asd.reports.clips import ClipRow, Sound
from dcase_asd.reports.figures.spectrogram import Map

EVIL = "<script>alert('x')</script>&\".wav"
TRAIN = np.random.default_rng(0).gamma(4, 0.1, 50)


def a_row(file="a.wav", verdict="normal", score=0.4, **options):
    return ClipRow(file, verdict, score, 0.5, 0.8, **options)


def check_page(path, rows, **options):
    written = write_check_page(path, rows, TRAIN, title="fan.asd", **options)
    assert written == path
    return path.read_text(encoding="utf-8")


def test_clips_come_first_sorted_and_then_their_distribution(tmp_path):
    rows = [a_row("a.wav"), a_row("b.wav", "anomalous", 1.5), a_row("c.wav", "suspicious", 0.79)]
    text = check_page(
        tmp_path / "check.html", rows, facts=[("Normal clips", "50")], notes=["Few normal clips."]
    )
    assert "3 clips: 1 anomalous, 1 suspicious, 1 normal." in text
    assert re.findall(r"<h4>(.*?)</h4>", text) == ["b.wav", "c.wav", "a.wav"]
    assert re.findall(r'<th scope="row">(.*?)</th>', text) == ["b.wav", "c.wav", "a.wav"]
    assert "<dt>Normal clips</dt><dd>50</dd>" in text
    assert "<li>Few normal clips.</li>" in text
    assert text.count('"verdict anomalous"') == 1
    assert text.index('id="clips"') < text.index('id="scores"')
    normal = f"50 normal clips, each scored by the others, median {np.median(TRAIN):.4g}"
    assert f"3 clips, median 0.79; {normal}; threshold 0.8." in text


def test_only_the_most_anomalous_have_players_and_the_page_says_so(tmp_path, write_clip):
    sounds = [Sound(write_clip(tmp_path / f"{i}.wav", i, 0.2)) for i in range(4)]
    rows = [a_row(f"{i}.wav", score=0.1 * i, sound=sound) for i, sound in enumerate(sounds)]
    text = check_page(tmp_path / "a.html", rows, most=2)
    assert "The 2 most anomalous of 4 clips, by score." in text
    assert text.count("<audio ") == 2
    assert re.findall(r"<h4>(.*?)</h4>", text) == ["3.wav", "2.wav"]
    assert len(re.findall(r'<th scope="row">', text)) == 4
    assert check_page(tmp_path / "b.html", rows, most=0).count("<audio ") == 4


def test_every_name_and_sentence_is_text_and_nothing_needs_a_network(tmp_path):
    samples = np.zeros(800, dtype=np.float32)
    edges = np.array([0.0, 0.05])
    row = a_row(
        EVIL, EVIL, sentence=EVIL, notes=(EVIL,), condition=EVIL, sound=Sound(samples, 16000),
        nearest=EVIL, nearest_sound=Sound(samples, 16000),
        difference=Map(edges, np.array([0.0, 8000.0]), np.zeros((1, 1))),
    )  # fmt: skip
    text = check_page(tmp_path / "x.html", [row], facts=[(EVIL, EVIL)], notes=[EVIL])
    tags, shown = [], []

    class Reader(HTMLParser):
        def handle_starttag(self, tag, attrs):
            tags.append(tag)
            shown.extend(value for _, value in attrs if value)

        def handle_data(self, data):
            shown.append(data)

    Reader().feed(text)
    assert "script" not in tags
    assert tags.count("audio") == 2
    assert sum(EVIL in each for each in shown) >= 12
    assert EVIL not in text
    assert escape(EVIL, quote=True).split("alert")[0] in text
    assert not re.search(r'(?:src|href)="(?!data:|#)', text)
    assert "https:" not in text
    assert "http:" not in text


def test_the_same_verdicts_give_the_same_bytes_and_a_page_of_ours_is_replaced(tmp_path):
    path = tmp_path / "x.html"
    first = check_page(path, [a_row("a.wav", sound=Sound(np.ones(800, "f4") / 2, 16000))])
    assert check_page(path, [a_row("b.wav")]) != first
    again = check_page(path, [a_row("a.wav", sound=Sound(np.ones(800, "f4") / 2, 16000))])
    assert again == first


def test_a_file_of_somebody_else_is_not_replaced(tmp_path):
    path = tmp_path / "thesis.html"
    path.write_text("mine")
    with pytest.raises(ArtifactError, match=r"thesis\.html: was not made by dcase-asd; move it"):
        check_page(path, [a_row()])
    assert path.read_text() == "mine"
    with pytest.raises(ArtifactError, match="is a folder; give a file"):
        check_page(tmp_path, [a_row()])


def test_without_a_clip_there_is_no_page_and_without_normal_ones_no_median(tmp_path):
    with pytest.raises(DataError, match=r"x\.html: there is no clip to show; check at least one"):
        check_page(tmp_path / "x.html", [])
    assert not (tmp_path / "x.html").exists()
    path = write_check_page(tmp_path / "x.html", [a_row()], np.array([]), title="x")
    assert "; 0 normal clips, each scored by the others; threshold 0.8." in path.read_text()


def test_no_part_of_a_page_has_a_width_of_its_own():
    css = resources.files("dcase_asd.reports").joinpath("page.css").read_text()
    assert not re.search(r"(?<![-\w])width:\s*[\d.]+(?:px|r?em|ch)", css)
    # Columns are as many as there is room for, and never wider than the screen.
    assert len(re.findall(r"minmax\(min\(100%, [\d.]+rem\), 1fr\)", css)) == css.count("minmax(")


def test_clips_of_different_thresholds_are_shown_without_a_line(tmp_path):
    rows = [a_row("a.wav"), ClipRow("b.wav", "normal", 0.2, 0.5, 0.9)]
    assert "threshold" not in check_page(tmp_path / "x.html", rows).split('id="scores"')[1][:900]
