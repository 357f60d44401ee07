"""The estimate for left-out machines, where their labels have chosen checkpoints before."""

import re
import shlex
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dcase_asd.cli.app import app
from dcase_asd.clips.prepare import prepare
from dcase_asd.embeddings.embed import embed
from dcase_asd.embeddings.kept import read_kept
from dcase_asd.errors import DcaseAsdError
from dcase_asd.fusion.fuse import fuse
from dcase_asd.fusion.label_free import is_chosen
from dcase_asd.fusion.result import read_fusion
from dcase_asd.progress import Silent
from dcase_asd.recipe.detector import Detector
from dcase_asd.recipe.fusion import Fusion
from dcase_asd.scores.score import score
from dcase_asd.training.finetune import finetune


def call(*arguments):
    result = CliRunner().invoke(app, list(map(str, arguments)))
    if isinstance(result.exception, DcaseAsdError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture
def make_run(data, make_system, tmp_path):
    def make(name, **settings):
        settings = {"steps": 8, "eval_every": 2, "learning_rate": 3e-5, "warmup": 0} | settings
        run, system = tmp_path / name, make_system(name, **settings)
        finetune(data, run, system, device="cpu", workers=0)
        embed(data, run, "dcase2025", system, "cpu")
        score(run, "dcase2025", Detector(neighbors=2))
        return run

    return make


def test_the_commands_that_a_fusion_names_give_the_estimate_with_last_checkpoints(
    data, make_run, tmp_path
):
    runs = [make_run("a", seed=1, keep=1), make_run("b", seed=2, keep=1, ensemble="weights")]
    arguments = ("fuse", "--systems", *runs, "--run", tmp_path / "fused", "--resamples", "0")
    first = call(*arguments)
    assert "fused, leave-one-machine-out estimate of weights alone" in first.stdout
    assert "labels of the left-out machine, too, chose checkpoints or weights of a, b;" in (
        first.stderr
    )
    without, scoring = re.findall(r"`dcase-asd ([^`]*)`", first.stderr)
    assert "--neighbors 2 " in scoring
    for run in runs:
        last = read_kept(run).checkpoints[-1].file
        for command in (without, scoring):
            own = re.sub(r"step_\d+\.safetensors", last, command)
            own = own.replace(str(runs[0]), str(run)).replace("--data data", f"--data {data}")
            call(*shlex.split(own))
        assert (run / "last/scores/dcase2025.csv").is_file()
        assert is_chosen(run)
        assert not is_chosen(run / "last")
    second = call(*arguments)
    plain = Fusion(("a/last", "b/last"), resamples=0)
    lasts = [run / "last" for run in runs]
    expected = fuse(lasts, tmp_path / "lasts", "dcase2025", plain).result.leave_one_machine_out
    left_out = read_fusion(tmp_path / "fused", "dcase2025").leave_one_machine_out
    assert left_out.chosen == ("a", "b")
    assert left_out.last_checkpoints == expected.score
    assert (expected.chosen, expected.last_checkpoints) == ((), None)
    percent = f"{100 * expected.score:.2f}"
    assert f"with last checkpoints, which no label chose, it is {percent} %" in second.stderr
    beside = f"the same with last checkpoints, which no label chose {percent}"
    assert beside in " ".join(second.stdout.split())
    page = call("report", tmp_path / "fused", "--edition", "2025", "--out", tmp_path / "report")
    text = Path(page.stdout.partition(": written")[0]).read_text()
    assert "their labels chose checkpoints or weights of a, b." in text
    assert f"with last checkpoints {percent}" in text


@pytest.mark.parametrize(
    "settings", [{"ensemble": "last"}, {"keep": 4}, {"eval_every": 0}, {"eval_every": 8}]
)
def test_checkpoints_that_no_label_chose_are_no_reason_for_a_caveat(
    make_system, tmp_path, settings
):
    from dcase_asd.embeddings.kept import keep_recipe

    keep_recipe(tmp_path, make_system(**{"steps": 8, "eval_every": 2, "keep": 1} | settings))
    assert not is_chosen(tmp_path)


def test_without_labels_the_last_checkpoints_serve_and_what_is_left_out_is_said(
    data, make_system, tmp_path
):
    copy = shutil.copytree(data, tmp_path / "data")
    raw = copy / "dcase2025t2/dev_data/raw"
    for folder in raw.glob("*/test"):
        shutil.rmtree(folder)
    first = min((raw / "fan/train").iterdir())
    shutil.copy(first, first.with_name(first.name.replace("_0000_", "_0099_")))
    prepare(copy)
    progress = Silent()
    settings = {"steps": 4, "eval_every": 4, "save_every": 4, "warmup": 0, "noise_probability": 0}
    system = make_system(ensemble="last", **settings)
    done = finetune(copy, tmp_path / "run", system, device="cpu", workers=0, progress=progress)
    assert [each.score for each in done.checkpoints] == [None]
    assert "1 train clip(s) stand in several places and are used once" in progress.notes
    assert not [note for note in progress.notes if "dev score" in note]
