"""A package and the run it was made of; each case corrupts one thing, and it is found and named."""

from __future__ import annotations

import copy
import dataclasses
import random

import pytest

from dcase_asd.editions.edition import load_edition
from dcase_asd.submission.meta import (
    ExternalDataset,
    SubmissionForm,
    SystemFacts,
    build_meta,
    meta_text,
)
from dcase_asd.submission.run_check import check_against_run, run_content

EDITION = load_edition("dcase2025")
LABEL = "Doe_INST_task2_1"
META = f"{LABEL}.meta.yaml"
MACHINES = ("Polisher", "ToyPet")
FACTS = SystemFacts(16000, 1234, None, {}, subsystems=3)
FILES = {machine: f"anomaly_score_{machine}_section_00_test.csv" for machine in MACHINES}


def scores_of(seed):
    generator = random.Random(seed)
    return {f"section_00_{index:04}.flac": generator.gammavariate(4, 0.1) for index in range(20)}


SCORES = {machine: scores_of(seed) for seed, machine in enumerate(MACHINES)}
RUN = run_content(
    {(machine, "00", ""): scores for machine, scores in SCORES.items()}, EDITION, FACTS
)
VALID_META = build_meta(LABEL, EDITION, SubmissionForm(), FACTS)


def text(scores):
    lines = (f"{clip.replace('.flac', '.wav')},{score!r}\n" for clip, score in scores.items())
    return "".join(lines).encode()


def packed(changed=None, meta=VALID_META):
    """The files of the package, with other scores of some machines."""
    scores = SCORES | (changed or {})
    files = {FILES[machine]: text(of) for machine, of in scores.items() if of is not None}
    return {**files, META: meta_text(meta).encode()}


def findings(files, run=RUN):
    return [(each.level, each.where, each.what) for each in check_against_run(LABEL, files, run)]


def only_error(files, name):
    (found,) = findings(files)
    assert found[:2] == ("error", f"task2/{LABEL}/{name}")
    return found[2]


def test_what_was_packed_is_the_runs():
    assert findings(packed()) == []


PET = SCORES["ToyPet"]
CLIPS = list(PET)
NUMBERS = list(PET.values())


def permuted():
    numbers = NUMBERS.copy()
    random.Random(7).shuffle(numbers)
    return dict(zip(CLIPS, numbers, strict=True))


@pytest.mark.parametrize(
    ("scores", "words"),
    [
        (permuted(), "the same numbers stand at other clips"),
        (dict(zip(CLIPS, NUMBERS[1:] + NUMBERS[:1], strict=True)), "20 of 20 scores"),
        (PET | {CLIPS[0]: NUMBERS[1], CLIPS[1]: NUMBERS[0]}, "2 of 20 scores"),
        (dict(zip(CLIPS, sorted(NUMBERS), strict=True)), "the same numbers stand at other clips"),
        (SCORES["Polisher"], f"they are those of {FILES['Polisher']}"),
        (dict.fromkeys(CLIPS, 0.5), "all are 0.5"),
        ({clip: -score for clip, score in PET.items()}, "their signs are turned"),
        ({clip: 2 * score for clip, score in PET.items()}, "section_00_0000.wav has "),
        ({clip: score + 1 for clip, score in PET.items()}, "20 of 20 scores"),
        ({clip: round(score, 2) for clip, score in PET.items()}, "scores are not the run's"),
        (PET | {CLIPS[4]: 99.0}, "1 of 20 scores are not the run's: section_00_0004.wav has 99"),
    ],
)  # fmt: skip
def test_scores_that_are_not_the_runs_are_an_error_that_says_how(scores, words):
    what = only_error(packed({"ToyPet": scores}), FILES["ToyPet"])
    assert words in what
    assert "submit the run again with --overwrite" in what


def test_swapped_machines_are_found_in_both_files():
    found = findings(packed({"ToyPet": SCORES["Polisher"], "Polisher": SCORES["ToyPet"]}))
    assert [where.rpartition("/")[2] for _, where, _ in found] == sorted(FILES.values())
    assert all("they are those of anomaly_score_" in what for *_, what in found)


def test_clips_and_files_that_the_run_has_not_or_alone_are_told():
    fewer = {clip: score for clip, score in PET.items() if clip != CLIPS[3]}
    what = only_error(packed({"ToyPet": fewer}), FILES["ToyPet"])
    assert "1 clip(s) of the run have no score here and 0 are not of the run" in what
    assert "section_00_0003.wav" in what
    (lacking,) = findings(packed({"ToyPet": None}))
    assert f"the run has scores for {FILES['ToyPet']}, the package has none" in lacking[2]
    other = "anomaly_score_AutoTrash_section_00_test.csv"
    assert "no scores of this file" in only_error({**packed(), other: text(PET)}, other)


