"""Every public function takes a path as text or as `pathlib.Path`, with the same result."""

import dataclasses
import importlib
import inspect
import json
import shutil
from pathlib import Path

import pytest

from dcase_asd.clips.manifest import read_manifest
from dcase_asd.clips.prepare import prepare
from dcase_asd.downloads.ground_truth import fetch_labels, plan_labels
from dcase_asd.downloads.plan import plan_download
from dcase_asd.downloads.request import Request
from dcase_asd.editions.edition import load_edition
from dcase_asd.embeddings.embed import embed
from dcase_asd.embeddings.kept import embedding_folders, read_kept, scored_checkpoints
from dcase_asd.embeddings.store import planned_markers, read_embeddings
from dcase_asd.fusion.fuse import fuse, fuse_again
from dcase_asd.fusion.members import newest_common_edition
from dcase_asd.fusion.result import read_fusion
from dcase_asd.metrics.evaluate import evaluate_run_or_folder, read_official_scores, write_results
from dcase_asd.metrics.labels import read_ground_truth
from dcase_asd.metrics.official_files import read_official_file
from dcase_asd.miniature.machines import ClipCounts
from dcase_asd.miniature.miniature import write_miniature
from dcase_asd.recipe.fusion import Fusion, is_fused, member_runs, read_fused_system
from dcase_asd.recipe.system import Embedding, System, read_system
from dcase_asd.recipe.toml import read_recipe
from dcase_asd.recipe.training import Training
from dcase_asd.registry import load_backbone
from dcase_asd.reports.report import report
from dcase_asd.runs.dry_run import plan_recipes
from dcase_asd.runs.overlay import read_overlay
from dcase_asd.runs.recipes import is_submission
from dcase_asd.runs.runner import Setup, finetune_recipe, run_recipe
from dcase_asd.runs.submissions import check_recipes, run_submissions
from dcase_asd.scores.score import changed_detector, score
from dcase_asd.scores.table import read_provenance, read_scores, scored_editions
from dcase_asd.submission.package import read_package
from dcase_asd.submission.submit import submit
from dcase_asd.submission.validate import validate
from dcase_asd.testing import check_backbone
from dcase_asd.training.data import read_training_set
from dcase_asd.training.dev_score import read_development_set
from dcase_asd.training.finetune import finetune, planned_system
from dcase_asd.training.history import read_history

ROOT = Path(__file__).parents[1]
YEAR = "dcase2025"

PUBLIC = [
    "audio",
    "backbone.contract",
    "backbone.finetuned",
    "backbone.published",
    "clips.manifest",
    "clips.prepare",
    "clips.tree",
    "downloads.ground_truth",
    "downloads.weights",
    "embeddings.embed",
    "embeddings.kept",
    "embeddings.store",
    "files",
    "folders",
    "fusion.fuse",
    "fusion.result",
    "metrics.evaluate",
    "metrics.ground_truth",
    "metrics.labels",
    "metrics.official_files",
    "miniature.miniature",
    "recipe.fusion",
    "recipe.imported",
    "recipe.system",
    "recipe.toml",
    "registry",
    "reports.report",
    "runs.demo",
    "runs.dry_run",
    "runs.overlay",
    "runs.recipes",
    "runs.runner",
    "runs.submissions",
    "scores.score",
    "scores.table",
    "submission.import_scores",
    "submission.package",
    "submission.submit",
    "submission.validate",
    "testing",
    "training.data",
    "training.dev_score",
    "training.finetune",
    "training.history",
]


