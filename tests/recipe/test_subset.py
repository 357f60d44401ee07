"""Which clips a subset takes, however its names are written, and what is said of names it lacks."""

import pandas as pd
import pytest

from dcase_asd.errors import DataError, RecipeError
from dcase_asd.recipe.subset import EVERYTHING, Subset
from dcase_asd.recipe.system import Embedding, System, read_system, with_subset
from dcase_asd.recipe.toml import recipe_text
from dcase_asd.recipe.training import Training

CLIPS = pd.DataFrame(
    [
        ("dcase2020", "fan", "00"),
        ("dcase2020", "fan", "02"),
        ("dcase2020", "ToyCar", "01"),
        ("dcase2025", "fan", "00"),
        ("dcase2025", "gearbox", "00"),
    ],
    columns=["edition", "machine", "section"],
)


def test_nothing_given_takes_every_clip():
    assert EVERYTHING.select(CLIPS, "clips.csv").equals(CLIPS)
    assert not EVERYTHING
    assert not EVERYTHING.leaves_out(CLIPS)
    assert EVERYTHING.flags() == []


def test_a_machine_is_taken_in_every_edition():
    chosen = Subset(machines=("fan",)).select(CLIPS, "clips.csv")
    assert list(chosen.index) == [0, 1, 3]


@pytest.mark.parametrize("written", ["0", "00", "section_00", "Section 0", "id_00", "000"])
def test_a_section_is_known_by_its_number_however_it_is_written(written):
    subset = Subset(sections=(written,))
    assert subset == Subset(sections=("00",))
    assert list(subset.select(CLIPS, "clips.csv").index) == [0, 3, 4]


def test_editions_are_left_out_by_year_or_name():
    for written in ("2020", "dcase2020", "dcase2020t2"):
        chosen = Subset(exclude_editions=(written,)).select(CLIPS, "clips.csv")
        assert list(chosen.index) == [3, 4]


def test_names_may_stand_with_commas_between_or_one_by_one():
    whole = Subset(("fan", "ToyCar"), ("00", "01"))
    assert EVERYTHING.changed("fan, ToyCar", "0,1") == whole
    assert EVERYTHING.changed(["fan", "ToyCar,fan"], ["section_00", "1"]) == whole
    assert list(whole.select(CLIPS, "clips.csv").index) == [0, 2, 3]


def test_all_unknown_names_are_told_at_once_with_the_nearest():
    subset = Subset(("Fan", "toycar", "fan"), ("7",), ("2019", "dcase2023"))
    with pytest.raises(DataError) as error:
        subset.select(CLIPS, "clips.csv")
    said = str(error.value)
    assert said.startswith("clips.csv: no machine 'Fan' (did you mean 'fan'?)")
    assert "no machine 'toycar' (did you mean 'ToyCar'?)" in said
    assert "no section '07' (choose from 00, 01, 02)" in said
    assert "no edition '2019' (choose from dcase2020" in said
    assert "'fan' (" not in said  # it is there
    assert "dcase2023'" not in said.partition("choose from")[0]  # a year that need not be there


def test_a_subset_without_a_clip_says_what_there_is():
    with pytest.raises(DataError, match="no clip of machine ToyCar, section 02; ToyCar has"):
        Subset(("ToyCar",), ("02",)).select(CLIPS, "clips.csv")
    of_2025 = CLIPS[CLIPS["edition"] == "dcase2025"]
    with pytest.raises(DataError, match=r"dcase2025: no clip of machine ToyCar; .* fan, gearbox"):
        Subset(("ToyCar",)).of_edition(of_2025, "dcase2025", "clips.csv", known=CLIPS)


def test_an_edition_that_is_asked_for_and_left_out_is_refused():
    with pytest.raises(DataError, match="dcase2025 is asked for, and left out by --exclude-edit"):
        Subset(exclude_editions=("2025",)).of_edition(CLIPS, "dcase2025", "clips.csv")


@pytest.mark.parametrize(
    ("few", "more", "within"),
    [
        (EVERYTHING, EVERYTHING, True),
        (Subset(("fan",)), EVERYTHING, True),
        (EVERYTHING, Subset(("fan",)), False),
        (Subset(("fan",)), Subset(("fan", "ToyCar")), True),
        (Subset(("fan",)), Subset(("ToyCar",)), False),
        (Subset(("fan",), ("00",)), Subset(("fan",)), True),
        (Subset(("fan",)), Subset(("fan",), ("00",)), False),
    ],
)
def test_a_subset_is_within_one_that_takes_at_least_as_much(few, more, within):
    assert few.within(more) is within


def test_its_flags_give_it_again():
    subset = Subset(("fan", "ToyCar"), ("0",), ("2020",))
    assert subset.flags() == [
        *("--machine", "fan,ToyCar", "--section", "00", "--exclude-edition", "dcase2020")
    ]
    assert str(subset) == "machines fan, ToyCar, section 00"


def test_a_recipe_keeps_its_subset_and_one_without_is_written_as_before(tmp_path):
    plain = System("x", Embedding("spectral"))
    assert "[data]" not in recipe_text(plain)
    assert System("x", Embedding("spectral"), data=Subset()) == plain
    path = tmp_path / "recipe.toml"
    path.write_text('name = "x"\n[embed]\nplugin = "spectral"\n[data]\nsections = ["0"]\n')
    system = read_system(path)
    assert system.subset == Subset(sections=("00",))
    path.write_text(recipe_text(system))
    assert read_system(path) == system
    assert with_subset(system, sections=()) == plain


def test_mistakes_of_its_table_are_told_with_the_nearest_name(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text(
        'name = "x"\n[embed]\nplugin = "spectral"\n[data]\nmachine = ["fan"]\nsections = [0]\n'
    )
    with pytest.raises(RecipeError, match=r"'data.machine' \(did you mean 'machines'") as error:
        read_system(path)
    assert "'data.sections[0]' must be text, not 0" in str(error.value)


def test_an_edition_that_is_named_elsewhere_cannot_be_left_out(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text(
        'name = "x"\neditions = ["2024"]\n[embed]\nplugin = "spectral"\n'
        '[train]\neditions = ["dcase2020"]\n[data]\nexclude_editions = ["2020", "2024", "2025"]\n'
    )
    with pytest.raises(RecipeError) as error:
        read_system(path)
    said = str(error.value)
    assert "editions names 2024, which data.exclude_editions leaves out" in said
    assert "train.editions names dcase2020" in said
    assert "train.noise_editions names dcase2025" in said
    assert "--noise-probability 0" in said
    system = System("x", Embedding("spectral"), train=Training(noise_probability=0))
    assert with_subset(system, exclude_editions="2025").subset.exclude_editions == ("dcase2025",)
    with pytest.raises(RecipeError, match=r"x: train\.noise_editions names dcase2025"):
        with_subset(System("x", Embedding("spectral"), train=Training()), exclude_editions="2025")
