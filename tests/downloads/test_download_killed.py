"""A download that is killed at any moment ends with the same bytes when it is run again."""

import random
import time

import pytest
from killable import Template
from published import machines_of, publish_edition, tree_below

from dcase_asd.downloads.download import download
from dcase_asd.downloads.plan import plan_download
from dcase_asd.downloads.request import Request

KILLS = 100
PAUSE = 0.002
"""Seconds between pieces of a file, so that there is a time in which to kill."""


@pytest.mark.slow
def test_a_hundred_kills_at_random_points_end_with_the_same_bytes(server, tmp_path):
    tree = publish_edition(server, clips=6)
    machines = machines_of("dcase2025")
    options = {"editions": ["2025"], "machines": machines, "mirror": server.url}
    generator = random.Random(0)
    longest = 0.3
    kills = 0
    with Template() as template:
        for trial in range(3 * KILLS):
            data = tmp_path / str(trial)
            server.pause = PAUSE
            process = template.start(data=str(data), **options)
            time.sleep(generator.uniform(0, longest))
            if not template.kill(process):
                longest *= 0.95  # it was over before: this machine is faster
                continue
            kills += 1
            _check_whole_or_absent(data, tree)
            server.pause = 0
            server.requests.clear()
            request = Request(data, ("2025",), machines=machines, mirror=server.url)
            assert download(plan_download(request)).problems == ()
            assert tree_below(data) == tree
            for leftover in (".unpack*", "*.part*", "*.zip"):
                assert not list(data.rglob(leftover))
            if kills == KILLS:
                break
    assert kills == KILLS


def _check_whole_or_absent(data, tree):
    """Every split folder that can be seen is complete."""
    seen = {path.rpartition("/")[0] for path in tree_below(data) if "/.unpack" not in path}
    for folder in seen:
        if folder.endswith(("/train", "/test", "/supplemental")):
            names = {path for path in tree if path.rpartition("/")[0] == folder}
            assert names == {path for path in tree_below(data) if path.rpartition("/")[0] == folder}
