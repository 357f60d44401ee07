"""Clips of a page: their order, p values, players and pictures."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
import soundfile

from dcase_asd.reports.clips import (
    LONGEST,
    ClipRow,
    Sound,
    clip_cards,
    in_order,
    p_values,
    player,
)
from dcase_asd.reports.figures.spectrogram import (
    BANDS,
    COLUMNS,
    DEPTH,
    Map,
    clip_figure,
    spectrogram,
)
from dcase_asd.reports.figures.style import Gallery, drawing


def tone(hertz, rate=16000, seconds=1.0, level=0.5):
    return (level * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)).astype("f4")


def heard(address):
    kind, content = re.fullmatch(r"data:audio/(\w+);base64,([\w+/=]+)", address).groups()
    return kind, *soundfile.read(io.BytesIO(base64.b64decode(content)))


def test_p_values_are_shares_of_normal_clips_that_score_at_least_as_much():
    train = np.array([0.3, 0.1, 0.2, 0.2])
    found = p_values(np.array([0.05, 0.2, 0.25, 0.3, 0.31]), train)
    np.testing.assert_allclose(found, [1.0, 4 / 5, 2 / 5, 2 / 5, 1 / 5])


def test_p_values_of_normal_clips_are_rarely_small():
    random = np.random.default_rng(0)
    draws = random.gamma(2, size=(2000, 100))
    found = np.array([p_values(row[:1], row[1:])[0] for row in draws])
    for level in (0.01, 0.05, 0.2):  # 100 places of equal chance
        assert (found <= level).mean() == pytest.approx(level, abs=0.02)


def test_the_most_anomalous_come_first_and_equal_ones_by_name():
    rows = [ClipRow("b", "normal", 0.2), ClipRow("c", "x", 0.9), ClipRow("a", "normal", 0.2)]
    assert [row.file for row in in_order(rows)] == ["c", "a", "b"]
    without = [ClipRow(name, "x", None, p) for name, p in (("a", 0.5), ("b", None), ("c", 0.1))]
    assert [row.file for row in in_order(without)] == ["c", "a", "b"]


@pytest.mark.parametrize(
    ("rate", "expected"), [(4000, 8000), (16000, 16000), (20000, 22050), (96000, 48000)]
)
def test_a_player_plays_the_clip_at_its_level(rate, expected):
    kind, samples, found = heard(player(tone(1000, rate), rate))
    assert (kind, found) == ("mpeg", expected)
    middle = samples[len(samples) // 4 : len(samples) // 2]
    assert len(samples) / found == pytest.approx(1, abs=0.08)
    assert np.sqrt((middle**2).mean()) == pytest.approx(0.5 / np.sqrt(2), rel=0.05)
    spectrum = np.abs(np.fft.rfft(middle))
    assert spectrum.argmax() * found / len(middle) == pytest.approx(1000, rel=0.01)


def test_the_same_samples_give_the_same_bytes_and_too_loud_ones_are_not_clipped():
    assert player(tone(440), 16000) == player(tone(440), 16000)
    _, samples, _ = heard(player(tone(440, level=4.0), 16000))
    assert np.abs(samples).max() == pytest.approx(1, abs=0.03)


def test_without_mp3_a_player_holds_every_sample(monkeypatch):
    monkeypatch.setattr(soundfile, "available_formats", dict)
    kind, samples, rate = heard(player(tone(440), 16000))
    assert (kind, rate) == ("flac", 16000)
    np.testing.assert_allclose(samples, tone(440), atol=1e-4)


def test_a_spectrogram_tells_time_frequency_and_level():
    rate = 16000
    silence = np.zeros(rate)
    found = spectrogram(np.concatenate([silence, tone(3060, rate, 2.0, 1.0), silence]), rate)
    assert found.values.shape[0] <= COLUMNS
    assert found.values.shape[1] <= BANDS
    assert (found.times[0], found.frequencies[0], found.frequencies[-1]) == (0, 0, rate / 2)
    assert found.times[-1] == pytest.approx(4)
    column, band = np.unravel_index(found.values.argmax(), found.values.shape)
    assert 1 < found.times[column] < 3
    assert found.frequencies[band] <= 3060 < found.frequencies[band + 1]
    assert found.values.max() == pytest.approx(0, abs=0.1)  # a full-scale sine
    loud = np.flatnonzero(found.values.max(axis=1) > -20)
    assert found.times[loud[0]] == pytest.approx(1, abs=0.07)
    assert found.times[loud[-1] + 1] == pytest.approx(3, abs=0.07)
    quiet = spectrogram(tone(3060, rate, 1.0, 0.1), rate)
    assert quiet.values.max() == pytest.approx(-20, abs=0.1)
    assert spectrogram(np.zeros(7), rate).values.max() == pytest.approx(-120)
    low = spectrogram(tone(100, rate, 1.0, 1.0), rate, 7000.0)
    assert low.frequencies[-1] == pytest.approx(7000 if rate > 14000 else rate / 2, abs=20)
    band = low.values.max(axis=0).argmax()
    assert low.frequencies[band] <= 100 < low.frequencies[band + 1] < 200
    assert low.values.max() == pytest.approx(0, abs=2)


def test_maps_of_a_clip_share_their_axes_and_a_band_stands_at_its_frequency():
    low = Map(np.array([0.0, 1.0]), np.array([0.0, 2000.0, 8000.0]), np.array([[-90.0, -10.0]]))
    high = Map(np.array([0.0, 2.0]), np.array([0.0, 4000.0]), np.array([[0.0]]))
    with drawing():
        figure = clip_figure([("this clip", low), ("other", high)], 0.0, None, 1.0)
    assert [axes.get_title("left") for axes in figure.axes] == ["this clip", "other"]
    for axes in figure.axes:
        assert (axes.get_xlim(), axes.get_ylim()) == ((0, 2), (0, 8000))
    labels = [each.get_text() for each in figure.axes[0].get_yticklabels()]
    assert labels == ["0", "2", "4", "6", "8"]
    drawn = figure.axes[0].images[0]
    assert list(drawn.get_extent()) == [0, 1, 0, 8000]
    rows = np.asarray(drawn.get_array())[:, 0]
    below = rows[: len(rows) // 4]
    assert (below == 0).all()  # darker than the darkest color
    np.testing.assert_allclose(rows[len(rows) // 4 :], 1 - 10 / DEPTH, atol=0.03)


def test_a_difference_stands_on_a_mel_scale_up_to_where_it_is_known():
    clip = Map(np.array([0.0, 1.0]), np.array([0.0, 24000.0]), np.array([[-10.0]]))
    known = Map(np.array([0.0, 1.0]), np.array([20.0, 100.0, 7000.0]), np.array([[9.0, 0.0]]))
    with drawing():
        figure = clip_figure([("this clip", clip)], 0.0, known, 9.0)
    assert [axes.get_title("left") for axes in figure.axes] == ["this clip", "difference"]
    mel = [2595 * np.log10(1 + hertz / 700) for hertz in (20, 100, 7000)]  # HTK's
    for axes in figure.axes:
        assert axes.get_ylim() == pytest.approx((0, mel[-1]), rel=1e-3)
        labels = [each.get_text() for each in axes.get_yticklabels()]
        assert labels == ["0", "0.5", "2", "7"]
    drawn = figure.axes[1].images[0]
    assert list(drawn.get_extent())[2:] == pytest.approx([mel[0], mel[-1]], rel=1e-3)
    rows = np.asarray(drawn.get_array())[:, 0]
    share = (mel[1] - mel[0]) / (mel[2] - mel[0])
    assert (rows == 1).sum() / len(rows) == pytest.approx(share, abs=0.01)
    assert (rows[: int(share * len(rows))] == 1).all()


def test_one_clip_that_differs_much_leaves_the_others_differences_visible(monkeypatch):
    drawn = []
    monkeypatch.setattr("dcase_asd.reports.clips.clip_figure", lambda *given: drawn.append(given[3])
                        or clip_figure(*given))  # fmt: skip
    clips = [
        ClipRow(name, "x", 1.0, sound=Sound(tone(1000), 16000),
                difference=Map(np.array([0.0, 1.0]), np.array([0.0, 8000.0]), np.array([[most]])))
        for name, most in (("a", 2.0), ("b", 3.0), ("c", 500.0))
    ]  # fmt: skip
    cards(*clips)
    assert drawn == [3.0] * 3


def cards(*rows):
    gallery = Gallery("svg")
    with drawing():
        return clip_cards(rows, gallery), gallery


def test_a_card_has_players_pictures_and_numbers(write_clip, tmp_path):
    path = write_clip(tmp_path / "a.wav", seconds=1)
    rows = [
        ClipRow(
            "a.wav", "anomalous", 0.5, 0.0123, 0.4, "anomaly", "It knocks.", ("Short.",),
            Sound(path), "n.wav", Sound(tone(200), 16000),
        ),
        ClipRow("b.wav", "normal", 0.1),
    ]  # fmt: skip
    (first, second), gallery = cards(*rows)
    assert first["facts"] == [
        ("Score", "0.5"), ("Threshold", "0.4"), ("p", "0.0123"), ("Label", "anomalous"),
        ("Nearest", "n.wav"),
    ]  # fmt: skip
    assert [name for name, _ in first["players"]] == ["a.wav", "nearest normal clip: n.wav"]
    assert len(heard(first["players"][0][1])[1]) >= 16000
    assert (first["kind"], second["kind"]) == ("anomalous", "")
    assert "above that of n.wav" in first["picture"].alt
    assert (second["players"], second["picture"], second["notes"]) == ([], None, [])
    assert list(gallery.files) == ["pictures/a.wav.svg"]


def test_what_cannot_be_read_is_said_and_long_recordings_are_cut(write_clip, tmp_path):
    long = write_clip(tmp_path / "long.wav", seconds=LONGEST + 5, rate=2000)
    rows = [ClipRow("x.wav", "normal", 1.0, sound=Sound(tmp_path / "x.wav")),
            ClipRow("long.wav", "normal", 0.5, sound=Sound(long))]  # fmt: skip
    (gone, cut), _ = cards(*rows)
    assert gone["players"] == []
    assert "x.wav: cannot be read" in gone["notes"][0]
    assert cut["notes"] == ["The first 60 of 65 seconds."]
    assert len(heard(cut["players"][0][1])[1]) / 8000 == pytest.approx(LONGEST, abs=0.2)


def test_the_channel_that_was_scored_is_played(tmp_path):
    both = np.stack([np.zeros(16000), tone(500)], axis=1)
    soundfile.write(tmp_path / "a.wav", both, 16000)
    ((card,), _) = cards(
        ClipRow("a.wav", "normal", 1.0, sound=Sound(tmp_path / "a.wav", channel=1))
    )
    assert np.abs(heard(card["players"][0][1])[1]).max() > 0.4
