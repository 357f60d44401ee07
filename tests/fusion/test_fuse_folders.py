"""Which folders `fuse` writes, makes whole, fuses again, replaces and leaves alone."""

from __future__ import annotations

import dataclasses
import shutil

import pytest
from reference_fusion import Systems

from dcase_asd.errors import ArtifactError, DataError
from dcase_asd.files import only_writer
from dcase_asd.fusion.fuse import fuse, fuse_again
from dcase_asd.fusion.result import fusion_path, read_fusion
from dcase_asd.progress import Silent
from dcase_asd.recipe.fusion import Fusion, read_fused_system
from dcase_asd.scores.table import scores_path


def test_unchanged_scores_are_not_fused_again(systems):
    progress = Silent()
    done = systems.fuse(progress=progress)
    before = {path: path.stat().st_mtime_ns for path in systems.run("fused").rglob("*.*")}
    assert systems.fuse(progress=progress) == dataclasses.replace(done, changed=False)
    assert fuse_again(systems.run("fused"), "2025") == dataclasses.replace(done, changed=False)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert progress.notes == [*done.result.notes] * 2


def test_changed_scores_are_fused_again_even_by_hand(systems):
    done = systems.fuse()
    path = scores_path(systems.run("a"), "dcase2025")
    text = path.read_text()
    path.write_text(text.replace(text.splitlines()[5].rpartition(",")[2], "77.5"))
    again = systems.fuse()
    assert again.changed
    assert again.result.fingerprint != done.result.fingerprint


@pytest.mark.parametrize("lost", ["scores", "marker", "fusion", "recipe"])
def test_a_killed_fusion_is_made_whole_by_the_same_command(systems, lost):
    done = systems.fuse()
    run = systems.run("fused")
    whole = {path: path.read_bytes() for path in run.rglob("*.*")}
    gone = {
        "scores": done.path,
        "marker": done.path.with_suffix(".json"),
        "fusion": fusion_path(run, "dcase2025"),
        "recipe": run / "recipe.toml",
    }[lost]
    gone.unlink()
    if lost == "recipe":  # nothing says any more what the folder is
        with pytest.raises(ArtifactError, match="holds something else than a fusion"):
            systems.fuse()
        return
    assert systems.fuse().changed
    assert {path: path.read_bytes() for path in whole} == whole


def test_a_damaged_result_is_made_again(systems):
    systems.fuse()
    path = fusion_path(systems.run("fused"), "dcase2025")
    whole = path.read_bytes()
    path.write_text('{"edition": "dcase2025"}')
    assert read_fusion(systems.run("fused"), "dcase2025") is None
    assert systems.fuse().changed
    assert path.read_bytes() == whole


def test_other_settings_are_refused_and_replaced_only_when_asked(systems):
    systems.fuse()
    with pytest.raises(ArtifactError, match="fused with other settings") as error:
        systems.fuse(method="mean")
    assert "(method was 'grid' and is 'mean')" in str(error.value)
    assert str(error.value).endswith("give another --run, or replace it with --overwrite")
    assert read_fused_system(systems.run("fused")).fusion.method == "grid"
    assert systems.fuse(method="mean", overwrite=True).changed
    assert read_fused_system(systems.run("fused")).fusion.method == "mean"


def test_another_number_of_resamples_is_no_other_fusion(systems):
    first = systems.fuse()
    second = systems.fuse(resamples=5)
    assert second.changed
    assert second.result.weights == first.result.weights
    assert second.result.bootstrap.resamples == 5


def test_replacing_a_fusion_drops_its_other_editions(systems, make_entry):
    systems.fuse()
    older = make_entry("dcase2024").scores
    Systems(systems.folder, "dcase2024", older, dict.fromkeys("abc", 1.0)).fuse()
    run = systems.run("fused")
    assert scores_path(run, "dcase2024").exists()
    systems.fuse(method="mean", overwrite=True)
    left = sorted(path.name for path in run.rglob("dcase*"))
    assert left == ["dcase2025.csv", "dcase2025.json", "dcase2025.json"]


def test_litter_makes_no_other_kind_of_run_folder(systems):
    run = systems.run("fused")
    run.mkdir()
    (run / ".DS_Store").write_bytes(b"litter")
    assert systems.fuse().path.is_file()


def test_no_other_kind_of_run_folder_is_overwritten(systems):
    for name, text in (("a", None), ("notes", "mine")):
        path = systems.run(name)
        path.mkdir(exist_ok=True)
        if text:
            (path / "notes.txt").write_text(text)
        with pytest.raises(ArtifactError, match=r"fused into itself|holds something else"):
            systems.fuse(name, overwrite=True)
    systems.run("file").write_text("mine")
    with pytest.raises(ArtifactError, match="file: a file; give another --run"):
        systems.fuse("file")


def test_only_one_process_writes_a_fusion(systems):
    with (
        only_writer(systems.run("fused")),
        pytest.raises(ArtifactError, match="another dcase-asd is writing this folder"),
    ):
        systems.fuse()


def test_runs_elsewhere_are_found_again_from_the_run_folder(systems, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fusion = Fusion(("runs/a", "runs/b", "runs/c"), resamples=0, select="best:1", always=("a",))
    runs = [systems.run(name).relative_to(tmp_path) for name in "abc"]
    target = tmp_path / "elsewhere" / "fused"
    fuse(runs, target, "2025", fusion)
    recipe = read_fused_system(target)
    assert recipe.name == "fused"
    assert recipe.fusion.systems == ("../runs/a", "../runs/b", "../runs/c")
    assert recipe.fusion.always == ("../runs/a",)
    moved = tmp_path / "moved"
    moved.mkdir()
    for name in ("runs", "elsewhere"):
        shutil.move(tmp_path / name, moved / name)
    assert not fuse_again(moved / "elsewhere" / "fused", "2025").changed


def test_a_system_that_is_gone_is_told_when_the_fusion_is_applied_again(systems):
    systems.fuse()
    shutil.rmtree(systems.run("b"))
    with pytest.raises(DataError, match="b: no such run folder"):
        fuse_again(systems.run("fused"), "2025")
