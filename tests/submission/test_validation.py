"""One valid package; each case breaks one thing and expects the one finding that names it."""

from __future__ import annotations

import pytest
from valid_package import (
    CLIPS,
    DECISIONS,
    FOLDER,
    LABEL,
    META,
    REPORT,
    RESULTS,
    SCORES,
    findings,
    only_finding,
    valid_files,
)


def change_lines(name, old, new):
    files = valid_files()
    assert old.encode() in files[name]
    return {**files, name: files[name].replace(old.encode(), new.encode(), 1)}


def without(name):
    return {key: value for key, value in valid_files().items() if key != name}


def test_a_valid_package_has_no_findings():
    assert findings(valid_files()) == []
    assert findings(valid_files(), name="Doe_INST_task2") == []


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        # Clips
        (
            ("_0002.wav,0.2", "_0009.wav,0.2"),
            ["1 test clip(s) have no score: section_00_0002.wav",
             "1 clip(s) are not in the test set: section_00_0009.wav"],
        ),
        (("section_00_0002.wav,0.2\n", ""), ["1 test clip(s) have no score: section_00_0002.wav"]),
        (("_0002.wav,0.2\n", "_0002.wav,0.2\nsection_00_0002.wav,0.2\n"),
         ["named more than once: section_00_0002.wav"]),
        # Values
        (("0.2", "nan"), ["1 score(s) are no finite number: section_00_0002.wav"]),
        (("0.2", "inf"), ["1 score(s) are no finite number: section_00_0002.wav"]),
        (("0.2", ""), ["1 score(s) are no finite number: section_00_0002.wav"]),
        (("0.2", "high"), ["1 score(s) are no finite number: section_00_0002.wav"]),
        (("0.2", "0_2"), ["1 score(s) are no finite number: section_00_0002.wav"]),
        (("0.2", "\u0660.\u0662"), ["1 score(s) are no finite number: section_00_0002.wav"]),
        (("0.2", "1e999"), ["1 score(s) are no finite number: section_00_0002.wav"]),
        (("0.2", "0,2"),
         ["1 line(s) are not <clip>.wav,<score>, the first is line 3 (no header is allowed)",
          "1 test clip(s) have no score: section_00_0002.wav"]),
        (("section_00_0002.wav,0.2", '"section_00_0002.wav","0.2"'),
         ["1 line(s) are not <clip>.wav,<score>, the first is line 3 (no header is allowed)",
          "1 test clip(s) have no score: section_00_0002.wav"]),
        (("section_00_0000", "file,score\nsection_00_0000"),
         ["1 line(s) are not <clip>.wav,<score>, the first is line 1 (no header is allowed)"]),
    ],
)  # fmt: skip
def test_every_clip_is_scored_once_with_a_finite_number(change, finding):
    found = findings(change_lines(SCORES, *change))
    about_scores = [what for level, where, what in found if where == SCORES and level == "error"]
    assert [what.split(";")[0] for what in about_scores] == [line.split(";")[0] for line in finding]
    assert all(where in (SCORES, DECISIONS) for _, where, _ in found)


@pytest.mark.parametrize("value", ["2", "1.0", "-1", "", "nan", "true"])
def test_decisions_are_zero_or_one(value):
    level, where, what = only_finding(change_lines(DECISIONS, "0000.wav,0", f"0000.wav,{value}"))
    assert (level, where) == ("error", DECISIONS)
    assert what == "1 decision(s) are neither 0 nor 1: section_00_0000.wav"


def test_decisions_name_every_clip_too():
    _, where, what = only_finding(change_lines(DECISIONS, "section_00_0000.wav,0\n", ""))
    assert (where, what) == (DECISIONS, "1 test clip(s) have no decision: section_00_0000.wav")


def test_decisions_that_contradict_the_order_of_the_scores_are_an_error():
    level, where, what = only_finding(change_lines(DECISIONS, "0001.wav,1", "0001.wav,0"))
    assert (level, where) == ("error", DECISIONS)
    assert what.startswith("the decisions contradict the scores")
    assert "section_00_0001.wav is normal at 0.4 and section_00_0003.wav anomalous at 0.3" in what


def test_inverted_decisions_are_named_so():
    files = valid_files()
    turned = {"0": "1", "1": "0"}
    lines = [line.split(",") for line in files[DECISIONS].decode().splitlines()]
    files[DECISIONS] = "".join(f"{clip},{turned[value]}\n" for clip, value in lines).encode()
    level, where, what = only_finding(files)
    assert (level, where) == ("error", DECISIONS)
    assert what.startswith("the decisions are inverted: no threshold gives them")


@pytest.mark.parametrize(("value", "word"), [("0", "normal"), ("1", "anomalous")])
def test_decisions_that_are_all_alike_are_a_warning(value, word):
    files = valid_files()
    clips = [line.split(",")[0] for line in files[DECISIONS].decode().splitlines()]
    files[DECISIONS] = "".join(f"{clip},{value}\n" for clip in clips).encode()
    level, where, what = only_finding(files)
    assert (level, where) == ("warning", DECISIONS)
    assert what.startswith(f"all 4 clips are decided to be {word}")


