import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from itertools import combinations

import matplotlib as mpl
import numpy as np
import pytest

from dcase_asd.reports.figures.style import (
    COLORS,
    DOTS_PER_INCH,
    WIDTH,
    Gallery,
    drawing,
    finish,
    new_figure,
    room_for,
    shortened,
)


def example(label="score"):
    figure = new_figure(2.0)
    axes = figure.subplots()
    axes.plot([0, 1, 2], [1, 3, 2], "o-", color=COLORS["normal"], label=label)
    axes.set_xlabel(label)
    axes.legend()
    return figure


def drawn(form="svg", label="score", name="one"):
    with drawing():
        return finish(example(label), name, "A line.", form)


@pytest.mark.parametrize("form", ["png", "svg"])
def test_the_same_figure_gives_the_same_bytes(form):
    first, second = drawn(form), drawn(form)
    assert first == second
    for trace in (mpl.__version__.encode(), b"dc:date", b"Software"):
        assert trace not in first.file


def test_another_process_with_settings_of_its_own_gives_the_same_bytes(tmp_path):
    (tmp_path / "matplotlibrc").write_text(
        "lines.linewidth: 9\nfont.size: 30\nsvg.fonttype: path\n"
    )
    program = (
        "import sys; from dcase_asd.reports.figures.style import *\n"
        "with drawing():\n"
        "    figure = new_figure(2.0); axes = figure.subplots()\n"
        "    axes.plot([0, 1, 2], [1, 3, 2], 'o-', color=COLORS['normal'], label='score')\n"
        "    axes.set_xlabel('score'); axes.legend()\n"
        "    sys.stdout.buffer.write(finish(figure, 'one', 'A line.', 'svg').file)\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=tmp_path,
        capture_output=True,
        check=True,
    )
    assert done.stdout == drawn().file
    assert done.stderr == b""


def test_a_user_s_settings_are_as_they_were_afterwards():
    before = dict(mpl.rcParams)
    drawn()
    assert dict(mpl.rcParams) == before


def test_files_are_whole_and_of_the_stated_size():
    svg = ET.fromstring(drawn("svg").file)  # noqa: S314 - made here
    assert svg.tag.endswith("svg")
    png = drawn("png").file
    assert png.startswith(b"\x89PNG")
    width = int.from_bytes(png[16:20], "big")
    assert width == round(WIDTH * DOTS_PER_INCH)


def test_on_a_page_colours_and_fonts_are_the_page_s_and_ids_the_picture_s_own():
    picture = drawn(name="pictures/a b")
    assert picture.width == round(96 * WIDTH)
    ET.fromstring(picture.svg)  # noqa: S314 - made here
    assert not re.search(r"#[0-9a-f]{6}", picture.svg)
    assert "var(--normal)" in picture.svg
    assert "DejaVu" not in picture.svg
    assert re.search(r"font(-family)?: [^;\"]*var\(--sans\)", picture.svg)
    ids = re.findall(r' id="([^"]+)"', picture.svg)
    assert ids
    assert all(re.fullmatch(r"p[0-9a-f]{12}-\w+", each) for each in ids)
    used = set(re.findall(r'(?:href="|url\()#([\w-]+)', picture.svg))
    assert used == set(ids)


def test_a_gallery_gives_every_picture_a_file_of_its_own():
    with drawing():
        gallery = Gallery("svg")
        system = gallery.below("1_../a b")
        first, second, third = (
            of.show(example(), name, "A line.", "Below.")
            for of, name in ((system, "x y"), (system, "x?y"), (gallery, "..."))
        )
    assert gallery.files == {
        "pictures/1_..-a-b/x-y.svg": first.file,
        "pictures/1_..-a-b/x-y-2.svg": second.file,
        "pictures/x.svg": third.file,
    }
    assert first.svg != second.svg  # ids of their own
    assert first.caption == "Below."


def test_names_are_text_and_never_formulas_or_markup():
    picture = drawn(label="$x^2$ <b>&amp;")
    assert "$x^2$ &lt;b&gt;&amp;amp;" in picture.svg


@pytest.mark.parametrize("form", ["png", "svg"])
def test_letters_that_no_font_has_are_no_reason_for_a_warning(form, recwarn):
    picture = drawn(form, label="ファン \U000f1234")
    assert not recwarn.list
    assert "ファン" in picture.svg


def test_colours_can_be_told_apart_by_their_lightness_against_paper():
    def luminance(colour):
        values = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
        linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
        return linear @ [0.2126, 0.7152, 0.0722]

    paper = luminance(COLORS["paper"])
    for name in ("ink", "muted", "normal", "anomaly", "source", "target", "train", "test"):
        contrast = (paper + 0.05) / (luminance(COLORS[name]) + 0.05)
        assert contrast >= (4.5 if name in ("ink", "muted") else 3.0), name
    assert len(set(COLORS.values())) == len(COLORS)
    assert all(a not in b for a, b in combinations(COLORS.values(), 2))


def test_long_names_lose_their_middle():
    assert shortened("beats_01") == "beats_01"
    assert shortened("a_very_long_name_of_a_system", 11) == "a_ver…ystem"
    assert len(shortened("x" * 99, 16)) == 16
    assert shortened("ファンの音のデータ", 9) == "ファ…ータ"
    assert room_for(["ファ"]) == room_for(["beat"])
    assert room_for(["beats", "b"]) == room_for(["beats"]) > room_for([])
