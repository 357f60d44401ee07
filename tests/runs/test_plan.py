import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from statistics import median

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from dcase_asd.embeddings.kept import MEMBERS
from dcase_asd.registry import choose_checkpoint, load_backbone
from dcase_asd.runs.dry_run import plan_recipes
from dcase_asd.runs.runner import Setup, run_recipe

ROOT = Path(__file__).parents[2]
FORMS = sorted((ROOT / "submissions").glob("submission_*.toml"))


@pytest.fixture(autouse=True)
def no_weights(tmp_path, monkeypatch):
    """A cache that holds no weights."""
    monkeypatch.setenv("DCASE_ASD_CACHE", str(tmp_path / "cache"))


def test_without_data_the_plan_rests_on_what_it_says(tmp_path):
    plan = plan_recipes(FORMS, Setup(tmp_path / "data", tmp_path / "runs"), tmp_path / "dist")
    single = [each for each in plan.systems if not each.fuses]
    assert len(single) == 15
    assert len(plan.systems) == 15 + 5
    assert {each.stand.training for each in single} == {"to do"}
    assert [each.package for each in plan.submissions] == ["to do"] * 4
    assert any("assumed are 1,000 train and 200 test clips" in each for each in plan.assumptions)
    assert all(each.speed is each.hours_left is None for each in plan.systems)
    needed = {text.partition(":")[0] for text in plan.needed}
    assert needed == {"EAT-base_epoch30_pretrain", "BEATs_iter3", "FISHER-small-0723"}
    assert list(tmp_path.iterdir()) == []


def test_disk_follows_the_formula(tmp_path):
    recipe = ROOT / "submissions" / "systems" / "beats_01.toml"
    setup = Setup(tmp_path / "data", tmp_path / "runs")
    (system,) = plan_recipes([recipe], setup, tmp_path / "dist").systems
    assert (system.steps, system.seen) == (30_000, 30_000 * 32)
    # 2020 to 2025: 41 + 42 + 42 + 14 + 16 + 15 sections.
    assert system.clips == 170_000
    weights = 4 * 90_311_792
    assert system.disk == pytest.approx(4 * weights + 3 * 15 * 1200 * 768 * 4)
    assert system.state == 3 * weights


def test_hours_follow_from_the_measured_speed_of_a_training_that_computes_the_same(finished):
    own, other = (form.parent / "systems" / "beats_01.toml" for form in finished.forms[:2])
    runs = finished.setup.runs
    history = [
        json.loads(line) for line in (runs / "beats_01/train.jsonl").read_text().splitlines()
    ]
    speed = median(each["clips_per_second"] for each in history)
    again = replace(finished.setup, runs=runs.parent / "other")
    (again.runs / "elsewhere").mkdir(parents=True)
    for name in ("train.jsonl", "recipe.toml"):
        shutil.copy(runs / "beats_01" / name, again.runs / "elsewhere" / name)
    (system,) = plan_recipes([own], again, finished.out).systems
    assert system.speed == speed
    assert system.hours_left == pytest.approx(system.seen / speed / 3600)
    recipe = again.runs / "elsewhere/recipe.toml"
    recipe.write_text(recipe.read_text().replace("seconds = 2.0", "seconds = 4.0"))
    (system,) = plan_recipes([other], again, finished.out).systems
    assert system.speed is system.hours_left is None
    recipe.write_text("nonsense")
    (system,) = plan_recipes([other], again, finished.out).systems
    assert system.speed is None


def test_data_on_disk_take_the_place_of_assumptions(data, cut, tmp_path):
    recipe = cut / "systems" / "beats_01.toml"
    setup = Setup(data, tmp_path / "runs", "cpu", 0, cut / "mini.toml")
    # There is no manifest yet; the recipe's years, and the overlay's.
    (whole,) = plan_recipes([recipe], Setup(data, tmp_path / "runs"), tmp_path / "dist").systems
    assert whole.clips == 170_000
    (before,) = plan_recipes([recipe], setup, tmp_path / "dist").systems
    assert before.clips == 15_000
    run_recipe(recipe, setup)
    (after,) = plan_recipes([recipe], setup, tmp_path / "dist").systems
    assert after.clips == 15 * 6
    assert (after.stand.training, after.stand.embeddings, after.stand.scores) == ("done",) * 3
    # Random weights of an architecture of its own: nothing is known of them.
    assert after.disk is None
    assert after.hours_left == 0


def test_what_is_done_is_left_out_of_the_hours_that_are_left(finished):
    plan = plan_recipes(finished.forms, finished.setup, finished.out)
    assert all(each.stand.scores == "done" for each in plan.systems)
    assert [each.package for each in plan.submissions] == ["done", "done"]
    # The same run folders under the real recipes: what the published networks would take.
    real = Setup(finished.setup.data, finished.setup.runs)
    plan = plan_recipes(finished.forms, real, finished.out)
    assert plan.total("disk") > 0
    assert plan.total("hours_left") == 0
    assert not plan.needed


