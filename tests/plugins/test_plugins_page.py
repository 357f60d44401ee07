"""The page for plugin authors: its code runs, and does what the page says."""

import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch

from dcase_asd.errors import BackboneError
from dcase_asd.registry import Plugin, named_checkpoints

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, flags=re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def page():
    """What the page's code defines, after its own checks have passed."""
    space = {"__name__": "page"}
    for source in blocks("python"):
        exec(source, space)  # noqa: S102 - the page's own text
    return space


def test_an_embedding_is_the_mean_over_the_tokens_of_a_clip(page):
    backbone = page["Levels"]()
    clips = torch.zeros(2, 1000)
    clips[0, :400], clips[0, 400:800], clips[1, :400] = 0.5, -1.0, 0.5
    found = backbone.embed(clips, torch.tensor([800, 400]))
    assert found.tolist() == [[0.625, 0.75], [0.25, 0.5]]


def test_options_are_the_arguments_of_the_class_and_checked(page):
    assert page["Scaled"].option_names() == ["stretch", "scale"]
    assert page["Weighted"].option_names() == ["stretch"]
    with pytest.raises(BackboneError, match=r"no scale is called 'linaer'; did you mean 'linear'"):
        page["Scaled"](scale="linaer")


def test_published_weights_are_read_key_by_key_and_saved_ones_by_default(page, tmp_path):
    torch.save({"cfg": {}, "model": {"weight": torch.tensor([2.0, 3.0])}}, tmp_path / "x.pt")
    backbone = page["Weighted"].from_checkpoint(tmp_path / "x.pt", stretch=100)
    assert backbone.weight.tolist() == [2, 3]
    backbone.save(tmp_path / "saved")
    again = page["Weighted"].from_checkpoint(tmp_path / "saved")
    assert (again.weight.tolist(), again.options) == ([2, 3], {"stretch": 100})
    assert page["Weighted"].from_checkpoint(tmp_path / "saved", stretch=200).stretch == 200
    torch.save({"cfg": {}, "model": {"wieght": torch.ones(2)}}, tmp_path / "x.pt")
    with pytest.raises(BackboneError, match="another model's tensors"):
        page["Weighted"].from_checkpoint(tmp_path / "x.pt")


def test_entry_point_and_list_of_checkpoints_are_read(tmp_path, monkeypatch):
    entry_points, checkpoints = blocks("toml")
    group = tomllib.loads(entry_points)["project"]["entry-points"]["dcase_asd.backbones"]
    package = tmp_path / group["levels"].partition(":")[0]
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "checkpoints.toml").write_text(checkpoints, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    (found,) = named_checkpoints(Plugin("levels", "theirs", "1", group["levels"]))
    assert (found.name, found.files[0].name) == ("first-weights", "first.pt")


def test_modules_that_it_offers_are_those_that_plugins_may_import():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (rule,) = [each for each in contracts["contracts"] if each["name"].startswith("Plugins know")]
    offered = set(re.findall(r"`(dcase_asd\.\w+)", PAGE.partition("## What a plugin may")[2]))
    names = ("backbone", "features", "registry", "audio", "errors", "testing")
    assert offered == {f"dcase_asd.{name}" for name in names}
    assert not offered & set(rule["forbidden_modules"])


def test_links_lead_somewhere():
    for target in re.findall(r"\]\((?!https?://)([^)#]+)\)", PAGE):
        assert (ROOT / "docs" / target).exists(), target


def test_the_loss_learns_by_its_margin(page):
    loss = page["CosFace"](2, [1, 16], scale=4, margin=0.5)
    with torch.no_grad():
        loss.centers.copy_(torch.tensor([[2.0, 0.0], [0.0, 3.0]]))
    found, near = loss(torch.tensor([[5.0, 0.0]]), torch.tensor([0]))
    assert near.tolist() == [[1, 0]]
    assert found.item() == pytest.approx(np.log(1 + np.exp(4 * (0 - 0.5))), abs=1e-6)


def test_the_augmentation_draws_from_its_generator_and_keeps_to_its_limit(page):
    clips = torch.ones(100, 3)
    once, again = (page["louder"](clips, torch.Generator().manual_seed(1), 3.0) for _ in range(2))
    assert torch.equal(once, again)
    decibels = 20 * once.log10()
    assert decibels.abs().max() <= 3.001
    assert decibels.std(0).min() > 1


def test_the_detector_scores_and_is_scored_without_each_train_clip(page):
    train = np.array([[0.0, 0.0], [2.0, 0.0], [4.0, 0.0]])
    detector = page["Middle"](power=2).fit(train)
    assert detector.score(np.array([[2.0, 3.0]])).tolist() == [9.0]
    assert detector.leave_one_out().tolist() == [9.0, 0.0, 9.0]
