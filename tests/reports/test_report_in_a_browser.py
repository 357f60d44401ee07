"""The page of a report in a real browser: a telephone and a desk, by day and by night, offline."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest

from dcase_asd.reports.check import write_check_page
from dcase_asd.reports.clips import ClipRow, Sound, spectrogram
from dcase_asd.reports.report import report
from dcase_asd.scores.table import write_scores

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
PHONE, DESK = (390, 844), (1280, 900)
SMALLEST_TEXT = 12.0
"""CSS pixels."""

LOOK = """
<script>
addEventListener("load", () => {
  const seen = (element) => element.getBoundingClientRect();
  const own = (element) => [...element.childNodes].some(
    (node) => node.nodeType === 3 && node.textContent.trim());
  const pictures = [...document.querySelectorAll("svg[role=img]")].map((svg) => {
    const box = seen(svg);
    const texts = [...svg.querySelectorAll("text")].filter(own).map((text) => {
      const size = parseFloat(getComputedStyle(text).fontSize) * svg.getScreenCTM().a;
      const {left, right, top, bottom} = seen(text);
      return {text: text.textContent, size, outside: Math.max(
        box.left - left, right - box.right, box.top - top, bottom - box.bottom)};
    });
    const words = [...svg.querySelectorAll("text")].filter(own);
    const crossing = [];
    words.forEach((a, i) => words.slice(i + 1).forEach((b) => {
      const [p, q] = [seen(a), seen(b)];
      const wide = Math.min(p.right, q.right) - Math.max(p.left, q.left);
      const high = Math.min(p.bottom, q.bottom) - Math.max(p.top, q.top);
      if (wide > 1 && high > 4) crossing.push([a.textContent, b.textContent]);
    }));
    return {name: svg.getAttribute("aria-label"), width: box.width, height: box.height,
            texts, crossing, fills: [...new Set([...svg.querySelectorAll("text")].map(
              (text) => getComputedStyle(text).fill))]};
  });
  const texts = [...document.querySelectorAll("body *:not(script)")]
    .filter((element) => own(element) && !element.closest("svg"))
    .map((element) => [element.tagName, parseFloat(getComputedStyle(element).fontSize)]);
  const anchors = [...document.querySelectorAll("nav a")].map(
    (link) => document.querySelector(link.getAttribute("href")) !== null);
  const findings = {
    inner: innerWidth, width: document.scrollingElement.scrollWidth, pictures, texts, anchors,
    loaded: performance.getEntriesByType("resource").map((entry) => entry.name),
    ground: getComputedStyle(document.body).backgroundColor,
    ink: getComputedStyle(document.body).color,
    sounds: [...document.querySelectorAll("audio")].map(
      (each) => [each.getBoundingClientRect().width, each.duration]),
    cards: [...document.querySelectorAll(".card")].map((each) => seen(each).right),
    scrolling: [...document.querySelectorAll(".scroll")].map((each) => each.tabIndex),
  };
  parent.postMessage(JSON.stringify(findings), "*");
});
</script>
</body>"""
# A window is never narrower than 500 pixels, a frame in it is.
FRAME = """<!DOCTYPE html>
<meta name="color-scheme" content="light dark">
<style>body {{ margin: 0 }} iframe {{ border: 0; display: block }}</style>
<pre id="findings"></pre>
<script>
addEventListener("message", (event) => {{
  document.getElementById("findings").textContent = event.data;
}});
</script>
<iframe src="copy.html" width="{}" height="{}"></iframe>
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """Open a file without a network and return what the browser prints."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"none of the browsers {', '.join(BROWSERS)} is on this machine")
    profile = tmp_path_factory.mktemp("profile")

    def open_page(page, *options, size=DESK):
        command = [
            found, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
            "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking",
            "--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={profile}",
            f"--window-size={size[0]},{size[1]}", *options, page.as_uri(),
        ]  # fmt: skip
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)

    return open_page


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The page of two systems with long names, one machine of each set, one set unlabelled."""
    runs = tmp_path_factory.mktemp("runs")
    random = np.random.default_rng(0)
    names = [
        f"section_00_{domain}_test_{condition}_{index:04}_x_1.wav"
        for domain in ("source", "target")
        for condition in ("normal", "anomaly")
        for index in range(8)
    ]
    systems = []
    for name in ("a_system_with_a_name_that_is_far_too_long_to_be_kind", "short"):
        rows = [
            (stage, machine, "00", "train", f"section_00_source_train_normal_{index:04}_x_1.wav")
            for stage, machine in (("dev", "ToyTrain"), ("eval", "CoffeeGrinder"))
            for index in range(30)
        ]
        rows += [("dev", "ToyTrain", "00", "test", file) for file in names]
        rows += [
            ("eval", "CoffeeGrinder", "00", "test", f"section_00_{i:04}.wav") for i in range(20)
        ]
        table = pd.DataFrame(rows, columns=["stage", "machine", "section", "split", "file"])
        anomalous = table["file"].str.contains("anomaly").to_numpy()
        table["score"] = random.gamma(3, 0.1, len(table)) + 0.3 * anomalous
        table.loc[table.groupby(["machine", "split"]).head(1).index, "score"] = 99.0
        provenance = {"backbone": "spectral", "parameters": 90_000_000, "sample_rate": 16000}
        write_scores(runs / name, "dcase2025", table, provenance)
        lines = [
            {
                "update": i,
                "step": 8 * i,
                "loss": 3 / i,
                "accuracy": i / 50,
                "learning_rate": 4.56e-5,
            }
            | ({"dev_score": 0.6} if i % 25 == 0 else {})
            for i in range(1, 51)
        ]
        (runs / name / "train.jsonl").write_text("".join(f"{json.dumps(x)}\n" for x in lines))
        systems.append(runs / name)
    return report(systems, "dcase2025", out=runs / "report").page


