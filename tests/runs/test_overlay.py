import pytest

from dcase_asd.errors import RecipeError
from dcase_asd.runs.overlay import Overlay, read_overlay
from dcase_asd.runs.recipes import read_all, read_nodes

RECIPE = """
name = "a"
[embed]
plugin = "beats"
batch_size = 4
[embed.options]
layers = [6]
exponent = 2.0
[train]
learning_rate = 1e-4
"""


@pytest.fixture
def overlaid(tmp_path):
    """Read a recipe with an overlay over it."""

    def read(overlay, recipe=RECIPE):
        (tmp_path / "a.toml").write_text(recipe)
        (tmp_path / "over.toml").write_text(overlay)
        (node,) = read_nodes([tmp_path / "a.toml"], read_overlay(tmp_path / "over.toml"))
        return node.recipe

    return read


def test_train_replaces_settings(overlaid):
    train = overlaid("[train]\nsteps = 80\nlearning_rate = 1\n").train
    assert (train.steps, train.learning_rate, train.batch_size) == (80, 1.0, 32)


def test_multiply_keeps_systems_apart(overlaid):
    over = "[train]\nwarmup = 10\n[multiply]\nlearning_rate = 40\ntime_mask = 0.25\nwarmup = 2\n"
    train = overlaid(over).train
    assert train.learning_rate == pytest.approx(4e-3)  # the recipe's own
    assert train.time_mask == 20  # the default's, a whole number
    assert train.warmup == 20  # after what is replaced


def test_options_of_a_plugin_are_merged_and_other_plugins_left_alone(overlaid):
    beats = "[embed.beats]\nbatch_size = 8\n[embed.beats.options]\nlayers = [3]\n"
    over = f"{beats}[embed.eat]\nchannel = 1\n"
    embed = overlaid(over).embed
    assert (embed.batch_size, embed.channel) == (8, 0)
    assert embed.options == {"layers": [3], "exponent": 2.0}


def test_score_is_changed_also_where_the_recipe_says_nothing(overlaid):
    assert overlaid("[score]\nneighbors = 3\n").score.neighbors == 3


def test_what_is_not_fine_tuned_stays_so(overlaid):
    recipe = 'name = "a"\n[embed]\nplugin = "spectral"\n'
    assert overlaid("[train]\nsteps = 80\n[multiply]\nwarmup = 2\n", recipe).train is None


def test_fusions_are_changed(tmp_path, overlaid):
    overlaid("")
    (tmp_path / "b.toml").write_text(RECIPE.replace('"a"', '"b"'))
    (tmp_path / "f.toml").write_text('name = "f"\n[fusion]\nsystems = ["a", "b"]\nstep = 0.05\n')
    (tmp_path / "over.toml").write_text("[fusion]\nstep = 0.25\n[train]\nsteps = 80\n")
    (node,) = read_nodes([tmp_path / "f.toml"], read_overlay(tmp_path / "over.toml"))
    assert node.recipe.fusion.step == 0.25
    assert [member.recipe.train.steps for member in node.members] == [80, 80]


def test_no_overlay_changes_nothing():
    content = {"train": {"steps": 8}, "embed": {"plugin": "beats"}, "fusion": {}}
    assert read_overlay(None) == Overlay()
    assert Overlay().over(content) == content


def test_all_mistakes_are_told_with_the_nearest_names(overlaid):
    wrong = """
score = 3
[trian]
[train]
stepz = 3
steps = "x"
[multiply]
learning_rat = 3
loss = 2
warmup = true
[embed]
eat = 3
[embed.beat.options]
[embed.beats]
chanel = 1
[fusion]
stp = 1
"""
    with pytest.raises(RecipeError) as error:
        overlaid(wrong)
    for part in (
        "unknown table 'trian' (did you mean 'train'?)",
        "'score' must be a table",
        "unknown name 'train.stepz' (did you mean 'steps'?)",
        "'train.steps' must be a whole number",
        "'multiply.learning_rat' (did you mean 'learning_rate'?)",
        "'multiply.loss'",
        "'multiply.warmup' must be a number",
        "'embed.eat' must be a table, not 3",
        "no plugin is called 'beat' (did you mean 'beats'?)",
        "unknown name 'embed.beats.chanel' (did you mean 'channel'?)",
        "unknown name 'fusion.stp' (did you mean 'step'?)",
    ):
        assert part in str(error.value)


def test_values_that_contradict_each_other_name_recipe_and_overlay(overlaid):
    with pytest.raises(
        RecipeError, match=r"a\.toml with .*over\.toml: train: steps must be a mult"
    ):
        overlaid("[train]\nsteps = 81\n")


def given(tmp_path, *values, recipe=RECIPE, overlay=None):
    """Read a recipe with single values."""
    (tmp_path / "a.toml").write_text(recipe)
    if overlay is not None:
        (tmp_path / "over.toml").write_text(overlay)
    path = None if overlay is None else tmp_path / "over.toml"
    return read_all([tmp_path / "a.toml"], read_overlay(path, values))[1][0].recipe


def test_single_values_come_after_those_of_the_file(tmp_path):
    values = ("train.steps=160", "embed.options.layers=[1, 2]", "score.neighbors=2")
    recipe = given(tmp_path, *values, overlay="[train]\nsteps = 80\nwarmup = 5\n")
    assert (recipe.train.steps, recipe.train.warmup) == (160, 5)
    assert recipe.embed.options == {"layers": [1, 2], "exponent": 2.0}
    assert recipe.score.neighbors == 2


def test_a_value_that_is_text_needs_no_quotes(tmp_path):
    assert given(tmp_path, "train.schedule=constant").train.schedule == "constant"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("train.learning_rat=1", r"--set: unknown name 'train.learning_rat' \(did you mean 'lear"),
        ("trian.steps=8", r"--set: unknown table 'trian' \(did you mean 'train'"),
        ("train=8", "--set: 'train' is a table; give a value of it, such as train.name=value"),
        ("train.steps=many", "'train.steps' must be a whole number, not 'many'"),
        ("train.steps", "'train.steps' is not of the form name=value"),
        ("fusion.step=0.5", r"--set: none of the recipes has \[fusion\]; leave these values out"),
        ("train.steps=9", "a.toml with --set: train: steps must be a multiple of accumulation"),
    ],
)
def test_a_wrong_single_value_is_told_with_the_way_out(tmp_path, value, message):
    with pytest.raises(RecipeError, match=message):
        given(tmp_path, value)
