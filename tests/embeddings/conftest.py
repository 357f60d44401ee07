"""What tests of embeddings begin with."""

import pytest

from dcase_asd.clips.prepare import prepare


@pytest.fixture
def data(small_tree):
    prepare(small_tree)
    return small_tree
