"""Meta files: the fields of each year, in YAML that says what was meant."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from dcase_asd.editions.edition import load_edition, official_editions
from dcase_asd.errors import RecipeError, SubmissionError
from dcase_asd.recipe.toml import read_recipe
from dcase_asd.submission.meta import (
    Affiliation,
    Author,
    ExternalDataset,
    SubmissionForm,
    SystemFacts,
    build_meta,
    development_results,
    left_empty,
    meta_text,
    parse_meta,
)

ROOT = Path(__file__).parents[2]
FACTS = SystemFacts(sample_rate=16000, parameters=90_000_000, macs=None, results={})
AUTHOR = Author(
    "Lastname",
    "Firstname",
    "f@example.org",
    Affiliation("Institute", "Nowhere"),
    corresponding=True,
)
FULL = SubmissionForm(
    name="A system",
    abbreviation="System",
    authors=(AUTHOR,),
    description={"front_end": "HPSS, WPE", "ensemble_method_subsystem_count": 3},
    external_datasets=(ExternalDataset("AudioSet", "https://example.org"),),
)


def fields(value, name=""):
    if isinstance(value, dict):
        for key, entry in value.items():
            yield from fields(entry, f"{name}.{key}" if name else key)
    elif isinstance(value, list):
        for entry in value:
            yield from fields(entry, f"{name}[]")
    else:
        yield name


@pytest.mark.shared
@pytest.mark.parametrize("year", ["2020", "2021", "2022", "2025"])
def test_fields_are_those_of_the_meta_files_seen(year):
    path = ROOT.parent / "shared/facts/meta_yaml_fields.json"
    if not path.is_file():
        pytest.skip("the list of fields is not beside the repository")
    listed = json.loads(path.read_text())[year]["fields"]
    text = " ".join(entry for entry in listed if not entry.startswith("("))
    edition = load_edition(f"dcase{year}")
    meta = build_meta("A_B_task2_1", edition, FULL, FACTS)
    leaves = [name.rsplit(".", 1)[-1] for name in fields(meta["submission"]) if name]
    leaves += [name.rsplit(".", 1)[-1] for name in fields(meta["system"]) if name]
    assert [name for name in leaves if name not in text] == []
    assert [name for name in edition.submission.results.values() if name not in text] == []
    assert ("external_datasets" in meta["system"]) == (year != "2021")
    assert ("MACS" in meta["system"]["complexity"]) == (year == "2025")


@pytest.mark.parametrize("edition", official_editions())
def test_every_year_reads_back_what_was_written(edition):
    meta = build_meta("A_B_task2_1", load_edition(edition), FULL, FACTS)
    text = meta_text(meta)
    assert parse_meta(text.encode()) == meta
    assert "name: !!null" not in text
    assert "source_code: !!null" in text
    assert "total_parameters: 90000000" in text
    assert 'input_sampling_rate: "16kHz"' in text
    assert "ensemble_method_subsystem_count: 3" in text
    assert left_empty(meta)[-1] == "source_code"


@given(st.text())
def test_any_text_survives_in_one_line(text):
    written = meta_text({"a": [{"b": text}]})
    assert written.count("\n") == 2
    assert yaml.safe_load(written) == {"a": [{"b": text}]}


@pytest.mark.parametrize("value", [None, True, 1e-7, 1e22, 61.35, 0, 10**12])
def test_values_keep_their_type(value):
    assert yaml.safe_load(meta_text({"a": {"b": value}})) == {"a": {"b": value}}


def test_an_empty_form_leaves_nulls_and_says_which():
    meta = build_meta("A_B_task2_1", load_edition("dcase2025"), SubmissionForm(), FACTS)
    assert meta["submission"]["authors"] is None
    assert meta["system"]["external_datasets"] is None
    assert left_empty(meta)[:3] == [
        "name",
        "abbreviation",
        "authors",
    ]
    assert yaml.safe_load(meta_text(meta)) == meta


def test_texts_are_put_on_one_line():
    form = SubmissionForm(name=" Two \n lines\t")
    meta = build_meta("A_B_task2_1", load_edition("dcase2025"), form, FACTS)
    assert meta["submission"]["name"] == "Two lines"


def test_an_abbreviation_that_is_too_long_is_refused():
    form = SubmissionForm(abbreviation="ElevenChars")
    with pytest.raises(
        SubmissionError, match="'ElevenChars' has 11 characters; dcase2025 allows 10"
    ):
        build_meta("A_B_task2_1", load_edition("dcase2025"), form, FACTS)


def test_a_form_may_state_the_sampling_rate_only_where_the_run_does_not_know_it():
    edition = load_edition("dcase2025")
    form = SubmissionForm(description={"input_sampling_rate": "16kHz, 48kHz"})
    unknown = SystemFacts(sample_rate=None, parameters=1, macs=2, results={})
    meta = build_meta("A_B_task2_1", edition, form, unknown)
    assert meta["system"]["description"]["input_sampling_rate"] == "16kHz, 48kHz"
    assert meta["system"]["complexity"] == {"total_parameters": 1, "MACS": 2}
    with pytest.raises(SubmissionError, match="filled in from the run; take it out of the form"):
        build_meta("A_B_task2_1", edition, form, FACTS)


def test_the_form_in_the_repository_is_read_and_fictitious():
    form = read_recipe(ROOT / "submissions/examples/submission.toml", SubmissionForm)
    assert form.name
    assert all(author.email.endswith("@example.org") for author in form.authors)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("abreviation = 'x'", "unknown name 'abreviation' .did you mean 'abbreviation'"),
        (
            "[description]\nfrontend = 'x'",
            "asks for description.frontend; did you mean 'front_end'",
        ),
        ("[description]\nfront_end = ['x']", "must be text or a whole number"),
        ("[[authors]]\nlastname = 'x'", r"'authors\[0\]\.firstname' is missing"),
        (
            "[[authors]]\nlastname = 'x'\nfirstname = 'y'\nemail = 'z'\n"
            "affiliation = { institution = 'i', location = 'l' }",
            "0 authors are marked 'corresponding = true'",
        ),
    ],
)
def test_a_wrong_form_is_refused_with_the_way_out(tmp_path, text, message):
    (tmp_path / "form.toml").write_text(text)
    with pytest.raises(RecipeError, match=message):
        read_recipe(tmp_path / "form.toml", SubmissionForm)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfe", "not a readable YAML file"),
        (b"a: [", "not a readable YAML file"),
        (b"a: 2020-99-99", "not a readable YAML file"),
        (b"[" * 5000, "not a readable YAML file"),
        (b"!!python/object:os.system {}", "not a readable YAML file"),
        (b"- a", "holds no table"),
        (b"", "holds no table"),
    ],
)
def test_an_unreadable_meta_file_is_refused(content, message):
    with pytest.raises(ValueError, match=message):
        parse_meta(content)


@pytest.mark.parametrize(
    ("edition", "names"),
    [
        ("dcase2020", ["averaged_auc", "averaged_pauc"]),
        ("dcase2021", ["harmonic_mean_auc", "harmonic_mean_pauc"]),
        (
            "dcase2022",
            ["harmonic_mean_auc_source", "harmonic_mean_auc_target", "harmonic_mean_pauc"],
        ),
        ("dcase2025", ["auc_source", "auc_target", "pauc"]),
    ],
)
def test_results_are_percentages_under_the_names_of_the_year(make_entry, edition, names):
    entry = make_entry(edition)
    results = development_results(entry.scores, entry.edition)
    assert list(results) == list(entry.edition.machines["dev"])
    filled = [values for values in results.values() if None not in values.values()]
    assert len(filled) == 2
    assert all(list(values) == names for values in results.values())
    assert all(1 < value <= 100 for values in filled for value in values.values())


def test_a_perfect_detector_has_a_hundred_percent(make_entry):
    entry = make_entry("dcase2025")
    perfect = entry.scores.assign(score=entry.scores["file"].str.contains("anomaly").astype(float))
    results = development_results(perfect, entry.edition)
    assert results["ToyCar"] == {"auc_source": 100.0, "auc_target": 100.0, "pauc": 100.0}


def test_a_machine_that_lacks_a_domain_has_no_results(make_entry):
    entry = make_entry("dcase2025")
    half = entry.scores[~entry.scores["file"].str.contains("_target_test_normal")]
    results = development_results(half, entry.edition)
    assert results["ToyCar"] == {"auc_source": None, "auc_target": None, "pauc": None}


def test_machines_of_ones_own_are_listed_as_they_come(make_entry):
    entry = make_entry("dcase2025")
    own = load_edition("workshop")
    assert list(development_results(entry.scores, own)) == ["ToyCar", "ToyTrain"]
