"""Every block of the README does what it says: shell blocks run in order, from an empty folder."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from dcase_asd.testing import check_backbone

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A working copy with the environment that these tests run in, and no results."""
    if Path(sys.prefix) != ROOT / ".venv":
        pytest.skip("the README's commands use .venv, and these tests run in another environment")
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("Makefile", "tests", ".venv"):
        (folder / name).symlink_to(ROOT / name)
    # Older than the environment, which `make setup` therefore leaves alone: it belongs to ROOT.
    for name in ("pyproject.toml", "constraints.txt"):
        os.utime(shutil.copy(ROOT / name, folder / name), (0, 0))
    shutil.copytree(
        ROOT / "submissions", folder / "submissions", ignore=shutil.ignore_patterns("dist")
    )
    return folder


@pytest.mark.slow
def test_every_shell_block_runs_in_order(checkout):
    for block in blocks("sh"):
        # A new shell for each block: the environment that the second one activates stays active.
        path = f"{ROOT / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}"
        # `make test` within a test stands for itself: it runs a file of quick tests.
        environment = os.environ | {"PATH": path, "TESTS": "-q tests/editions/test_edition.py"}
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block],
            cwd=checkout, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
    assert (checkout / "demo" / "dist" / "Miniature_DEMO_task2.zip").is_file()
    assert (checkout / "submissions" / "dist" / "Lastname_INST_task2.zip").is_file()
    assert (checkout / "result.json").is_file()


def test_the_example_of_ones_own_machine_finds_the_worn_bearing(tmp_path):
    (block,) = [each for each in blocks("sh") if "exhaust_fan" in each]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block],
        cwd=tmp_path, env=os.environ | {"PATH": path}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    scores = pd.read_csv(tmp_path / "runs/workshop/scores/workshop.csv")
    tests = scores[scores["split"] == "test"]
    area = roc_auc_score(tests["file"].str.startswith("anomaly"), tests["score"])
    (told,) = [line for line in README.splitlines() if line.startswith(f"AUC {100 * area:.2f} % (")]
    assert told in done.stdout.splitlines()
    assert "anomaly_bearing" in done.stdout.splitlines()[-len(tests)]


def test_the_example_of_a_backbone_keeps_the_contract(tmp_path):
    (source,) = blocks("python")
    space = {}
    exec(source, space)  # noqa: S102 - the README's own text
    check_backbone(space["Bands"].from_checkpoint(None, width=8), tmp_path)
    (entry_point,) = blocks("toml")
    assert len((source + entry_point).splitlines()) < 40


def test_links_lead_somewhere():
    for target in re.findall(r"\]\((?!https?://)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
