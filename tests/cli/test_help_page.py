"""The page of all commands and recipe values, `docs/help.md`."""

import dataclasses

import typer

from dcase_asd.cli import help_page
from dcase_asd.cli.app import app


def test_the_page_in_docs_is_that_of_the_program(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    text = help_page.help_page()
    assert text == help_page.PAGE.read_text(encoding="utf-8"), "write it anew with `make docs`"
    assert "\x1b" not in text
    blocks = "".join(text.split("```")[1::2]).splitlines()
    assert max(map(len, blocks)) <= 100


def test_the_page_names_every_command_flag_and_value():
    text = help_page.PAGE.read_text(encoding="utf-8")
    for name, command in typer.main.get_command(app).commands.items():
        part = text.partition(f"\n### {name}\n")[2].partition("\n##")[0]
        assert f"Usage: dcase-asd {name} " in part
        for parameter in command.params:
            shown = parameter.metavar or max(parameter.opts, key=len)
            assert shown.strip("[]") in part
        assert "-q, --quiet" in part
        assert "-h, --help" in part
    rows = [line.split("`")[1] for line in text.splitlines() if line.startswith("| `")]
    kinds = help_page.TABLES.values()
    assert rows == [field.name for kind in kinds for field in dataclasses.fields(kind)]
    assert "| `margin` | number | 0.2 | 0 to 1.571 | ArcFace's angular margin" in text
    assert "| `sample_rate` | whole number | 16000 | 1000 to 384000 | Rate in Hz" in text
    assert "| `learning_rate` | number | 5e-05 | > 0, <= 1 | Largest" in text
    assert "| `plugin` | text | required | | Backbone plugin" in text
    assert "| `noise_snrs` | list of numbers | 5, 10, 15, 20 | -100 to 100 |" in text
    assert "| `normalize` | text | none | none, domain, median, density |" in text


def test_the_page_is_written_where_it_is_told(tmp_path):
    help_page.write(tmp_path / "docs/help.md")
    assert (tmp_path / "docs/help.md").read_bytes() == help_page.PAGE.read_bytes()