def findings(browser, page, *options, size):
    """What a script sees that is put into a copy of the page."""
    text = page.read_text(encoding="utf-8")
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text)
    assert text.count("</body>") == 1
    copy, frame = page.with_name("copy.html"), page.with_name("frame.html")
    copy.write_text(text.replace("</body>", LOOK), encoding="utf-8")
    frame.write_text(FRAME.format(*size), encoding="utf-8")
    done = browser(frame, *options, "--virtual-time-budget=5000", "--dump-dom")
    found = re.search(r'<pre id="findings">(.*?)</pre>', done.stdout, flags=re.DOTALL)
    assert found is not None, done.stderr
    assert found[1], done.stderr
    return json.loads(html.unescape(found[1]))


@pytest.mark.parametrize("size", [PHONE, (360, 740), DESK], ids=str)
def test_a_page_fits_the_screen_and_can_be_read(browser, page, size):
    seen = findings(browser, page, size=size)
    assert seen["inner"] == size[0]
    assert seen["width"] <= seen["inner"]
    assert len(seen["pictures"]) > 15
    for picture in seen["pictures"]:
        assert picture["width"] > 250, picture["name"]
        assert picture["height"] > 60, picture["name"]
        assert len(picture["texts"]) > 3
        assert picture["crossing"] == [], picture["name"]
        for text in picture["texts"]:
            assert text["size"] >= SMALLEST_TEXT - 0.01, (picture["name"], text)
            assert text["outside"] <= 1, (picture["name"], text)
    assert min(size for _, size in seen["texts"]) >= SMALLEST_TEXT
    assert seen["loaded"] == []
    assert seen["anchors"]
    assert all(seen["anchors"])
    assert set(seen["scrolling"]) == {0}


def luminance(colour):
    values = np.array(re.findall(r"[\d.]+", colour)[:3], dtype=float) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_and_pictures_follow_the_colour_scheme(browser, page, scheme):
    dark = scheme == "dark"
    options = [f"--blink-settings=preferredColorScheme={0 if dark else 1}"]
    seen = findings(browser, page, *options, size=DESK)
    ground, ink = luminance(seen["ground"]), luminance(seen["ink"])
    assert (ground < 0.05) == dark
    assert (max(ground, ink) + 0.05) / (min(ground, ink) + 0.05) > 7
    for picture in seen["pictures"]:
        for fill in picture["fills"]:
            lighter, darker = sorted((luminance(fill), ground), reverse=True)
            assert (lighter + 0.05) / (darker + 0.05) > 4.5, (picture["name"], fill)


def test_the_page_as_it_is_is_shown_and_breaks_no_rule_of_its_own(browser, page, tmp_path):
    picture = tmp_path / "shot.png"
    done = browser(
        page, "--enable-logging=stderr", f"--screenshot={picture}", "--virtual-time-budget=3000"
    )
    assert "Content Security Policy" not in done.stderr
    assert "CONSOLE" not in done.stderr
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size > 20_000  # an empty page has less


def test_a_single_picture_is_shown_by_itself(browser, page, tmp_path):
    (file,) = (page.parent / "pictures/2_short").glob("dev_*_roc.svg")
    picture = tmp_path / "shot.png"
    browser(file, f"--screenshot={picture}", "--virtual-time-budget=3000", size=(340, 320))
    assert picture.stat().st_size > 3_000


@pytest.fixture(scope="module")
def checked(tmp_path_factory):
    """The page of three clips with all their parts, one of a name that is too long."""
    random = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("checked")
    rows = []
    for number, score in enumerate((0.2, 0.9, 1.4)):
        samples, other = random.normal(0, 0.1, (2, 16000)).astype(np.float32)
        difference = spectrogram(np.abs(samples - other), 16000)
        rows.append(
            ClipRow(
                f"{'a_name_without_any_space_' * 4}{number}.wav", "anomalous", score, 0.01, 0.5,
                sentence="0.2 to 0.5 s, 2.8 to 3.4 kHz, 14 dB above the nearest normal clip.",
                notes=("Louder than all normal clips.",), sound=Sound(samples, 16000),
                nearest="normal.wav", nearest_sound=Sound(other, 16000), difference=difference,
            )
        )  # fmt: skip
    train = random.gamma(4, 0.1, 60)
    return write_check_page(folder / "check.html", rows, train, title="fan.asd")


@pytest.mark.parametrize("size", [PHONE, DESK], ids=str)
def test_clips_fit_the_screen_fill_it_and_can_be_heard(browser, checked, size):
    page = checked.with_name("heard.html")
    # So that the browser reads the sounds without a click.
    text = checked.read_text(encoding="utf-8").replace('preload="none"', 'preload="metadata"')
    page.write_text(text, encoding="utf-8")
    seen = findings(browser, page, size=size)
    assert seen["width"] <= seen["inner"]
    assert len(seen["pictures"]) == 4
    for picture in seen["pictures"]:
        assert picture["crossing"] == [], picture["name"]
        assert all(text["size"] >= SMALLEST_TEXT - 0.01 for text in picture["texts"])
    assert len(seen["sounds"]) == 6
    for width, seconds in seen["sounds"]:
        assert width > 300
        assert seconds == pytest.approx(1, abs=0.1)
    assert max(seen["cards"]) > size[0] - 45  # the last column ends at the margin
    assert min(size for _, size in seen["texts"]) >= SMALLEST_TEXT
    done = browser(page, "--enable-logging=stderr", "--virtual-time-budget=3000", "--dump-dom")
    assert "Content Security Policy" not in done.stderr
