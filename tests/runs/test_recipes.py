import pytest

from dcase_asd.errors import RecipeError
from dcase_asd.runs.recipes import is_submission, read_forms, read_nodes

SINGLE = 'name = "{}"\n[embed]\nplugin = "spectral"\n'
FUSION = 'name = "{}"\n[fusion]\nsystems = [{}]\nmethod = "mean"\n'
FORM = 'label = "{}"\nedition = "dcase2025"\nsystem = "{}"\n'


@pytest.fixture
def write(tmp_path):
    """Write a recipe; returns its path."""

    def write_file(name, text):
        path = tmp_path / f"{name}.toml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return write_file


def fusion(name, *systems):
    return FUSION.format(name, ", ".join(f'"{system}"' for system in systems))


def test_a_fusion_comes_after_all_that_it_is_made_of_and_each_system_once(write):
    for name in ("a", "b", "deep/c"):
        write(name, SINGLE.format(name.rpartition("/")[2]))
    write("inner", fusion("inner", "b", "deep/c"))
    (node,) = read_nodes([write("outer", fusion("outer", "a", "inner", "b"))])
    assert [each.name for each in node.walk()] == ["a", "b", "c", "inner", "outer"]


def test_all_recipes_are_read_before_the_first_mistake_is_told(write):
    write("bad", 'name = "bad"\n[embed]\nplugn = "x"\n')
    one = write("one", fusion("one", "bad", "gone"))
    two = write("two", 'name = "two"\n[embed]\nplugin = 3\n')
    with pytest.raises(RecipeError) as error:
        read_nodes([one, two])
    text = str(error.value)
    assert "did you mean 'plugin'" in text
    assert f"gone.toml: no such recipe file, which {one} names" in text
    assert f"{two}: 'embed.plugin' must be text" in text


def test_a_fusion_of_itself_is_refused(write):
    write("a", SINGLE.format("a"))
    write("inner", fusion("inner", "a", "outer"))
    with pytest.raises(RecipeError, match=r"outer\.toml: is made of itself, through .*inner"):
        read_nodes([write("outer", fusion("outer", "a", "inner"))])


def test_two_systems_of_one_name_are_refused(write):
    with pytest.raises(RecipeError, match=r"b\.toml: has the name 'x' of .*a\.toml"):
        read_nodes([write("a", SINGLE.format("x")), write("b", SINGLE.format("x"))])


def test_forms_are_read_with_their_systems(write):
    write("systems/a", SINGLE.format("a"))
    path = write("form", FORM.format("A_B_task2_1", "systems/a.toml") + 'report = "r.pdf"\n')
    (form,) = read_forms([path])
    assert (form.node.name, form.report) == ("a", path.parent / "r.pdf")
    assert is_submission(path)
    assert not is_submission(path.parent / "systems" / "a.toml")


def test_all_that_forms_lack_is_told(write):
    write("a", SINGLE.format("a"))
    paths = [
        write("empty", 'label = "A_B_task2_1"\nsystem = ""\n'),
        write("gone", FORM.format("A_B_task2_2", "gone_system.toml")),
        write("first", FORM.format("A_B_task2_3", "a.toml")),
        write("second", FORM.format("A_B_task2_3", "a.toml")),
        write("wrong", "lable = 3\n"),
    ]
    with pytest.raises(RecipeError) as error:
        read_forms(paths)
    for part in (
        "its form must say edition, system",
        "gone_system.toml: no such recipe file",
        "second.toml: has the label A_B_task2_3 of",
        "did you mean 'label'",
    ):
        assert part in str(error.value)
