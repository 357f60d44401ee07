import shutil

import pytest

from dcase_asd.errors import RecipeError
from dcase_asd.runs.dry_run import plan_recipes
from dcase_asd.runs.recipes import read_nodes
from dcase_asd.runs.requirements import missing_weights
from dcase_asd.runs.runner import Setup, run_recipe
from dcase_asd.runs.submissions import check_recipes, run_submissions


@pytest.fixture
def no_weights(tmp_path, monkeypatch):
    """A cache that holds no weights."""
    monkeypatch.setenv("DCASE_ASD_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def single(tmp_path):
    """Write the recipe of a single system; returns its path."""

    def write(name, body):
        path = tmp_path / f"{name}.toml"
        path.write_text(f'name = "{name}"\n{body}')
        return path

    return write


def test_all_missing_weights_are_told_before_anything_runs(data, cut, tmp_path, no_weights):
    forms = [cut / "submission_1.toml", cut / "submission_2.toml"]
    runs = tmp_path / "runs"
    with pytest.raises(RecipeError) as error:
        run_submissions(forms, Setup(data, runs, "cpu"), tmp_path / "dist")
    text = str(error.value)
    # Two BEATs systems and FISHER, each set of weights told once.
    assert text.count("these weights are not here") == 2
    assert f"put BEATs_iter3.pt into {no_weights}/beats/BEATs_iter3" in text
    assert f"into {no_weights}/fisher/FISHER-small-0723" in text
    assert not runs.exists()


def test_weights_in_their_place_are_enough(single, tmp_path, no_weights):
    (node,) = read_nodes([single("a", '[embed]\nplugin = "beats"\n')])
    assert len(list(missing_weights([node], tmp_path / "runs"))) == 1
    place = no_weights / "beats" / "BEATs_iter3" / "BEATs_iter3.pt"
    place.parent.mkdir(parents=True)
    place.write_bytes(b"")
    assert not list(missing_weights([node], tmp_path / "runs"))


@pytest.mark.usefixtures("no_weights")
def test_a_system_that_is_fine_tuned_already_needs_no_weights(data, cut, tmp_path):
    recipe, runs = cut / "systems" / "beats_01.toml", tmp_path / "runs"
    check_recipes([recipe], Setup(data, runs, overlay=cut / "mini.toml"))
    run_recipe(recipe, Setup(data, runs, "cpu", 0, cut / "mini.toml"))
    (node,) = read_nodes([recipe])
    assert not list(missing_weights([node], runs))
    assert list(missing_weights([node], tmp_path / "other"))


def test_plugins_and_checkpoints_that_are_not_there_are_told(data, single, tmp_path):
    recipes = [
        single("a", '[embed]\nplugin = "beat"\n'),
        single("b", '[embed]\nplugin = "beats"\ncheckpoint = "gone.pt"\n'),
    ]
    with pytest.raises(RecipeError) as error:
        check_recipes(recipes, Setup(data, tmp_path / "runs"))
    assert "a.toml: no plugin is called 'beat'; did you mean 'beats'?" in str(error.value)
    assert "b.toml: gone.pt: no such checkpoint" in str(error.value)


@pytest.mark.usefixtures("no_weights")
def test_a_recipe_may_name_published_weights_or_a_model_of_the_hub(data, single, tmp_path):
    named = single("a", '[embed]\nplugin = "eat"\ncheckpoint = "EAT-large_epoch20_pretrain"\n')
    hub = single("b", '[embed]\nplugin = "huggingface"\ncheckpoint = "owner/model"\n')
    with pytest.raises(RecipeError) as error:
        check_recipes([named, hub], Setup(data, tmp_path / "runs"))
    assert str(error.value).startswith(f"{named}: EAT-large_epoch20_pretrain: these weights are")
    assert "`dcase-asd weights eat --checkpoint EAT-large_epoch20_pretrain`" in str(error.value)
    assert str(hub) not in str(error.value)


def test_clips_that_are_not_there_are_told(data, cut, tmp_path):
    shutil.rmtree(data / "dcase2025t2" / "eval_data")
    for noise in (data / "dcase2025t2").rglob("*_noise_*.wav"):
        noise.unlink()
    for anomaly in (data / "dcase2025t2").rglob("*_test_anomaly_*.wav"):
        anomaly.unlink()
    setup = Setup(data, tmp_path / "runs", overlay=cut / "mini.toml")
    with pytest.raises(RecipeError) as error:
        check_recipes([cut / "submission_1.toml"], setup)
    for part in (
        "no noise clip of dcase2025",
        "beats_01: ",
        "no labelled dev test clips of dcase2025",
        "to which the weights of best are fitted",
        "no evaluation clip of dcase2025",
    ):
        assert part in str(error.value)


@pytest.mark.usefixtures("no_weights")
def test_a_form_whose_edition_forbids_the_training_is_told_before_anything_runs(
    data, cut, tmp_path
):
    form = cut / "submission_1.toml"
    form.write_text(form.read_text().replace('edition = "dcase2025"', 'edition = "dcase2026"'))
    setup = Setup(data, tmp_path / "runs", overlay=cut / "mini.toml")
    forbidden = "uses what dcase2026 does not allow: train clips of dcase2025; noise clips of"
    with pytest.raises(RecipeError) as error:
        check_recipes([form], setup)
    # Once for both BEATs systems, which read the same recordings; once for FISHER without noise.
    assert str(error.value).count("does not allow") == 2
    assert forbidden in str(error.value)
    plan = plan_recipes([form], setup, tmp_path / "dist")
    assert any(forbidden in each for each in plan.needed)
    # Without a package it is analysis.
    assert not any("does not allow" in each for each in plan_recipes(
        [cut / "systems" / "beats_01.toml"], setup, tmp_path / "dist").needed)  # fmt: skip


def test_an_edition_that_is_not_there_is_told(data, single, tmp_path):
    recipe = single("a", 'editions = ["2024"]\n[embed]\nplugin = "spectral"\n')
    with pytest.raises(
        RecipeError, match=r"no clip of edition dcase2024; did you mean 'dcase2025'"
    ):
        check_recipes([recipe], Setup(data, tmp_path / "runs"))


def test_what_lacks_nothing_is_listed(data, cut, tmp_path):
    setup = Setup(data, tmp_path / "runs", overlay=cut / "mini.toml")
    names = check_recipes([cut / "submission_1.toml", cut / "systems" / "beats_01.toml"], setup)
    assert set(names) == {"baseline_fisher", "beats_01", "beats_07", "baseline", "best"}


def test_recordings_without_a_far_channel_are_told_before_anything_runs(data, single, tmp_path):
    path = single("a", '[embed]\nplugin = "spectral"\nfar = "cancel"\n')
    runs = tmp_path / "runs"
    told = r"a\.toml: dcase2025: \d+ of \d+ clips have no near and far micr.*; give --set emb"
    with pytest.raises(RecipeError, match=told):
        run_recipe(path, Setup(data, runs, "cpu"))
    assert not runs.exists()


def test_a_recipe_that_cannot_be_run_is_refused_before_anything_runs(data, single, tmp_path):
    recipe = single("a", '[embed]\nplugin = "beets"\n')
    with pytest.raises(RecipeError, match=r"a.toml: no plugin is called 'beets'; did you mean 'be"):
        run_recipe(recipe, Setup(data, tmp_path / "runs", "cpu"))
    assert not (tmp_path / "runs").exists()
