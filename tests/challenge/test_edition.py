import pytest

from dcase_asd.challenge.edition import edition_name, load_edition, official_editions
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


def test_a_folder_of_ones_own_is_an_edition_with_the_newest_rules():
    own = load_edition("pumps")
    assert (own.official, own.folder, own.metric) == (False, "pumps", load_edition("2026").metric)
    assert own.machines == {"dev": {}, "eval": {}}


def test_folder_names_lead_to_editions():
    assert edition_name("dcase2024t2") == "dcase2024"
    assert edition_name("robot2") == "robot2"
