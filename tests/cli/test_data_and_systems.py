"""prepare, labels, plugins, embed, score as a user runs them."""

import json
import shutil

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from dcase_asd.cli.app import app
from dcase_asd.embeddings import embed as module
from dcase_asd.embeddings.embed import Embedded
from dcase_asd.errors import DcaseAsdError
from dcase_asd.recipe.system import Embedding, System
from dcase_asd.recipe.toml import recipe_text
from dcase_asd.recipe.training import Training


@pytest.fixture
def run():
    def invoke(*arguments):
        done = CliRunner().invoke(app, [str(argument) for argument in arguments])
        if isinstance(done.exception, DcaseAsdError):
            raise done.exception
        return done

    return invoke


def test_prepare_prints_what_there_is(run, small_tree):
    done = run("prepare", "--data", small_tree)
    assert done.exit_code == 0
    header, row, last = done.stdout.splitlines()
    assert header.split()[:6] == ["edition", "stage", "machine", "sections", "train", "domains"]
    expected = "dcase2025 dev fan 00 6 4/2 8 8 2 0 1 0.5 16000 1 0"
    assert " ".join(row.split()) == expected
    assert last == f"15 clips, 0 left out, 15 files read; {small_tree}/clips.csv written"
    assert run("prepare", "--data", small_tree).stdout.endswith("0 files read; "
        f"{small_tree}/clips.csv unchanged\n")  # fmt: skip


def test_a_manifest_elsewhere_serves_every_other_command(run, small_tree, tmp_path):
    elsewhere = tmp_path / "my tables"
    lines = run("prepare", "--data", small_tree, "--manifest", elsewhere).stdout.splitlines()
    assert lines[-2:] == [
        f"15 clips, 0 left out, 15 files read; {elsewhere}/clips.csv written",
        f"give --data '{elsewhere}' to the other commands",
    ]
    assert not list(small_tree.glob("*.csv"))
    assert run("labels", "--data", elsewhere).stdout.splitlines()[-1].startswith("2 classes of 6")
    folder = tmp_path / "runs/spectral"
    run("embed", "--plugin", "spectral", "--data", elsewhere, "--edition", "2025", "--run", folder)
    run("score", folder, "--edition", "2025")
    assert "official score" in run("evaluate", folder, "--edition", "2025").stdout
    found = json.loads(
        run("prepare", "--data", small_tree, "--manifest", elsewhere, "--json").stdout
    )
    assert found["manifest"] == f"{elsewhere}/clips.csv"


def test_prepare_packs_where_it_is_asked_to(run, small_tree, write_clip):
    train = small_tree / "dcase2025t2/dev_data/raw/fan/train"
    write_clip(train / "section_00_source_train_normal_0050_m-n_W.wav", 50, subtype="PCM_24")
    *_, last = run("prepare", "--data", small_tree, "--pack").stdout.splitlines()
    assert last == (
        "packed: 15 recordings, 1 without 16-bit samples left out, 240 kB; 1 machine(s) now, "
        "0 before"
    )
    found = json.loads(run("prepare", "--data", small_tree, "--pack", "--json").stdout)
    assert found["packed"] == {
        "written": 0, "kept": 1, "recordings": 15, "left_out": 1, "bytes": 240_000
    }  # fmt: skip
    assert "packed" not in json.loads(run("prepare", "--data", small_tree, "--json").stdout)


def test_prepare_names_the_first_problems_and_counts_the_rest(run, small_tree):
    for index in range(12):
        (small_tree / f"dcase2025t2/dev_data/raw/fan/train/{index:02d}.txt").write_text("x")
    lines = run("prepare", "--data", small_tree).stdout.splitlines()
    assert sum(line.startswith("left out: dcase2025t2/") for line in lines) == 10
    assert f"left out: 2 more; see {small_tree}/clips.problems.csv" in lines


