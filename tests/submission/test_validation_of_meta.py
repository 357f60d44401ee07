"""The meta file of a package, each field of which may be wrong."""

from __future__ import annotations

import copy

import pytest
from valid_package import (
    FORM,
    LABEL,
    META,
    RESULTS,
    VALID_META,
    findings,
    only_finding,
    valid_files,
)

from dcase_asd.editions.edition import load_edition
from dcase_asd.errors import some
from dcase_asd.submission.meta import (
    SystemFacts,
    build_meta,
    meta_text,
)
from dcase_asd.submission.meta_check import check_meta


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
