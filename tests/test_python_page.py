"""The Python interface: its page runs as it stands, and importing the package is quick."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import dcase_asd
from dcase_asd.miniature.machines import ClipCounts
from dcase_asd.miniature.miniature import write_miniature

PAGE = (Path(__file__).parents[1] / "docs/python.md").read_text(encoding="utf-8")


def test_the_page_runs_from_top_to_bottom(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    # A smaller miniature: the page's own is complete already where this one lies.
    write_miniature(tmp_path / "data", editions=("dcase2025",), counts=ClipCounts(6, 2, 2, 1))
    monkeypatch.setattr("dcase_asd.runs.demo.make_demo_data", lambda folder: folder)
    space = {"__name__": "page"}
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE, flags=re.DOTALL | re.MULTILINE)
    assert len(blocks) == 6
    for source in blocks:
        exec(source, space)  # noqa: S102 - the page's own text
    said = capsys.readouterr().out
    assert "official score" in said
    assert "machine fan, section 00 alone: not the official score" in said
    assert space["vectors"].shape == (2, 192)
    assert space["bands"].shape == (30, 8, 16)
    assert space["anomaly_scores"].shape == (5,)
    assert space["cleaned"].shape == (16000,)
    assert len(space["first"].vectors) == len(space["first"].clips)
    assert set(space["sections"]["machine"]) == set(space["scores"]["machine"]) - {
        each.machine for each in space["machines"] if each.stage == "eval"
    }


def test_importing_the_package_imports_nothing_heavy():
    program = "import sys, dcase_asd; print({'torch', 'pandas', 'numpy'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"


def test_every_public_name_is_there_and_others_are_not():
    for name in dcase_asd.__all__:
        assert getattr(dcase_asd, name) is not None
    assert set(dcase_asd.__all__) <= set(dir(dcase_asd))
    with pytest.raises(AttributeError, match="no attribute 'evalute'"):
        dcase_asd.evalute  # noqa: B018 - asking is the point
