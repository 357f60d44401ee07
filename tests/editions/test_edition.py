import pytest

from dcase_asd.editions.edition import edition_name, load_edition, official_editions
from dcase_asd.errors import EditionError


def test_every_year_is_there():
    assert official_editions() == tuple(f"dcase{year}" for year in range(2020, 2027))


@pytest.mark.parametrize("name", official_editions())
def test_an_edition_holds_together(name):
    edition = load_edition(name)
    assert (edition.name, edition.official, edition.folder) == (name, True, f"{name}t2")
    assert set(edition.machines) == {"dev", "eval"}
    for machines in edition.machines.values():
        assert 5 <= len(machines) <= 9
        assert all(machines.values())
    assert "{machine}" in edition.submission.score_file
    assert edition.submission.maximum_systems == 4


@pytest.mark.parametrize("name", ["2025", "dcase2025", "dcase2025t2", " dcase2025 "])
def test_an_edition_answers_to_its_usual_names(name):
    assert load_edition(name).name == "dcase2025"


@pytest.mark.parametrize(
    ("name", "hint"), [("dcase2019", "dcase20"), ("2031", "dcase20"), ("dcas2025", "dcase2025")]
)
def test_a_year_that_does_not_exist_is_refused(name, hint):
    with pytest.raises(EditionError, match=f"there is no edition '{name}'; .*{hint}"):
        load_edition(name)


def test_a_folder_of_ones_own_has_the_newest_files_and_auc_and_pauc_of_each_machine():
    own = load_edition("pumps")
    assert (own.official, own.folder, own.metric) == (False, "pumps", "2020")
    assert own.machines == {"dev": {}, "eval": {}}
    newest = load_edition("2026").submission
    assert own.submission.score_file == newest.score_file
    assert own.submission.results == {"auc": "auc", "pauc": "pauc"}
    assert own.training.editions == ()


@pytest.mark.parametrize("name", official_editions())
def test_an_edition_says_what_may_be_trained_on_and_who_says_so(name):
    rules = load_edition(name).training
    assert name in rules.editions
    assert set(rules.editions) <= set(official_editions())
    assert max(rules.editions) == name  # nothing that was published later
    assert rules.source


def test_2025_allows_all_years_and_2026_none_but_its_own():
    allowed = {name: load_edition(name).training for name in ("dcase2025", "dcase2026")}
    assert allowed["dcase2025"].editions == tuple(f"dcase{year}" for year in range(2020, 2026))
    assert allowed["dcase2026"].editions == ("dcase2026",)
    assert all(rules.certain for rules in allowed.values())


FOURTEEN = [
    "input_sampling_rate", "data_augmentation", "front_end", "acoustic_features", "embeddings",
    "machine_learning_method", "aggregation_method", "domain_adaptation_method",
    "domain_generalization_method", "ensemble_method_subsystem_count", "decision_making",
    "attribute_usage", "external_data_usage", "development_data_usage",
]  # fmt: skip
"""Fields of the description in their order, as in files submitted in 2022 and in 2026."""


@pytest.mark.parametrize("year", [2022, 2023, 2024, 2026])
def test_the_description_has_the_fourteen_known_fields_in_their_order(year):
    assert list(load_edition(str(year)).submission.description) == FOURTEEN


def test_2026_asks_for_parameters_alone_and_the_files_of_two_years_were_not_seen():
    assert load_edition("2026").submission.complexity == ("total_parameters",)
    assert load_edition("2025").submission.complexity == ("total_parameters", "MACS")
    seen = {name: load_edition(name).submission.meta_seen for name in official_editions()}
    assert [name for name, was in seen.items() if not was] == ["dcase2023", "dcase2024"]


def test_folder_names_lead_to_editions():
    assert edition_name("dcase2024t2") == "dcase2024"
    assert edition_name("robot2") == "robot2"
