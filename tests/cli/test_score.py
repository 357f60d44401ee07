"""Detectors as a user asks for them: flags of score, and the list of plugins."""

import json

import pytest
from typer.testing import CliRunner

from dcase_asd.cli.app import app
from dcase_asd.errors import RecipeError, ScoresError, TooFewClipsError
from dcase_asd.recipe.detector import Detector
from dcase_asd.recipe.system import Embedding, System, read_system
from dcase_asd.recipe.toml import recipe_text
from dcase_asd.runs.runner import Setup, run_recipe


def call(*arguments):
    result = CliRunner().invoke(app, [str(each) for each in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture
def score(small_tree, tmp_path):
    folder = tmp_path / "run"
    call("prepare", "--data", small_tree)
    call("embed", "--plugin", "spectral", "--data", small_tree, "--edition", 2025, "--run", folder)

    def run(*flags):
        return call("score", folder, "--edition", 2025, *flags).output

    run.folder = folder
    return run


def test_a_detector_is_named_with_its_options_and_kept(score):
    said = score(
        *("--detector", "varmin", "--detector-option", "around=2", "--standardize"),
        *("--references", 4, "--domains", "minimum"),
    )
    told = (
        "--detector varmin, --detector-option around=2, --standardize, --references 4, "
        "--domains minimum"
    )
    assert f"scored with {told}\n" in said
    wanted = Detector("varmin", {"around": 2}, True, 4, domains="minimum")
    assert read_system(score.folder).score == wanted
    names = "--detector, --detector-option, --standardize, --references and --domains"
    assert f"scored with {told}; {names} as {score.folder}/recipe.toml says" in score()
    score("--no-standardize", "--detector", "clusters", "--references", 0)
    assert read_system(score.folder).score == Detector("clusters", domains="minimum")


def test_a_flag_of_the_nearest_clips_after_another_detector_is_told(score):
    score("--detector", "mahalanobis")
    assert "note: --neighbors: scored by the nearest train clips, not by mahalanobis" in score(
        "--neighbors", 2
    )
    assert read_system(score.folder).score == Detector(neighbors=2)


@pytest.mark.parametrize(
    ("flags", "messages"),
    [
        (("--detector", "mahalanobs"), ["is called 'mahalanobs'; did you mean 'mahalanobis'?"]),
        (
            ("--detector", "mahalanobis", "--neighbors", 2, "--density-neighbors", 3,
             "--normalize", "density", "--detector-option", "shrink=1"),
            ["normalize = density belongs", "density_neighbors belongs", "neighbors is no matter",
             "unknown name 'shrink'"],
        ),
        (("--detector", "varmin", "--detector-option", "arround=2"), ["did you mean 'around'?"]),
    ],
)  # fmt: skip
def test_what_does_not_belong_together_is_told_at_once_and_nothing_is_written(
    score, flags, messages
):
    before = (score.folder / "recipe.toml").read_bytes()
    with pytest.raises(ScoresError) as raised:
        score(*flags)
    assert "\n" not in str(raised.value)
    for message in messages:
        assert message in str(raised.value)
    assert (score.folder / "recipe.toml").read_bytes() == before
    assert not (score.folder / "scores").exists()


def test_more_neighbors_than_clips_are_told_with_the_section(score):
    with pytest.raises(TooFewClipsError, match="dev fan section 00: 99 nearest clips were asked"):
        score("--neighbors", 99)
    assert "varmin" in score("--detector", "varmin", "--detector-option", "around=99")


def test_an_option_without_a_value_names_its_flag(score):
    with pytest.raises(SystemExit):
        raise call("score", score.folder, "--edition", 2025, "--detector-option", "x").exception
    done = call("score", score.folder, "--edition", 2025, "--detector-option", "x")
    assert "--detector-option" in done.output


def test_a_recipe_with_a_wrong_detector_is_refused_before_anything_is_made(small_tree, tmp_path):
    call("prepare", "--data", small_tree)
    system = System("x", Embedding("spectral"), Detector("varmim", neighbors=2))
    (tmp_path / "x.toml").write_text(recipe_text(system))
    with pytest.raises(RecipeError, match=r"x\.toml: score: no detector is called 'varmim'"):
        run_recipe(tmp_path / "x.toml", Setup(small_tree, tmp_path / "runs", prepared=True))
    assert not (tmp_path / "runs").exists()


def test_detectors_are_listed_with_their_options():
    assert "varmin       dcase-asd  " in call("plugins").output
    rows = {
        each["name"]: each
        for each in json.loads(call("plugins", "--json", "--check").stdout)
        if each["kind"] == "detector"
    }
    assert rows["varmin"]["options"].startswith("neighbors=1 around=4 metric=cosine")
    assert rows["minimum"]["options"] == "of=nearest,mahalanobis,density,subspace"
    assert rows["minimum"]["state"] == "works"
