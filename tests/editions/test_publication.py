import csv
from collections import Counter
from pathlib import Path

import pytest

from dcase_asd.editions.edition import load_edition, official_editions
from dcase_asd.editions.publication import PARTS

FACTS = Path(__file__).parents[2].parent / "shared" / "facts" / "files.csv"
EDITIONS = official_editions()
STAGES = {"dev": "dev", "add": "eval", "eval": "eval"}


@pytest.mark.parametrize("name", EDITIONS)
def test_every_machine_has_an_archive_in_every_part(name):
    edition = load_edition(name)
    assert set(edition.records) == set(PARTS)
    for part, record in edition.records.items():
        machines = Counter(archive.machine for archive in record.archives)
        assert machines == Counter(edition.machines[STAGES[part]].keys())


@pytest.mark.parametrize("name", EDITIONS)
def test_archives_of_an_edition_have_names_of_their_own(name):
    names = [a.name for r in load_edition(name).records.values() for a in r.archives]
    assert len(names) == len(set(names))
    assert all(name.endswith(".zip") for name in names)


@pytest.mark.parametrize("name", EDITIONS)
def test_labels_are_pinned_to_a_commit_or_a_record(name):
    source = load_edition(name).ground_truth
    assert bool(source.record) != bool(source.repository)
    assert bool(source.commit) == bool(source.repository)
    assert source.paths
    assert not any("attributes" in path for path in source.paths)


def test_a_folder_of_ones_own_has_nothing_published():
    edition = load_edition("workshop")
    assert edition.records == {}
    assert edition.ground_truth is None


def test_only_2025_has_supplemental_clips():
    having = {
        (name, part)
        for name in EDITIONS
        for part, record in load_edition(name).records.items()
        if "supplemental" in record.folders
    }
    assert having == {("dcase2025", "dev"), ("dcase2025", "add")}


@pytest.mark.shared
def test_archives_are_those_of_the_collected_facts():
    if not FACTS.is_file():
        pytest.skip("the collected facts (../shared/facts) are not on this machine")
    parts = {"development": "dev", "additional_training": "add", "evaluation": "eval"}
    with FACTS.open(encoding="utf-8", newline="") as file:
        expected = {
            (f"dcase{row['year']}", parts[row["split"]], row["machine"], row["url"], row["md5"])
            for row in csv.DictReader(file)
        }
    found = {
        (name, part, archive.machine, record.address(archive.name), archive.md5)
        for name in EDITIONS
        for part, record in load_edition(name).records.items()
        for archive in record.archives
    }
    assert found == expected
