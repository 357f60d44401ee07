"""One valid package; each case breaks one thing and expects the one finding that names it."""

from __future__ import annotations

import copy

import pytest

from dcase_asd.editions.edition import load_edition
from dcase_asd.errors import some
from dcase_asd.submission.check import check_package
from dcase_asd.submission.meta import (
    Affiliation,
    Author,
    ExternalDataset,
    SubmissionForm,
    SystemFacts,
    build_meta,
    meta_text,
)
from dcase_asd.submission.meta_check import check_meta
from dcase_asd.submission.package import Package

EDITION = load_edition("dcase2025")
LABEL = "Doe_INST_task2_1"
FOLDER = f"task2/{LABEL}"
META = f"{FOLDER}/{LABEL}.meta.yaml"
REPORT = "task2/Doe_INST_task2.technical_report.pdf"
MACHINES = list(EDITION.machines["eval"])
CLIPS = {
    (machine, "00", ""): {f"section_00_{index:04}.wav" for index in range(4)}
    for machine in MACHINES
}
SCORES = f"{FOLDER}/anomaly_score_ToyPet_section_00_test.csv"
DECISIONS = f"{FOLDER}/decision_result_ToyPet_section_00_test.csv"
RESULTS = {
    machine: {"auc_source": 61.25, "auc_target": 58.5, "pauc": 52.125}
    for machine in EDITION.machines["dev"]
}
FORM = SubmissionForm(
    name="A system",
    abbreviation="System",
    authors=(
        Author("Doe", "Jo", "jo@inst.edu", Affiliation("INST", "Oslo, Norway"), corresponding=True),
    ),
    description=dict.fromkeys(
        set(EDITION.submission.description) - {"input_sampling_rate"}, "something"
    )
    | {"ensemble_method_subsystem_count": 2},
    external_datasets=(ExternalDataset("AudioSet", "https://audio.set"),),
    source_code="https://code.org",
)
VALID_META = build_meta(LABEL, EDITION, FORM, SystemFacts(16000, 1234, 5678, RESULTS))


def valid_files(label=LABEL):
    folder = f"task2/{label}"
    meta = copy.deepcopy(VALID_META)
    meta["submission"]["label"] = label
    files = {f"{folder}/{label}.meta.yaml": meta_text(meta).encode(), REPORT: b"%PDF-1.7"}
    for machine in MACHINES:
        for kind, values in (("anomaly_score", (0.1, 0.4, 0.2, 0.3)), ("decision_result", "0101")):
            lines = "".join(
                f"section_00_{index:04}.wav,{value}\n" for index, value in enumerate(values)
            )
            files[f"{folder}/{kind}_{machine}_section_00_test.csv"] = lines.encode()
    return files


def findings(files, computed=None, clips=CLIPS, name="", edition=EDITION):
    results = {LABEL: RESULTS} if computed is None else computed
    return [
        (problem.level, problem.where, problem.what)
        for problem in check_package(Package(name, files), edition, clips, results)
    ]


def only_finding(files, **options):
    found = findings(files, **options)
    assert len(found) == 1, found
    return found[0]


def change_meta(path, value):
    meta = copy.deepcopy(VALID_META)
    *parents, last = path.split(".")
    table = meta
    for parent in parents:
        table = table[int(parent) if parent.isdigit() else parent]
    if value is KeyError:
        del table[last]
    else:
        table[int(last) if last.isdigit() else last] = value
    return {**valid_files(), META: meta_text(meta).encode()}


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


@pytest.mark.parametrize(
    ("path", "value", "level", "what"),
    [
        ("submission.label", "Doe_INST_task2_2", "error", "the label is Doe_INST_task2_2, but the"),
        ("submission.abbreviation", "ElevenChars", "error", "has 11 characters; at most 10"),
        ("submission.name", None, "error", "null in name: fill in the form"),
        ("submission.abbreviation", None, "error", "null in abbreviation: fill in"),
        ("submission.authors", None, "error", "null in authors: fill in the form"),
        ("submission.authors", "Doe", "error", "must be a list of authors"),
        ("submission.authors", KeyError, "error", "asks for submission.authors: write !!null"),
        ("submission.authors.0.lastname", "Roe", "warning", "author's last name, Roe"),
        ("submission.authors.0.email", "jo", "error", "'jo' is no e-mail address"),
        ("submission.authors.0.email", "jo@example.org", "warning", "fictitious jo@example.org"),
        ("submission.authors.0.email", None, "error", "author 1 lacks email; fill it in"),
        ("submission.authors.0.affiliation.location", None, "error", "lacks affiliation.location"),
        ("submission.authors.0.corresponding", KeyError, "error", "0 authors are marked"),
        ("system.description.front_end", None, "warning", "null in front_end"),
        ("system.description.front_end", KeyError, "error", "for system.description.front_end"),
        ("system.description.frontend", "HPSS", "warning", "frontend; did you mean 'front_end'?"),
        ("system.description.input_sampling_rate", "16", "error", "'16' is no sampling rate"),
        ("system.description.input_sampling_rate", "16MHz", "error", "'16MHz' is no sampling"),
        ("system.description.input_sampling_rate", "16kHz, 5Hz", "error", "'5Hz' is no sampling"),
        ("system.complexity.total_parameters", None, "error", "total_parameters is null"),
        ("system.complexity.total_parameters", -1, "error", "total_parameters is -1"),
        ("system.complexity.total_parameters", "90M", "error", "total_parameters is '90M'"),
        ("system.complexity.total_parameters", 10**13, "error", "give a plausible whole number"),
        ("system.complexity.MACS", True, "error", "MACS is True"),
        ("system.complexity.MACS", None, "warning", "null in MACS"),
        ("system.external_datasets", "AudioSet", "error", "external_datasets must be a list"),
        ("system.external_datasets.0.name", None, "error", "external_datasets must be a list"),
        ("system.description.front_end", {"a": 1}, "error", "front_end must be text"),
        ("system.description.ensemble_method_subsystem_count", "many", "error", "is 'many', not a"),
        ("system.description.ensemble_method_subsystem_count", 2.5, "error", "is 2.5, not a whole"),
        ("system.sourcecode", "x", "warning", "system.sourcecode; did you mean 'source_code'?"),
        ("submission.nme", "x", "warning", "submission.nme; did you mean 'name'?"),
        ("result", "x", "warning", "no field result; did you mean 'results'?"),
        ("system.external_datasets", KeyError, "error", "asks for system.external_datasets"),
        ("system.source_code", None, "warning", "null in source_code"),
        ("results.development_dataset.fan.pauc", 53.0, "error",
         "fan pauc is 53.0, but the run's scores give 52.12; submit the run again"),
        ("results.development_dataset.fan.hmean", 60.0, "error", "unknown 'hmean'"),
        ("results.development_dataset.fann", {"pauc": 50.0}, "error", "did you mean 'fan'?"),
    ],
)  # fmt: skip
def test_one_wrong_field_of_the_meta_file_is_one_finding(path, value, level, what):
    found = only_finding(change_meta(path, value))
    assert found[:2] == (level, META)
    assert what in found[2]