def test_a_training_that_was_stopped_is_shown_with_its_step(finished, tmp_path):
    runs = tmp_path / "runs"
    kept = finished.setup.runs / "beats_01" / "checkpoints" / "kept.json"
    content = json.loads(kept.read_text()) | {"finished": False}
    content["checkpoints"] = [each for each in content["checkpoints"] if each["step"] <= 6]
    (runs / "beats_01" / "checkpoints").mkdir(parents=True)
    (runs / "beats_01" / "checkpoints" / "kept.json").write_text(json.dumps(content))
    recipe = finished.forms[0].parent / "systems" / "beats_01.toml"
    setup = Setup(finished.setup.data, runs, overlay=finished.setup.overlay)
    (system,) = plan_recipes([recipe], setup, tmp_path / "dist").systems
    step = max(each["step"] for each in content["checkpoints"])
    assert system.stand.training == f"step {step} of 8"
    assert system.stand.embeddings == "to do"


def test_the_plan_imports_no_torch(tmp_path):
    program = (
        "import sys; from dcase_asd.cli import main\n"
        "try: main()\nfinally: print('torch' in sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "run", *map(str, FORMS), "--data", str(tmp_path),
         "--dry-run", "--json"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stderr.split() == ["False"]
    plan = json.loads(done.stdout)
    assert plan["totals"]["disk"] == sum(each["disk"] or 0 for each in plan["systems"])
    assert [each["label"][-1] for each in plan["submissions"]] == list("1234")


@pytest.mark.parametrize(
    ("plugin", "layers", "tokens", "width", "architecture"),
    [
        ("beats", 12, 496, 768, None),
        ("eat", 12, 513, 768, None),
        ("fisher", 12, 373, 384 * 2, {"embed_dim": 384, "num_heads": 6}),
    ],
)
def test_the_operations_that_plugins_state_are_those_that_torch_counts(
    plugin, layers, tokens, width, architecture
):
    stated = choose_checkpoint(plugin)
    options = {} if architecture is None else {"architecture": architecture}
    backbone = load_backbone(plugin, random_weights=0, **options)
    parameters = sum(each.numel() for each in backbone.parameters())
    assert stated.parameters == parameters
    # With gradients: what is packed for computing alone is not counted.
    with FlopCounterMode(display=False) as counter:
        frames = backbone.spectrogram(torch.zeros(1, 160_000))
        backbone.tokens_from_spectrogram(frames, torch.tensor([160_000]))
    # Attention, which is not counted on a CPU: two products of n x n x d in each layer.
    attention = 4 * tokens**2 * width * layers
    counted = (counter.get_total_flops() + attention) / 1e9
    assert stated.gflop == pytest.approx(counted, rel=0.06)


def test_embeddings_are_to_do_where_none_are_there_or_a_checkpoint_is_gone(finished, tmp_path):
    run = tmp_path / "runs" / "beats_01"
    shutil.copytree(finished.setup.runs / "beats_01", run)
    recipe = finished.forms[0].parent / "systems" / "beats_01.toml"
    setup = Setup(finished.setup.data, run.parent, overlay=finished.setup.overlay)

    def planned():
        (system,) = plan_recipes([recipe], setup, tmp_path / "dist").systems
        return system.stand.training, system.stand.embeddings

    assert planned() == ("done", "done")
    shutil.rmtree(run / MEMBERS)  # embeddings of each scored checkpoint
    assert planned() == ("done", "to do")
    for checkpoint in (run / "checkpoints").glob("*.safetensors"):
        checkpoint.unlink()
    assert planned() == ("done", "to do")


@pytest.mark.parametrize(
    ("checkpoint", "known"),
    [("BEATs_iter3", True), ("weights/BEATs_iter3.pt", True), ("weights/of_my_own.pt", False)],
)
def test_disk_is_known_of_published_networks_by_their_name_or_file(tmp_path, checkpoint, known):
    recipe = tmp_path / "a.toml"
    embed = f'[embed]\nplugin = "beats"\ncheckpoint = "{checkpoint}"\n'
    recipe.write_text(f'name = "a"\n{embed}[train]\nkeep = 1\n')
    setup = Setup(tmp_path / "data", tmp_path / "runs")
    (system,) = plan_recipes([recipe], setup, tmp_path / "dist").systems
    assert (system.disk is not None) == known
    recipe.write_text(f'name = "a"\n{embed}')
    (frozen,) = plan_recipes([recipe], setup, tmp_path / "dist").systems
    assert frozen.disk == (0.0 if known else None)  # nothing is saved where nothing is trained


def test_without_an_edition_the_plan_is_for_all_that_the_manifest_holds(finished, tmp_path):
    recipe = ROOT / "submissions" / "examples" / "spectral.toml"
    setup = Setup(finished.setup.data, tmp_path / "runs")
    plan = plan_recipes([recipe], setup, tmp_path / "dist")
    assert (len(plan.systems), plan.needed) == (1, [])
    (read,) = plan.assumptions  # no edition has to be assumed
    assert read.endswith("clips of dcase2025")
