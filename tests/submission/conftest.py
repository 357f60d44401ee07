"""What tests of submissions begin with."""

from __future__ import annotations

import pytest
from official_entry import write_official

from dcase_asd.submission.import_scores import import_scores


@pytest.fixture
def entry(make_entry):
    return make_entry("dcase2025")


@pytest.fixture
def theirs(tmp_path):
    return tmp_path / "theirs"


@pytest.fixture
def blind(entry, theirs, tmp_path):
    """A run that was imported without train scores, and the one that it is to be fused with."""
    run = tmp_path / "runs/theirs"
    import_scores(write_official(theirs, entry, train=False), run, "2025")
    shuffled = entry.scores.assign(
        score=entry.scores["score"].sample(frac=1, random_state=0).to_numpy()
    )
    entry.write(shuffled)
    return [entry.run, run]


@pytest.fixture
def out(tmp_path):
    return tmp_path / "dist"
