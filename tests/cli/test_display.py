import io

import pytest
from typer.testing import CliRunner

from dcase_asd.cli import display
from dcase_asd.cli.app import app
from dcase_asd.cli.display import Display, show_json, show_table


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_piped_table_is_plain_and_aligned(capsys):
    show_table(
        ["machine", "AUC"], [["fan", 98.125], ["RoboticArm", "5"]], title="T", numbers=["AUC"]
    )
    assert (
        capsys.readouterr().out == "T\nmachine        AUC\nfan         98.125\nRoboticArm       5\n"
    )


def test_a_table_on_a_terminal_shows_brackets_as_they_are(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    show_table(["what"], [["[bold]not markup"]])
    assert "[bold]not markup" in terminal.getvalue()


def test_a_table_that_a_terminal_is_too_narrow_for_keeps_all_its_cells(monkeypatch):
    columns, cells = [f"column {i}" for i in range(9)], [f"cell {i} of nine" for i in range(9)]
    for width, framed in (("40", False), ("200", True)):
        terminal = Terminal()
        monkeypatch.setattr("sys.stdout", terminal)
        monkeypatch.setenv("COLUMNS", width)
        show_table(columns, [cells])
        assert all(each in terminal.getvalue() for each in [*columns, *cells])
        assert ("│" in terminal.getvalue()) == framed


def test_json_keeps_full_precision_and_refuses_nan(capsys):
    show_json({"x": 0.1 + 0.2})
    assert "0.30000000000000004" in capsys.readouterr().out
    with pytest.raises(ValueError, match="JSON"):
        show_json(float("nan"))


def test_progress_without_a_terminal_is_a_line_now_and_then(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr(display.time, "monotonic", lambda: now[0])
    with Display().bar("Embedding", 100, "clips") as advance:
        for _ in range(4):
            now[0] += 6
            advance(10)
    assert capsys.readouterr().err.splitlines() == [
        "Embedding: 20/100 clips, about 48 s left",
        "Embedding: 40/100 clips, about 36 s left",
    ]


def test_progress_on_a_terminal_is_a_bar(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    with Display().bar("Embedding", 3, "clips") as advance:
        advance(3)
    assert "3/3" in terminal.getvalue()


def test_a_status_stands_beside_the_bar_and_a_note_above_it(monkeypatch, capsys):
    terminal = Terminal()
    with monkeypatch.context() as patch:
        patch.setattr("sys.stderr", terminal)
        shown = Display()
        with shown.bar("Training", 2, "steps") as advance:
            shown.status("loss 0.5")
            advance(1)
            shown.note("[one] clip")
        shown.note("afterwards")
    for text in ("1/2", "loss 0.5", "note: [one] clip", "note: afterwards\n"):
        assert text in terminal.getvalue()
    monkeypatch.setattr(display, "SECONDS_BETWEEN_LINES", 0)
    with shown.bar("Training", 2, "steps") as advance:
        shown.status("loss 0.4")
        advance(2)
    assert capsys.readouterr().err == "Training: 2/2 steps, about 0 s left; loss 0.4\n"


def test_a_status_is_said_before_anything_is_done(monkeypatch, capsys):
    monkeypatch.setattr(display, "SECONDS_BETWEEN_LINES", 0)
    shown = Display()
    with shown.bar("Scoring", 2, "machines") as advance:
        advance(0)
        shown.status("dev fan: 12 %")
        advance(0)
    assert capsys.readouterr().err == "Scoring: 0/2 machines; dev fan: 12 %\n"


def test_bars_of_bytes_share_a_picture_and_go_with_it(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    shown = Display()
    with shown.bar("All files", 0, "bytes"), shown.bar("fan.zip", 4000, "bytes") as advance:
        advance(1000)
        assert [task.description for task in shown._live.tasks] == ["All files", "fan.zip"]
        assert [task.total for task in shown._live.tasks] == [None, 4000]
    assert shown._live is None


def test_quiet_says_nothing(capsys):
    display = Display(quiet=True)
    display.note("something")
    with display.bar("Embedding", 3, "clips") as advance:
        advance(3)
    assert capsys.readouterr().err == ""


def test_notes_go_to_standard_error(capsys):
    Display().note("one clip")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "note: one clip\n")


def test_what_one_command_may_say_does_not_bind_the_next(capsys, tmp_path):
    for flag in ("-q", "--json"):
        CliRunner().invoke(app, ["labels", "--data", str(tmp_path), flag])
    display.say("here")
    show_table(["a"], [[1]])
    Display().note("there")
    assert capsys.readouterr() == ("here\na\n1\n", "note: there\n")