@pytest.mark.parametrize("rate", ["16kHz", "16 kHz, 44.1kHz", "16000 Hz"])
def test_sampling_rates_are_read_in_hertz_and_kilohertz(rate):
    assert findings(change_meta("system.description.input_sampling_rate", rate)) == []


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("fan.pauc", None, ["no complete development results of fan", "fan pauc is missing"]),
        ("fan", KeyError, ["no complete development results of fan", "fan auc_source is missing",
                           "fan auc_target is missing", "fan pauc is missing"]),
        ("fan.pauc", 152.0, ["fan: pauc is 152.0, not a percentage", "fan pauc is 152.0"]),
        ("fan.pauc", 0.5212, ["fan: pauc is 0.5212; percent is asked for", "fan pauc is 0.5212"]),
        ("fan.pauc", "high", ["fan: pauc is 'high', not a percentage", "fan pauc is high"]),
    ],
)  # fmt: skip
def test_results_must_be_there_as_percentages(path, value, expected):
    found = findings(change_meta(f"results.development_dataset.{path}", value))
    assert len(found) == len(expected)
    assert all(start in what for start, (*_, what) in zip(expected, found, strict=True))


@pytest.mark.parametrize(("edition", "level"), [("dcase2024", "warning"), ("dcase2026", "error")])
def test_fields_of_a_year_whose_meta_file_was_not_seen_are_no_error(edition, level):
    rules = load_edition(edition)
    meta = build_meta(LABEL, rules, FORM, SystemFacts(16000, 1234, 5678, {}))
    meta["results"]["development_dataset"] = RESULTS
    del meta["system"]["description"]["decision_making"]
    found = [each for each in check_meta(meta, LABEL, rules, META) if "asks for" in each.what]
    assert [each.level for each in found] == [level]
    assert f"{edition} asks for system.description.decision_making" in found[0].what


def test_a_name_that_stands_twice_in_the_meta_file_is_an_error():
    files = valid_files()
    text = files[META].decode()
    files[META] = text.replace("  source_code:", "  source_code: other\n  source_code:").encode()
    level, where, what = only_finding(files)
    assert (level, where) == ("error", META)
    assert "source_code stands twice in a table" in what


def test_results_that_are_no_table_are_an_error():
    level, _, what = findings(change_meta("results.development_dataset", "good"))[0]
    assert (level, what) == (
        "error",
        "results.development_dataset must list machines with their values",
    )


def test_no_results_at_all_are_a_warning_where_the_run_has_none_either():
    nothing = {machine: dict.fromkeys(values) for machine, values in RESULTS.items()}
    files = change_meta("results.development_dataset", None)
    level, _, what = only_finding(files, computed={LABEL: nothing})
    assert (level, what.split(":")[0]) == ("warning", "null in development_dataset")


def test_results_that_the_run_cannot_confirm_are_a_warning():
    nothing = {**RESULTS, "fan": dict.fromkeys(RESULTS["fan"])}
    found = findings(valid_files(), computed={LABEL: nothing})
    assert {level for level, *_ in found} == {"warning"}
    assert found[0][2].startswith("fan auc_source is 61.25, but the run has no labelled scores")


def test_results_may_be_rounded_to_two_decimals():
    assert findings(change_meta("results.development_dataset.fan.pauc", 52.13)) == []
    assert findings(change_meta("results.development_dataset.fan.pauc", 52.12)) == []
    assert findings(change_meta("results.development_dataset.fan.pauc", 52.14)) != []


def test_results_that_were_not_computed_again_are_a_warning():
    level, where, what = only_finding(valid_files(), computed={})
    assert (level, where) == ("warning", META)
    assert "the development results were not checked" in what


def test_many_names_are_cut_short():
    assert some("dbca") == "a, b, c and 1 more"
    assert some("ba") == "a, b"