@pytest.mark.parametrize("name", PUBLIC)
def test_every_parameter_that_takes_a_path_says_that_it_takes_text(name):
    module = importlib.import_module(f"dcase_asd.{name}")
    functions = {
        function: inspect.signature(function).parameters.values()
        for key, function in vars(module).items()
        if inspect.isfunction(function)
        and function.__module__ == module.__name__
        and not key.startswith("_")
    }
    assert functions
    for function, parameters in functions.items():
        for parameter in parameters:
            kind = str(parameter.annotation)
            assert "Path" not in kind or "str" in kind, f"{function.__name__}({parameter})"


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The folder that text is relative to."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_from_recordings_to_a_checked_package(here):
    counts = ClipCounts(source_train=4, target_train=2, test=2, supplemental=1)
    write_miniature("data", editions=(YEAR,), counts=counts)
    assert len(prepare("data").clips) == len(read_manifest("data"))
    for name, statistics in (("a", ["mean"]), ("b", ["std"])):
        system = System(name, Embedding("spectral", None, {"statistics": statistics}))
        assert embed("data", f"runs/{name}", YEAR, system, "cpu").made
        assert score(f"runs/{name}", YEAR).changed
    assert changed_detector("runs/a", {"neighbors": 2}).neighbors == 2
    assert read_system("runs/a") == read_system(Path("runs/a"))
    assert read_recipe("runs/a/recipe.toml", System) == read_system("runs/a/recipe.toml")
    assert len(read_embeddings("runs/a", YEAR)) == len(planned_markers("runs/a", YEAR))
    assert read_scores("runs/a", YEAR).equals(read_scores(Path("runs/a"), YEAR))
    assert read_provenance("runs/a", YEAR)["backbone"] == "spectral"
    assert (scored_editions("runs/a"), embedding_folders("runs/a")) == ([YEAR], [Path("runs/a")])

    assert newest_common_edition(["runs/a", Path("runs/b")]) == YEAR
    fusion = Fusion(("a", "b"), method="mean")
    assert fuse(["runs/a", Path("runs/b")], "runs/ab", YEAR, fusion).changed
    assert not fuse_again("runs/ab", YEAR).changed
    assert is_fused("runs/ab")
    assert member_runs("runs/ab", read_fused_system("runs/ab").fusion)[0] == Path("runs/a")
    assert read_fusion("runs/ab", YEAR) == read_fusion(Path("runs/ab"), YEAR)

    truth = f"data/ground_truth/{YEAR}"
    rules = load_edition(YEAR)
    assert read_ground_truth(truth, rules).equals(read_ground_truth(Path(truth), rules))
    found = [
        evaluate_run_or_folder(kind("runs/ab"), YEAR, kind(truth), resamples=0)
        for kind in (str, Path)
    ]
    assert found[0] == found[1]
    written = write_results(found[0], json="r.json", csv="r.csv", markdown="r.md", latex="r.tex")
    assert written == [Path("r.json"), Path("r.csv"), Path("r.md"), Path("r.tex")]
    assert json.loads(Path("r.json").read_text())["target"] == "ab"
    page = report(["runs/a", "runs/ab"], YEAR, truth, "report", resamples=0, machines=["ToyRCCar"])
    assert page.page == Path("report/report.html")

    shutil.copy(ROOT / "submissions/examples/submission.toml", "form.toml")
    Path("r.pdf").write_bytes(b"%PDF-1.4\n")
    label = "Lastname_INST_task2_1"
    done = submit("runs/ab", YEAR, label, "dist", form="form.toml", report="r.pdf")
    assert done.archive == Path("dist/Lastname_INST_task2.zip")
    for run in ("runs/ab", f"{label}=runs/ab", Path("runs/ab")):
        assert validate(str(done.archive), YEAR, "data", [run]).accepted()
    assert read_package("dist/Lastname_INST_task2.zip").files
    official = read_official_scores(str(done.folder), rules)
    first = next(done.folder.glob("anomaly_score_*.csv"))
    assert len(read_official_file(str(first))) < len(official)


def test_recipes_and_forms(here, small_tree):
    Path("a.toml").write_text('name = "a"\n[embed]\nplugin = "spectral"\n')
    Path("over.toml").write_text("[score]\nneighbors = 2\n")
    setup = Setup("data", "runs", "cpu", overlay="over.toml")
    assert setup == Setup(Path("data"), Path("runs"), "cpu", overlay=Path("over.toml"))
    assert read_overlay("over.toml").tables == read_overlay(Path("over.toml")).tables
    assert not is_submission("a.toml")
    assert check_recipes(["a.toml"], setup) == ["a"]
    assert run_recipe("a.toml", setup).run == Path("runs/a")
    assert not finetune_recipe("a.toml", setup)
    assert read_system("runs/a").score.neighbors == 2
    assert plan_recipes(["a.toml"], setup, "dist").systems[0].stand.scores == "done"
    assert run_submissions([], setup, "dist").submissions == []


def test_fine_tuning_and_its_checkpoints(here, small_tree):
    prepare("data")
    small = {"encoder_layers": 1, "encoder_embed_dim": 16, "encoder_ffn_embed_dim": 16,
             "encoder_attention_heads": 2, "embed_dim": 16}  # fmt: skip
    settings = {"steps": 1, "accumulation": 1, "batch_size": 2, "warmup": 0, "seconds": 0.5,
                "eval_every": 0, "save_every": 0, "embedding": 8, "bottleneck": 4,
                "noise_probability": 0.0}  # fmt: skip
    load_backbone("beats", random_weights=0, architecture=small).save("weights")
    system = planned_system("runs/x", plugin="beats", checkpoint="weights", settings=settings)
    done = finetune("data", "runs/x", system, device="cpu", workers=0)
    assert done.scored == tuple(scored_checkpoints("runs/x"))
    assert read_kept("runs/x") == read_kept(Path("runs/x"))
    assert read_history("runs/x") == read_history(Path("runs/x"))
    training = Training(**settings)
    assert read_training_set("data", training).clips.equals(
        read_training_set(Path("data"), training).clips
    )
    assert read_development_set("data", training).data == Path("data")
    again = planned_system(Path("runs/y"), "runs/x/recipe.toml")
    assert dataclasses.replace(again, name="x") == planned_system("runs/x")
    backbone = load_backbone("beats", str(done.scored[0]))
    assert backbone.options == load_backbone("beats", done.scored[0]).options
    check_backbone(load_backbone("spectral"), str(here))


def test_downloads(here):
    Path("zips").mkdir()
    request = Request("data", ("2025",), machines=("ToyCar",), source="zips")
    assert (request.data, request.source) == (Path("data"), Path("zips"))
    assert all(file.problem for file in plan_download(request).files)
    (plan,) = plan_labels("data", ["2024"])
    assert plan.folder == Path("data/ground_truth/dcase2024")
    for name in ("ground_truth_data", "ground_truth_domain"):
        (Path("checkout") / name).mkdir(parents=True)
        (Path("checkout") / name / "x.csv").write_text("section_00_0000.wav,0\n")
    fetch_labels(plan, checkout="checkout")
    assert (plan.folder / "ground_truth_data/x.csv").is_file()