def test_prepare_says_what_it_assumed_and_what_changed(run, small_tree, write_clip):
    run("prepare", "--data", small_tree)
    train = small_tree / "dcase2025t2/dev_data/raw/fan/train"
    name = "section_00_target_train_normal_000{}_m-n_X.wav"
    for index in range(2):
        sound = 9000 * np.sin(np.arange(8000) + index)
        soundfile.write(train / name.format(index), sound, 16000, subtype="FLOAT")
    write_clip(train / name.format(7), 70)
    lines = run("prepare", "--data", small_tree).stdout.splitlines()
    assert lines[2:4] == [
        f"assumed: dcase2025t2/dev_data/raw/fan/train/{name.format(0)}: float samples up to 9,000 "
        "are taken for 16-bit integers: divided by 32,768 (and 1 more such); "
        f"see {small_tree}/clips.notes.csv",
        f"since the last time: 1 new ({name.format(7)}), "
        f"2 changed ({name.format(0)}, {name.format(1)})",
    ]
    found = json.loads(run("prepare", "--data", small_tree, "--json").stdout)
    assert [note["path"].rpartition("/")[2] for note in found["notes"]] == [
        name.format(0), name.format(1)
    ]  # fmt: skip


def test_prepare_speaks_json(run, small_tree):
    found = json.loads(run("prepare", "--data", small_tree, "--json").stdout)
    assert found["clips"] == 15
    assert found["machines"][0]["train"] == 6
    assert found["problems"] == []


def test_labels_prints_classes_with_clips_and_sub_centers(run, small_tree):
    run("prepare", "--data", small_tree)
    assert run("labels", "--data", small_tree).stdout.splitlines() == [
        "class                   clips  sub-centers",
        "fan/00/m-n_W/dcase2025      4            1",
        "fan/00/m-n_X/dcase2025      2            1",
        "2 classes of 6 train clips, 2 sub-centers",
    ]
    found = json.loads(run("labels", "--data", small_tree, "--edition", "2025", "--json").stdout)
    assert found[1] == {"label": "fan/00/m-n_X/dcase2025", "sub_centers": 1, "clips": 2}
    with pytest.raises(DcaseAsdError, match="no clip of edition dcase2024"):
        run("labels", "--data", small_tree, "--edition", "2024")


def test_plugins_are_listed_and_checked(run):
    listed = json.loads(run("plugins", "--json").stdout)
    assert "spectral" in [plugin["name"] for plugin in listed]
    checked = {
        each["name"]: each["state"]
        for each in json.loads(run("plugins", "--check", "--json").stdout)
    }
    assert checked["spectral"] == "works"
    assert run("plugins").stdout.startswith("name ")


def test_a_system_is_embedded_and_scored(run, small_tree, tmp_path):
    run("prepare", "--data", small_tree)
    folder = tmp_path / "runs" / "spectral"
    arguments = [
        "embed",
        "--plugin",
        "spectral",
        "--data",
        small_tree,
        "--edition",
        "2025",
        "--run",
        folder,
    ]
    options = ["--option", "mel_bins=64", "--option", 'statistics=["mean"]', "--batch-size", "4"]
    assert (
        run(*arguments, *options).stdout
        == f"{folder}: 14 clips, 1 machine(s) embedded, 0 were complete\n"
    )
    done = run("score", folder, "--edition", "dcase2025", "--detector", "nearest",
               "--no-standardize", "--normalize", "domain")  # fmt: skip
    assert done.stdout == (
        f"{folder}/scores/dcase2025.csv: 8 test and 6 train clips scored\n"
        "scored with --neighbors 1, --domains pooled, --normalize domain\n"
    )
    # Embedding again keeps what `score` was told, and `score` says that it goes on with it.
    run(*arguments, *options)
    assert 'normalize = "domain"' in (folder / "recipe.toml").read_text()
    done = run("score", folder, "--edition", "dcase2025", "--domains", "minimum")
    assert done.stdout.splitlines()[1] == (
        "scored with --neighbors 1, --domains minimum, --normalize domain; "
        f"--normalize as {folder}/recipe.toml says"
    )
    done = run("score", folder, "--edition", "dcase2025", "--normalize", "density")
    assert done.stdout.splitlines()[1] == (
        "scored with --neighbors 1, --domains minimum, --normalize density, "
        f"--density-neighbors 16; --domains as {folder}/recipe.toml says"
    )
    done = run("score", folder, "--edition", "dcase2025", "--normalize", "none")
    assert done.stdout.splitlines()[1].endswith(
        f"--normalize none; --domains as {folder}/recipe.toml says"
    )
    with pytest.raises(DcaseAsdError, match="made with other settings"):
        run(*arguments)
    for flag, wrong in (("--normalize", "domian"), ("--domains", "polled")):
        done = run("score", folder, "--edition", "dcase2025", flag, wrong)
        assert done.exit_code == 2
        assert f"'{wrong}' is not one of" in done.stderr


