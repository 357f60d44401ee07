"""Commands fit and check: what they print, their exit status, and what they leave alone."""

import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from located_faults import RATE, Machine
from typer.testing import CliRunner

from dcase_asd.cli import app, main
from dcase_asd.errors import AudioError, DcaseAsdError

SECONDS = 3.0


def run(*words, **options):
    done = CliRunner().invoke(app, [str(word) for word in words], **options)
    if isinstance(done.exception, DcaseAsdError):
        raise done.exception
    return done


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Normal recordings of a machine, new ones of which one is faulty, and the model."""
    folder = tmp_path_factory.mktemp("place")
    machine = Machine(3, SECONDS, "noisy")
    for name in ("normal", "new", "more"):
        (folder / name).mkdir()
    for number in range(25):
        soundfile.write(folder / f"normal/{number}.wav", machine.normal(), RATE)
    for number in range(3):
        soundfile.write(folder / f"more/{number}.wav", machine.normal(), RATE)
    fine, bad = machine.normal(), machine.faulty("leak", 25).samples
    soundfile.write(folder / "new/fine.wav", fine, RATE)
    soundfile.write(folder / "new/leak.flac", bad, RATE)
    run("fit", folder / "normal", "--out", folder / "fan.asd", "-q")
    return folder


def test_fit_says_what_it_learnt_and_what_it_rests_on(place, tmp_path):
    done = run("fit", place / "normal", "--out", tmp_path / "a.asd")
    assert "25 normal recording(s), 25 window(s) of about 3 s at 16000 Hz" in done.stdout
    assert "support a false-alarm rate of 0.038 at best, not 0.01" in done.stderr
    found = json.loads(
        run("fit", place / "normal", "--out", tmp_path / "b.asd", "--false-alarms", 0.1,
            "--window", 1, "--json").stdout
    )  # fmt: skip
    assert (found["recordings"], found["windows"], found["skipped"]) == (25, 75, [])
    assert (found["false_alarms"], found["notes"]) == (0.1, [])


def test_fit_never_replaces_a_file_unasked(place, tmp_path):
    model = tmp_path / "a.asd"
    model.write_bytes((place / "fan.asd").read_bytes())
    with pytest.raises(DcaseAsdError, match=r"exists already.*--update.*--force"):
        run("fit", place / "more", "--out", model)
    assert model.read_bytes() == (place / "fan.asd").read_bytes()
    run("fit", place / "normal", "--out", model, "--force", "--false-alarms", 0.1)
    assert model.read_bytes() != (place / "fan.asd").read_bytes()


def test_fit_leaves_out_what_is_named(place, tmp_path):
    words = ["fit", place / "normal", "--out", tmp_path / "a.asd", "--exclude", "3.wav"]
    assert "23 normal recording(s)" in run(*words, "--exclude", "20.wav").stdout


def test_an_update_replaces_the_model_or_writes_another(place, tmp_path):
    model, other = tmp_path / "a.asd", tmp_path / "b.asd"
    model.write_bytes((place / "fan.asd").read_bytes())
    run("fit", place / "more", "--update", model, "--out", other)
    assert model.read_bytes() == (place / "fan.asd").read_bytes()
    done = run("fit", place / "more", "--update", model)
    assert "28 normal recording(s)" in done.stdout
    assert model.read_bytes() == other.read_bytes()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["fit", "x"], "name the file to write"),
        (["fit", "x", "--update", "a.asd", "--window", "2"], "keeps its own"),
        (["fit", "x", "--out", "a.asd", "--checkpoint", "c"], "name it with --plugin"),
        (["fit", "x", "--out", "a.asd", "--option", "a=1"], "name it with --plugin"),
        (["check", "a.asd", "x.wav", "--rate", "16000"], "standard input"),
        (["check", "a.asd", "x.wav", "--log", "l.jsonl"], "--watch alone"),
        (["check", "a.asd", "-", "--watch"], "looks at a folder"),
    ],
)
def test_flags_that_do_not_go_together_are_wrong_usage(words, message):
    done = run(*words)
    assert done.exit_code == 2
    assert message in " ".join(done.stderr.replace("│", " ").split())


def test_check_tells_when_where_and_how_much(place):
    done = run("check", place / "fan.asd", place / "new")
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert lines[0].startswith(f"{place}/new/fine.wav: normal, score ")
    bad = next(line for line in lines if "leak.flac" in line)
    assert "anomalous" in bad
    assert "dB above the nearest normal" in bad
    assert "  most similar normal recording: " in done.stdout
    assert done.stdout.count("cannot tell a false-alarm rate") == 1


def test_check_as_json_has_the_documented_fields(place):
    found = json.loads(run("check", place / "fan.asd", place / "new", "--json").stdout)
    assert [each["verdict"] for each in found] == ["normal", "anomalous"]
    assert [each["file"] for each in found] == [str(place / "new" / name)
                                               for name in ("fine.wav", "leak.flac")]  # fmt: skip
    assert all(set(each) == {"file", "score", "threshold", "p_value", "verdict", "spans",
                             "nearest", "notes"} for each in found)  # fmt: skip
    (fine,) = json.loads(
        run(
            "check", place / "fan.asd", place / "new/fine.wav", "--json", "--false-alarms", 0.9
        ).stdout
    )
    assert fine["threshold"] < found[0]["threshold"]


def test_the_exit_status_tells_of_anomalies_only_where_asked(place):
    model, fine, bad = (place / name for name in ("fan.asd", "new/fine.wav", "new/leak.flac"))
    assert run("check", model, bad).exit_code == 0
    assert run("check", model, bad, "--fail-on-anomaly").exit_code == 3
    assert run("check", model, fine, "--fail-on-anomaly").exit_code == 0
    assert run("check", model, bad, "--rule", "1/1", "--fail-on-anomaly").exit_code == 3


def test_a_wrong_file_among_many_is_a_line_and_the_others_are_checked(place, tmp_path):
    wrong = tmp_path / "wrong.wav"
    wrong.write_bytes(b"RIFF")
    words = ["check", place / "fan.asd", place / "new", wrong, tmp_path / "none.wav"]
    done = run(*words, "--json")
    assert done.exit_code == 1
    assert len(json.loads(done.stdout)) == 2
    assert "wrong.wav" in done.stderr
    assert "none.wav: no such file or folder" in done.stderr
    assert run(*words, "--fail-on-anomaly").exit_code == 3
    words = [*words[:2], place / "new/fine.wav", wrong, "--fail-on-anomaly"]
    assert run(*words).exit_code == 1
    done = run("check", place / "fan.asd", wrong)
    assert done.exit_code == 1
    assert done.stderr.startswith("error: ")


def test_a_stream_is_judged_window_by_window(place):
    random = np.random.default_rng(0)
    content = (3000 * random.standard_normal(5 * RATE)).astype("<i2").tobytes()
    words = ["check", place / "fan.asd", "-", "--rate", RATE, "--window", 2, "--fail-on-anomaly"]
    done = run(*words, "--json", input=content)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [each["file"] for each in found] == [
        "- 0.0 to 2.0 s",
        "- 2.0 to 4.0 s",
        "- 4.0 to 5.0 s",
    ]
    assert done.exit_code == 3
    assert len(run(*words, "--hop", 1, "--json", input=content).stdout.splitlines()) == 4
    with pytest.raises(AudioError, match="--rate 16000"):
        run("check", place / "fan.asd", "-", input=content)
    with pytest.raises(AudioError, match="--hop 0"):
        run(*words, "--hop", 0, input=content)
    with pytest.raises(DcaseAsdError, match="goes with nothing else"):
        run("check", place / "fan.asd", "-", place / "new", input=content)


def test_watching_judges_each_once_and_keeps_a_log(place, tmp_path, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _: None)
    log = tmp_path / "log.jsonl"
    words = ["check", place / "fan.asd", place / "new", "--watch", "--idle", 1, "--log", log]
    done = run(*words, "--json")
    assert {json.loads(line)["file"] for line in done.stdout.splitlines()} == {
        "fine.wav", "leak.flac",
    }  # fmt: skip
    assert len(log.read_text().splitlines()) == 2
    assert run(*words).stdout == ""


def test_a_check_takes_no_torch_and_no_pandas(place):
    program = (
        "import sys; from dcase_asd.cli import main\n"
        f"sys.argv = ['dcase-asd', 'check', {str(place / 'fan.asd')!r}, "
        f"{str(place / 'new/leak.flac')!r}, '--fail-on-anomaly']\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert end.code == 3\n"
        "heavy = {'torch', 'torchaudio', 'pandas', 'sklearn', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_damaged_model_is_one_line(place, tmp_path, monkeypatch, capsys):
    (tmp_path / "x.asd").write_bytes(b"PK\3\4")
    monkeypatch.setattr(sys, "argv", ["dcase-asd", "check", str(tmp_path / "x.asd"), "y.wav"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 1
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert "dcase-asd fit recordings/normal --out fan.asd" in line


def titles(page):
    return re.findall(r"<h4>(.*?)</h4>", page.read_text(encoding="utf-8"))


def test_a_report_shows_the_most_anomalous_first_beside_the_nearest(place, tmp_path):
    evil = tmp_path / "<script>alert(1)<x>.wav"
    evil.write_bytes((place / "new/fine.wav").read_bytes())
    wrong = tmp_path / "wrong & <b>.wav"
    wrong.write_bytes(b"RIFF")
    page = tmp_path / "out/report.html"
    done = run("check", place / "fan.asd", place / "new", evil, wrong, "--json", "--report", page)
    found = json.loads(done.stdout)
    assert done.exit_code == 1
    assert len(found) == 3
    text = page.read_text(encoding="utf-8")
    assert titles(page)[0] == f"{place}/new/leak.flac"
    assert f"{tmp_path}/&lt;script&gt;alert(1)&lt;x&gt;.wav" in titles(page)
    assert "<script" not in text
    assert f"Not checked: {tmp_path}/wrong &amp; &lt;b&gt;.wav" in text
    assert text.count("<audio ") == 6  # each clip, and the normal one nearest to it
    assert "above where the two differ" in text
    worst = max(found, key=lambda each: each["score"])
    assert worst["spans"][0]["text"] in text
    assert f"nearest normal clip: {worst['nearest']}" in text
    assert text.count("cannot tell a false-alarm rate") == 1
    assert "Normal recordings</dt><dd>25" in text


def test_a_report_does_without_a_nearest_recording_that_is_gone_or_another(place, tmp_path):
    normal, page = tmp_path / "normal", tmp_path / "r.html"
    shutil.copytree(place / "normal", normal)
    run("fit", normal, "--out", tmp_path / "m.asd")
    words = ["check", tmp_path / "m.asd", place / "new/leak.flac", "--report", page]
    (found,) = json.loads(run(*words, "--json").stdout)
    assert page.read_text(encoding="utf-8").count("<audio ") == 2
    (tmp_path / "moved").mkdir()
    for name in ("normal", "m.asd"):  # together, so that one is found from the other
        (tmp_path / name).rename(tmp_path / "moved" / name)
    words[1] = tmp_path / "moved/m.asd"
    run(*words)
    assert page.read_text(encoding="utf-8").count("<audio ") == 2
    (tmp_path / "moved/normal" / found["nearest"]).write_bytes(
        (place / "new/fine.wav").read_bytes()
    )
    run(*words)
    text = page.read_text(encoding="utf-8")
    assert text.count("<audio ") == 1
    assert f"1 of the nearest normal recordings, such as {found['nearest']}, are not shown" in text


def test_a_report_of_many_or_long_recordings_says_what_is_left_out(place, tmp_path, monkeypatch):
    monkeypatch.setattr("dcase_asd.reports.verdicts.SHOWN", 1)
    monkeypatch.setattr("dcase_asd.reports.verdicts.LONGEST", 5.0)
    machine = Machine(3, SECONDS, "noisy")
    parts = [machine.normal(), machine.normal(), machine.faulty("leak", 25).samples]
    soundfile.write(tmp_path / "long.wav", np.concatenate(parts), RATE)
    page = tmp_path / "r.html"
    run("check", place / "fan.asd", tmp_path / "long.wav", place / "new/fine.wav", "--rule", "1/1",
        "--report", page)  # fmt: skip
    text = page.read_text(encoding="utf-8")
    assert titles(page) == [f"{tmp_path}/long.wav"]
    assert "The 1 most anomalous of 2 clips" in text
    assert "Shown from 6.0 to 9.0 s, which decided." in text
    assert "Spectrogram of" in text
    assert ", 3 seconds, above" in text or ", 3.01 seconds, above" in text


def test_a_report_is_refused_before_anything_is_checked(place, tmp_path):
    thesis = tmp_path / "thesis.html"
    thesis.write_text("mine")
    with pytest.raises(DcaseAsdError, match="was not made by dcase-asd"):
        run("check", place / "fan.asd", place / "new", "--report", thesis)
    assert thesis.read_text() == "mine"
    for words in (["-"], [place / "new", "--watch"]):
        done = run("check", place / "fan.asd", *words, "--report", tmp_path / "r.html")
        assert done.exit_code == 2
        assert "files and folders" in done.stderr