def test_scores_that_are_all_equal_are_an_error():
    files = valid_files()
    clips = [line.split(",")[0] for line in files[SCORES].decode().splitlines()]
    files[SCORES] = "".join(f"{clip},0.25\n" for clip in clips).encode()
    assert [finding[:2] for finding in findings(files)] == [("error", SCORES)]
    assert "all 4 scores are 0.25, which tells nothing" in findings(files)[0][2]


def test_equal_scores_with_different_decisions_are_a_threshold_between_ties():
    files = change_lines(SCORES, "0.4", "0.3")
    files[DECISIONS] = files[DECISIONS].replace(b"0001.wav,1", b"0001.wav,0")
    assert findings(files) == []


def test_windows_line_ends_and_a_byte_order_mark_are_accepted():
    files = valid_files()
    files[SCORES] = b"\xef\xbb\xbf" + files[SCORES].replace(b"\n", b"\r\n")
    assert findings(files) == []


@pytest.mark.parametrize(
    ("files", "level", "where", "what"),
    [
        (without(DECISIONS), "error", FOLDER,
         "1 file(s) are missing: decision_result_ToyPet_section_00_test.csv; submit again"),
        (without(META), "error", META, "the meta file is missing"),
        (without(REPORT), "warning", REPORT, "the technical report is missing"),
        ({**valid_files(), REPORT: b"PK"}, "error", REPORT, "is no PDF"),
        ({**valid_files(), META: b"a: ["}, "error", META, "not a readable YAML file"),
        ({**valid_files(), "task2/notes.txt": b""}, "error", "task2/notes.txt", "does not belong"),
        ({**valid_files(), "readme": b""}, "error", "readme", "does not belong"),
        ({**valid_files(), f"{FOLDER}/a/b.csv": b""}, "error", f"{FOLDER}/a/b.csv",
         "does not belong"),
        ({**valid_files(), f"{FOLDER}/x": b""}, "error", f"{FOLDER}/x", "called so; take it out"),
        ({**valid_files(), f"{FOLDER}/anomaly_score_ToyPet_section_01_test.csv": b""}, "error",
         f"{FOLDER}/anomaly_score_ToyPet_section_01_test.csv",
         "did you mean 'anomaly_score_ToyPet_section_00_test.csv'?"),
        ({}, "error", "task2", "there is no system"),
    ],
)  # fmt: skip
def test_a_file_that_is_missing_wrong_or_too_much_is_named(files, level, where, what):
    found = only_finding(files)
    assert found[:2] == (level, where)
    assert what in found[2]


def test_a_missing_score_file_lowers_the_coverage_too():
    found = findings(without(SCORES))
    assert [(level, what.split(";")[0]) for level, _, what in found] == [
        ("error", "1 file(s) are missing: anomaly_score_ToyPet_section_00_test.csv"),
        ("warning", "the package covers 7 of 8 evaluation machines of dcase2025"),
    ]


def test_machines_that_are_not_at_hand_are_a_warning():
    clips = {key: names for key, names in CLIPS.items() if key[0] != "ToyPet"}
    level, _, what = only_finding(valid_files(), clips=clips)
    assert level == "warning"
    assert "the clip names of anomaly_score_ToyPet_section_00_test.csv were not checked" in what
    files = without(SCORES)
    del files[DECISIONS]
    level, where, what = only_finding(files, clips=clips)
    assert (level, where) == ("warning", FOLDER)
    assert what.endswith("7 of 8 evaluation machines of dcase2025; not (wholly) ToyPet")


def test_the_zip_has_the_name_of_its_package():
    level, where, what = only_finding(valid_files(), name="entry")
    assert (level, where) == ("warning", "entry.zip")
    assert "Doe_INST_task2.zip" in what


def test_more_systems_than_allowed_are_an_error():
    labels = [f"Doe_INST_task2_{number}" for number in range(1, 6)]
    files = {name: content for label in labels for name, content in valid_files(label).items()}
    found = findings(files, computed=dict.fromkeys(labels, RESULTS))
    assert [(where, what.split(";")[0]) for _, where, what in found] == [
        ("task2", "5 systems, but dcase2025 takes at most 4"),
        (
            "task2/Doe_INST_task2_5",
            "the label 'Doe_INST_task2_5' is number 5",
        ),
    ]


def test_systems_of_two_packages_are_an_error():
    other = "Doe_ELSE_task2_1"
    files = {**valid_files(), **valid_files(other)}
    found = findings(files, computed={LABEL: RESULTS, other: RESULTS})
    assert ("error", "task2") in [finding[:2] for finding in found]
    assert any("several packages: Doe_ELSE_task2, Doe_INST_task2" in what for *_, what in found)


def test_a_malformed_label_is_an_error():
    label = "Doe_task2_1"
    files = {name: content for name, content in valid_files(label).items() if name != REPORT}
    found = only_finding(files, computed={label: RESULTS})
    assert found[:2] == ("error", "task2/Doe_task2_1")
    assert "must read <Lastname>_<Inst>_task2_<1-4>" in found[2]