def test_a_run_is_gone_on_with_as_its_recipe_says_and_may_change_its_batch_size(
    run, small_tree, tmp_path
):
    run("prepare", "--data", small_tree)
    folder = tmp_path / "runs" / "spectral"
    base = ["embed", "--data", small_tree, "--edition", "2025", "--run", folder]
    run(*base, "--plugin", "spectral", "--option", "mel_bins=64", "--channel", "0")
    for size in ("8", "3"):
        done = run(*base, "--batch-size", size)
        assert done.stdout.endswith("0 machine(s) embedded, 1 were complete\n")
        assert f"batch_size = {size}\n" in (folder / "recipe.toml").read_text()
    assert "mel_bins = 64" in (folder / "recipe.toml").read_text()
    with pytest.raises(DcaseAsdError, match=r"other settings \(channel was 0 and is 1\); give"):
        run(*base, "--channel", "1")
    with pytest.raises(DcaseAsdError, match=r"options was \{'mel_bins': 64\} and is"):
        run(*base, "--option", "mel_bins=32")


def test_an_option_that_is_no_pair_is_wrong_usage(run, small_tree, tmp_path):
    done = run("embed", "--plugin", "spectral", "--data", small_tree, "--edition", "2025",
               "--run", tmp_path / "x", "--option", "mel_bins")  # fmt: skip
    assert done.exit_code == 2
    assert "not of the form name=value" in done.stderr


def test_an_option_of_plain_text_needs_no_quotes(run, small_tree, tmp_path):
    run("prepare", "--data", small_tree)
    with pytest.raises(DcaseAsdError, match="no option 'window'"):
        run("embed", "--plugin", "spectral", "--data", small_tree, "--edition", "2025",
            "--run", tmp_path / "x", "--option", "window=povey")  # fmt: skip


def test_the_representation_of_a_fine_tuned_run_is_a_flag(run, small_tree, tmp_path, monkeypatch):
    folder, told = tmp_path / "tuned", []
    folder.mkdir()
    monkeypatch.setattr(module, "embed", lambda *given: told.append(given[3]) or Embedded(1, 0, 2))
    command = ("embed", "--data", small_tree, "--edition", "2025", "--run", folder)
    recipe = folder / "recipe.toml"
    recipe.write_text(recipe_text(System("tuned", Embedding("eat"), train=Training(seed=3))))
    run(*command)
    run(*command, "--representation", "cls")
    run(*command, "--representation", "pooled", "--plugin", "eat", "--batch-size", "4")
    assert [each.train for each in told] == [
        Training(seed=3, representation=each) for each in ("dense", "cls", "pooled")
    ]
    assert told[2].embed.batch_size == 4
    refused = run(*command, "--representation", "token")
    assert refused.exit_code == 2
    assert "'dense', 'pooled', 'cls'" in refused.output
    recipe.write_text(recipe_text(System("plain", Embedding("eat"))))
    refused = run(*command, "--representation", "cls")
    assert refused.exit_code == 2
    said = " ".join(refused.output.replace("│", " ").split())
    assert "is not fine-tuned" in said.replace("fine- tuned", "fine-tuned")
    assert "--option representation=cls" in said
    assert len(told) == 3


def test_prepare_says_that_the_same_audio_stands_in_several_places(run, small_tree):
    train = small_tree / "dcase2025t2/dev_data/raw/fan/train"
    name = "section_00_source_train_normal_{}_m-n_W.wav"
    for copy in ("0008", "0009"):
        shutil.copy(train / name.format("0000"), train / name.format(copy))
    told = run("prepare", "--data", small_tree).stdout
    table = small_tree / "clips.duplicates.csv"
    assert f"several places: 3 clips, 1 recordings; see {table}" in told
