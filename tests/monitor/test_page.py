"""The page about one machine runs as it stands, and says what is so."""

import re
from pathlib import Path

from dcase_asd.monitor.verdict import Verdict

PAGE = (Path(__file__).parents[2] / "docs/monitor.md").read_text(encoding="utf-8")


def test_the_page_runs_from_top_to_bottom(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    space = {"__name__": "page"}
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE, flags=re.DOTALL | re.MULTILINE)
    assert len(blocks) == 4
    for source in blocks:
        exec(source, space)  # noqa: S102 - the page's own text
    verdict = space["verdict"]
    assert verdict.verdict == "anomalous"
    span = verdict.spans[0]
    assert 1.5 <= span.start <= 2.25
    assert span.low <= 3000 <= span.high
    assert len(space["more"].normals.recordings) == 100
    assert (tmp_path / "fan.asd").is_file()
    assert (
        "40 normal window(s) support a false-alarm rate of 0.024 at best" in capsys.readouterr().out
    )


def test_the_page_names_the_fields_of_a_verdict():
    rows = re.findall(r"^\| `(\w+)` \|", PAGE, flags=re.MULTILINE)
    aside = {"heat", "similar", "level"}
    assert set(rows) == set(Verdict.__dataclass_fields__) - aside