DECISIONS = {
    f"decision_result_{machine}_section_00_test.csv": {
        clip.replace(".flac", ".wav"): int(score > 0.5) for clip, score in SCORES[machine].items()
    }
    for machine in MACHINES
}
DECIDING = dataclasses.replace(
    RUN,
    decisions={
        "none": {name: "".join(f"{clip},0\n" for clip in of) for name, of in DECISIONS.items()},
        "half": {
            name: "".join(f"{clip},{value}\n" for clip, value in of.items())
            for name, of in DECISIONS.items()
        },
    },
)


def test_decisions_are_those_of_one_of_the_threshold_rules():
    for rule in DECIDING.decisions.values():
        files = packed() | {name: content.encode() for name, content in rule.items()}
        assert findings(files, DECIDING) == []


@pytest.mark.parametrize("turned", [0, 7, 19])
def test_one_decision_that_is_not_the_runs_is_found(turned):
    files = packed() | {
        name: content.encode() for name, content in DECIDING.decisions["half"].items()
    }
    name = "decision_result_ToyPet_section_00_test.csv"
    lines = files[name].decode().splitlines()
    clip, value = lines[turned].split(",")
    lines[turned] = f"{clip},{1 - int(value)}"
    (found,) = findings(files | {name: "\n".join(lines).encode()}, DECIDING)
    assert found[:2] == ("error", f"task2/{LABEL}/{name}")
    assert f"the decisions of {clip} are not those of the run" in found[2]
    assert "--quantile" in found[2]


def test_a_run_without_evaluation_scores_confirms_nothing():
    (found,) = findings({META: packed()[META]}, run_content({}, EDITION, FACTS))
    assert found[0] == "error"
    assert "the run has no evaluation scores" in found[2]


def test_digits_beyond_the_sixth_of_the_range_do_not_matter():
    assert (
        findings(packed({"ToyPet": {clip: round(score, 9) for clip, score in PET.items()}})) == []
    )


@pytest.mark.parametrize(
    ("table", "name", "value", "level", "words"),
    [
        ("complexity", "total_parameters", 1235, "error",
         "total_parameters is 1235, but the run has 1234"),
        ("description", "input_sampling_rate", "48kHz", "error",
         "input_sampling_rate is 48kHz, but the run has 16kHz"),
        ("description", "ensemble_method_subsystem_count", 36, "warning",
         "ensemble_method_subsystem_count is 36, but the run is made of 3"),
        ("description", "ensemble_method_subsystem_count", None, "warning",
         "ensemble_method_subsystem_count is null, but the run is made of 3"),
    ],
)  # fmt: skip
def test_facts_that_are_not_the_runs_are_told(table, name, value, level, words):
    meta = copy.deepcopy(VALID_META)
    meta["system"][table][name] = value
    (found,) = findings(packed(meta=meta))
    assert found[:2] == (level, f"task2/{LABEL}/{META}")
    assert words in found[2]


@pytest.mark.parametrize(("rate", "count"), [("16 kHz", 3), ("16000 Hz", 3)])
def test_facts_may_be_written_otherwise(rate, count):
    meta = copy.deepcopy(VALID_META)
    meta["system"]["description"] |= {
        "input_sampling_rate": rate, "ensemble_method_subsystem_count": count
    }  # fmt: skip
    assert findings(packed(meta=meta)) == []


def test_a_single_network_is_no_ensemble():
    single = SystemFacts(16000, 1234, None, {}, subsystems=1)
    meta = build_meta(LABEL, EDITION, SubmissionForm(), single)
    assert meta["system"]["description"]["ensemble_method_subsystem_count"] is None
    scores = {(machine, "00", ""): of for machine, of in SCORES.items()}
    assert findings(packed(meta=meta), run_content(scores, EDITION, single)) == []


def test_weights_of_others_are_to_be_named_as_external_data():
    starts = SystemFacts(16000, 1234, None, {}, subsystems=1, weights=("BEATs_iter3",))
    scores = {(machine, "00", ""): of for machine, of in SCORES.items()}
    meta = build_meta(LABEL, EDITION, SubmissionForm(), starts)
    (found,) = findings(packed(meta=meta), run_content(scores, EDITION, starts))
    assert found[0] == "warning"
    assert "the run starts from BEATs_iter3, which is external data; name it in" in found[2]
    named = SubmissionForm(external_datasets=(ExternalDataset("BEATs", "https://example.org"),))
    meta = build_meta(LABEL, EDITION, named, starts)
    assert findings(packed(meta=meta), run_content(scores, EDITION, starts)) == []


def test_a_broken_meta_file_is_told_elsewhere():
    assert findings({**packed(), META: b"a: ["}) == []
    assert findings({**packed(), META: b"system: 3"}) == []
