"""Recipes of 2026: the embeddings that are clustered are another recipe's, which is run first."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from dcase_asd.backbone import read_tensors
from dcase_asd.clips.prepare import prepare
from dcase_asd.embeddings.rules import uses_of_run
from dcase_asd.errors import DataError, RecipeError, SubmissionError
from dcase_asd.miniature.machines import ClipCounts
from dcase_asd.miniature.miniature import write_miniature
from dcase_asd.recipe.system import read_system
from dcase_asd.runs import side_by_side
from dcase_asd.runs.cluster import Cluster, plan_jobs
from dcase_asd.runs.dry_run import plan_recipes
from dcase_asd.runs.recipes import read_nodes
from dcase_asd.runs.runner import Setup, run_recipe
from dcase_asd.runs.side_by_side import Fleet, run_side_by_side
from dcase_asd.runs.submissions import run_submissions
from dcase_asd.runs.sweep import Search, run_sweep
from dcase_asd.training.data import read_training_set
from dcase_asd.training.finetune import finetune

YEAR = Path(__file__).parents[2] / "submissions" / "2026"
COUNTS = ClipCounts(source_train=4, target_train=2, test=2)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """All machines of 2026 with a handful of clips each."""
    data = tmp_path_factory.mktemp("pairs") / "data"
    write_miniature(data, editions=["dcase2026"], counts=COUNTS)
    prepare(data)
    return data


@pytest.fixture(scope="module")
def year(tmp_path_factory):
    """The recipes, with an overlay that makes them as short as can be."""
    folder = tmp_path_factory.mktemp("recipes") / "2026"
    shutil.copytree(YEAR, folder)
    mini = (folder / "mini.toml").read_text()
    for before, after in (
        ("steps = 120", "steps = 4"),
        ("batch_size = 16", "batch_size = 4"),
        ("warmup = 20", "warmup = 1"),
        ("save_every = 30", "save_every = 0"),
        ("encoder_layers = 2", "encoder_layers = 1"),
    ):
        assert before in mini
        mini = mini.replace(before, after)
    (folder / "mini.toml").write_text(mini)
    return folder


@pytest.fixture(scope="module")
def finished(pairs, year, tmp_path_factory):
    """The submission of 2026, run once: its setup, its package and what that gave."""
    folder = tmp_path_factory.mktemp("finished")
    setup = Setup(pairs, folder / "runs", "cpu", 0, year / "mini.toml")
    out = folder / "dist"
    return setup, out, run_submissions([year / "submission_1.toml"], setup, out)


@pytest.fixture
def setup(pairs, year, tmp_path):
    return Setup(pairs, tmp_path / "runs", "cpu", 0, year / "mini.toml")


def test_2026_goes_from_recordings_to_a_valid_package(finished):
    setup, _, done = finished
    (validation,) = done.validations
    assert validation.errors == 0
    assert validation.edition == "dcase2026"
    warnings = " ".join(problem.what for problem in validation.problems)
    assert "external data" not in warnings
    lora, bands = (read_system(setup.runs / name) for name in ("beats_lora", "beats_bands"))
    assert lora.train.pseudo_run == str(setup.runs / "beats_bands")
    assert lora.embed.far == bands.embed.far == "cancel"
    assert set(sum(uses_of_run(setup.runs / "beats_lora").values(), ())) == {"dcase2026"}


def test_classes_are_attributes_or_clusters_each_of_one_domain(finished):
    setup, _, _ = finished
    (path,) = (setup.runs / "beats_lora/checkpoints").glob("step_*.safetensors")
    about = read_tensors(path)[1]
    assert about["far"] == "cancel"
    classes = json.loads(about["classes"])
    assert set(classes.values()) == {16}
    of = {name: {each for each in classes if each.startswith(f"{name}/")} for name in
          ("ToyCar", "fan", "ToothBrush")}  # fmt: skip
    assert of["ToothBrush"] == {
        "ToothBrush/00/cluster_source_0/dcase2026/source",
        "ToothBrush/00/cluster_source_1/dcase2026/source",
        "ToothBrush/00/cluster_target_0/dcase2026/target",
    }
    assert len(of["ToyCar"]) == 3
    assert all("rpm_" in each for each in of["fan"])
    assert {each.rpartition("/")[2] for each in of["fan"]} == {"source", "target"}


def test_what_is_done_is_not_done_again_also_by_another_path_to_the_runs(
    finished, year, monkeypatch
):
    setup, out, done = finished
    monkeypatch.chdir(setup.runs.parent)
    (again,) = run_submissions(
        [year / "submission_1.toml"], replace(setup, runs=Path("runs")), out
    ).submissions
    assert not again.changed
    assert (
        again.submitted.archive.read_bytes() == done.submissions[0].submitted.archive.read_bytes()
    )


def test_the_package_of_another_year_is_told_before_anything_runs(setup, year, tmp_path):
    package = tmp_path / "dist/Lastname_INST_task2"
    package.mkdir(parents=True)
    (package / "package.json").write_text('{"edition": "dcase2025"}')
    with pytest.raises(SubmissionError, match=r"a package for dcase2025, not dcase2026; .*--out"):
        run_submissions([year / "submission_1.toml"], setup, tmp_path / "dist")
    assert not setup.runs.exists()


def test_a_plan_knows_both_systems_and_needs_no_clusters_yet(setup, year, tmp_path):
    plan = plan_recipes([year / "submission_1.toml"], setup, tmp_path / "dist")
    assert [each.name for each in plan.systems] == ["beats_bands", "beats_lora"]
    assert plan.systems[1].clips == 12 * 6
    assert plan.needed == []
    assert not setup.runs.exists()


def test_without_pairs_of_channels_nothing_begins(year, setup, small_miniature):
    data = shutil.copytree(small_miniature, setup.runs.parent / "mono")
    prepare(data)
    value = 'train.editions=["dcase2025"]'
    mono = replace(setup, data=data, values=(value,))
    with pytest.raises(RecipeError) as caught:
        run_recipe(year / "systems/beats_lora.toml", mono)
    assert "give --far none to train on channel 0 as it is" in str(caught.value)
    assert not setup.runs.exists()


def test_a_launcher_starts_the_training_after_what_it_clusters(monkeypatch, setup, year):
    made = []
    monkeypatch.setattr(side_by_side, "_follow", lambda words, *_: made.append(words) or True)
    recipe = year / "systems/beats_lora.toml"
    names = run_side_by_side([recipe], setup, Fleet(launch="true"), lambda _: None)
    assert names == ["beats_bands", "beats_lora"]
    of_lora = made[1:] if "beats_bands.toml" in made[0][4] else made
    first, training, rest = of_lora[-3:]
    assert first[4] == str(year / "systems/beats_bands.toml")
    assert training[0] == "true"
    assert training[-1] == "--train-only"
    assert rest[4] == str(recipe)


def test_jobs_of_a_cluster_wait_for_what_they_cluster(setup, year):
    recipe = year / "systems/beats_lora.toml"
    jobs = plan_jobs([recipe], setup, Fleet(), Cluster("slurm"), Path("dist"))
    assert [(job.name, job.after) for job in jobs] == [
        ("beats_bands", ()),
        ("beats_lora-train", ("beats_bands",)),
        ("beats_lora", ("beats_lora-train",)),
    ]


def test_finetune_alone_wants_a_run_folder(pairs, year, tmp_path):
    system = read_nodes([year / "systems/beats_lora.toml"])[0].recipe
    said = "pseudo_run is the recipe beats_bands.toml, which only the command `run` runs first"
    with pytest.raises(DataError, match=said):
        finetune(pairs, tmp_path / "run", system, device="cpu")


def test_a_recipe_that_clusters_itself_or_what_is_not_there_is_told(year, tmp_path):
    text = (year / "systems/beats_lora.toml").read_text()
    (tmp_path / "beats_bands.toml").write_text(text)
    with pytest.raises(RecipeError, match="is made of itself"):
        read_nodes([tmp_path / "beats_bands.toml"])
    (tmp_path / "alone.toml").write_text(text.replace("beats_bands", "nowhere"))
    with pytest.raises(RecipeError, match=r"nowhere\.toml: no such recipe file, which .*alone"):
        read_nodes([tmp_path / "alone.toml"])


def test_a_sweep_finds_what_its_trials_cluster(setup, year, tmp_path):
    search = Search(("train.lora_rank=2,4",), edition="dcase2026")
    found = run_sweep(year / "systems/beats_lora.toml", tmp_path / "sweep", search, setup)
    assert [each.problem for each in found.trials] == ["", ""]
    assert (tmp_path / "sweep/beats_bands/pseudo_labels").is_dir()


def test_clusters_and_machines_of_few_clips(pairs, finished, tmp_path):
    setup, _, _ = finished
    train = read_system(setup.runs / "beats_lora").train
    train = replace(train, pseudo_run=str(setup.runs / "beats_bands"))
    with pytest.raises(DataError, match=r"4 train clip\(s\) cannot make 5 clusters; ask for fewer"):
        read_training_set(pairs, replace(train, pseudo_clusters=5))
    one = tmp_path / "data"
    shutil.copytree(pairs, one)
    slider = one / "dcase2026t2/dev_data/raw/sliderEmu/train"
    for path in sorted(slider.iterdir())[1:]:
        path.unlink()
    prepare(one)
    share = replace(train, pseudo_clusters=0)
    bands = read_nodes([YEAR / "systems/beats_bands.toml"])[0].path
    alone = Setup(one, tmp_path / "runs", "cpu", 0, setup.overlay)
    run_recipe(bands, alone)
    chosen = read_training_set(one, replace(share, pseudo_run=str(tmp_path / "runs/beats_bands")))
    of_slider = [each for each in chosen.classes if each.label.startswith("sliderEmu")]
    assert [(each.label, each.clips) for each in of_slider] == [
        ("sliderEmu/00/cluster_source_0/dcase2026/source", 1)
    ]
