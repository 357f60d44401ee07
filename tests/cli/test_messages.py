"""What messages propose works as it is typed, and what was given in place of another is told."""

import ast
import re
import shlex
import shutil
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from dcase_asd.cli import PIPELINE
from dcase_asd.cli.app import app
from dcase_asd.errors import DcaseAsdError, command

ROOT = Path(__file__).parents[2]
MODULES = sorted(
    path
    for package in ["dcase_asd", *(f"plugins/{name.name}" for name in (ROOT / "plugins").iterdir())]
    for path in (ROOT / package).rglob("*.py")
    if "tests" not in path.relative_to(ROOT).parts
)
PLACEHOLDER = "value"
COMMANDS = typer.main.get_command(app).commands


def check(words):
    """Whether a command line names a command, its options and all that it requires."""
    name, *arguments = words
    assert name in COMMANDS, name
    COMMANDS[name].make_context(name, arguments)


def docstrings(tree):
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
    return {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, kinds) and ast.get_docstring(node) is not None
    }


def text_of(node):
    """Text of a literal; what is filled in later is a placeholder."""
    if isinstance(node, ast.JoinedStr):
        return "".join(map(text_of, node.values))
    return node.value if isinstance(node, ast.Constant) else PLACEHOLDER


def literals(tree):
    """Texts of a module that are no docstrings, each once."""
    inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)
              for part in node.values}  # fmt: skip
    passed_over = docstrings(tree) | inside
    for node in ast.walk(tree):
        text = isinstance(node, ast.Constant) and isinstance(node.value, str)
        if (text or isinstance(node, ast.JoinedStr)) and id(node) not in passed_over:
            yield text_of(node)


def proposals():
    """Every command that a message or the help of a command shows, as words."""
    names = "|".join(PIPELINE)
    for path in MODULES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        where = path.relative_to(ROOT)
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Call)
                and getattr(node.func, "id", "") == "command"
                and node.args
            ):
                # Flags that depend on what there is are left out.
                flags = {id(each) for each in node.args if isinstance(each, ast.Starred)}
                words = [text_of(each) for each in node.args if id(each) not in flags]
                yield where, [*words, *([PLACEHOLDER] if words[0] == "report" else [])]
            documented = isinstance(node, ast.FunctionDef) and ast.get_docstring(node)
            for example in re.findall(
                r"^Example: dcase-asd (.*)", documented or "", re.MULTILINE | re.DOTALL
            ):
                yield where, shlex.split(example)
        for text in literals(tree):
            for words in re.findall(rf"\bdcase-asd ((?:{names})\b[^`;]*)", text):
                yield where, shlex.split(words.partition(" and ")[0])


PROPOSALS = list(proposals())


def test_there_are_proposals_of_most_commands():
    found = {words[0] for _, words in PROPOSALS}
    assert {"embed", "score", "prepare", "finetune", "fuse", "weights", "report"} <= found
    assert len(PROPOSALS) > 30


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["embed", "--run", "runs/x", "--data", "data"], "Missing option '--edition'"),
        (["score", "--edition", "2025"], "Missing argument 'run'"),
        (["score", "runs/x", "--editon", "2025"], "No such option"),
    ],
)
def test_what_could_not_be_typed_would_be_found(words, message):
    with pytest.raises(Exception) as raised:  # noqa: PT011 - a class that typer keeps to itself
        check(words)
    assert message in raised.value.format_message()


@pytest.mark.parametrize(
    ("where", "words"), PROPOSALS, ids=[f"{where.stem} {words[0]}" for where, words in PROPOSALS]
)
def test_every_command_that_is_proposed_can_be_typed(where, words):
    check(words)


def test_a_command_is_quoted_for_a_shell():
    text = command("prepare", "--data", Path("my data"))
    assert text == "`dcase-asd prepare --data 'my data'`"
    assert shlex.split(text.strip("`")) == ["dcase-asd", "prepare", "--data", "my data"]


@pytest.fixture
def call(tmp_path, monkeypatch):
    """Run a command line of a shell in a folder of its own; returns its message where it fails."""
    monkeypatch.chdir(tmp_path)

    def run(line):
        done = CliRunner().invoke(app, shlex.split(line))
        if done.exception is None:
            return ""
        if isinstance(done.exception, SystemExit):
            return " ".join(done.stderr.replace("│", " ").split())
        assert isinstance(done.exception, DcaseAsdError), repr(done.exception)
        message = str(done.exception)
        assert "\n" not in message
        return message

    return run


def proposed(message):
    (line,) = re.findall(r"`dcase-asd ([^`]*)`", message)
    return line


@pytest.mark.parametrize("data", ["data", "my data"])
def test_commands_that_messages_propose_lead_from_recordings_to_scores(call, small_tree, data):
    if data != "data":
        small_tree.rename(small_tree.parent / data)
    first = f"embed --plugin spectral --data '{data}' --edition 2025 --run runs/x"
    message = call(first)
    assert message.startswith(f"{data}/clips.csv: not found; make it with `dcase-asd prepare")
    assert not call(proposed(message))
    assert not call(f"{first}y")
    if data == "data":
        message = call("score runs/x --edition dcase2025")
        assert message.startswith("runs/x: no such run folder (did you mean 'xy'?)")
        shutil.rmtree("runs")
        message = call("score runs/x --edition dcase2025")
        assert message.startswith("runs/x: no such run folder; make one with `dcase-asd embed")
        assert not call(proposed(message))
        shutil.rmtree("runs/x/embeddings")
        message = call("score runs/x --edition dcase2025")
        assert "no embeddings of dcase2025 (it has none of any edition); make them" in message
        assert not call(proposed(message))
        next(Path("runs/x/embeddings").rglob("fan.json")).unlink()
        message = call("score runs/x --edition dcase2025")
        assert "1 of 1 machine(s) of dcase2025 are not embedded yet (dev fan)" in message
        assert not call(proposed(message))
        message = call("evaluate runs/x --edition dcase2025")
        assert "no finished scores of dcase2025 (it has none of any edition); make them" in message
        assert not call(proposed(message))
        assert not call("evaluate runs/x --edition dcase2025 --resamples 0")


def test_a_misspelt_edition_of_ones_own_is_never_proposed(call, make_entry):
    entry = make_entry("dcase2025")
    for kind in ("scores", "embeddings"):
        folder = entry.run / kind / "workshop"
        folder.mkdir(parents=True)
        (folder / "machines.json").write_text('{"machines": []}')
    (entry.run / "scores/workshop.csv").touch()
    (entry.run / "recipe.toml").write_text('name = "x"\n[embed]\nplugin = "spectral"\n')
    expected = "no embeddings of workshp (did you mean 'workshop'?)"
    assert call("score runs/small --edition workshp") == f"runs/small: {expected}"
    expected = "no finished scores of workshp (did you mean 'workshop'?)"
    assert call("evaluate runs/small --edition workshp") == f"runs/small: {expected}"


@pytest.fixture
def somewhere(call, make_entry, write_clip, tmp_path):
    """A folder of a user, who gives one thing where another is wanted."""
    make_entry("dcase2025")
    (tmp_path / "data/dcase2025t2/dev_data/raw/fan/train").mkdir(parents=True)
    write_clip(tmp_path / "x.wav")
    (tmp_path / "empty").mkdir()
    return call


MAKE = "make one with `dcase-asd embed --plugin spectral --data data --edition dcase2025 --run"
RUN = {
    "x.wav": f"x.wav: a file, not a run folder; {MAKE} runs/spectral`",
    "data": f"data: a data folder, not a run folder; {MAKE} runs/spectral`",
    "empty": f"(it has neither recipe.toml nor scores); {MAKE} runs/spectral`",
    "runs": "runs: not a run folder, but it holds some; give one, such as runs/small",
    "runs/smal": "runs/smal: no such run folder (did you mean 'small'?)",
    "gone": f"gone: no such run folder; {MAKE} gone`",
}
DATA = {
    "x.wav": "x.wav: is a file, not a data folder; say which with --data",
    "runs/small": "no recordings here; they are expected as <data>/dcase2025t2",
    "empty": "empty: no recordings here; they are expected as <data>/dcase2025t2",
    "data/dcase2025t2": "this is the folder of one edition; give the one above it, --data",
    "gone": "gone: no such data folder; say which with --data",
}
RECIPE = {
    "x.wav": "x.wav: no text; a recipe is a TOML file",
    "runs/small": "runs/small: a folder; give a recipe file",
    "gone.toml": "gone.toml: no such recipe file",
}
TARGET = "give a run folder or one with official score files"
SUBMIT = "submit {} --edition 2025 --label A_B_task2_1 --out dist"
WRONG = [
    *(
        (line.format(wrong), message)
        for wrong, message in RUN.items()
        for line in (
            "score {} --edition 2025",
            "fuse --systems runs/small {}",
            "fuse --systems {} runs/small --edition 2025",
            "report {} --edition 2025",
            SUBMIT,
        )
    ),
    *(
        (line.format(wrong), message)
        for wrong, message in DATA.items()
        for line in (
            "prepare --data {}",
            "labels --data {}",
            "embed --plugin spectral --data {} --edition 2025 --run runs/new",
            "finetune --plugin spectral --data {} --run runs/new",
            "validate dist --edition 2025 --data {}",
            "run submissions/examples/spectral.toml --data {}",
        )
    ),
    *(
        (line.format(wrong), message)
        for wrong, message in RECIPE.items()
        for line in (
            "run {} --data data",
            "run submissions/examples/spectral.toml --data data --overlay {} --dry-run",
            SUBMIT.format("runs/small") + " --form {}",
        )
    ),
    ("finetune --recipe x.wav --data data --run runs/new", RECIPE["x.wav"]),
    ("finetune --recipe empty --data data --run runs/new", RUN["empty"]),
    ("evaluate x.wav --edition 2025", f"x.wav: a file; {TARGET}"),
    ("evaluate data --edition 2025", f"data: a data folder; {TARGET}"),
    ("evaluate empty --edition 2025", "empty: neither a run folder nor one with score files"),
    ("evaluate runs/smal --edition 2025", "no such run folder (did you mean 'small'?)"),
    ("evaluate gone --edition 2025", f"gone: no such run folder; {TARGET}"),
    ("evaluate runs/small --edition 2025 --ground-truth x.wav", "x.wav: cannot be read (it is not"),
    ("evaluate runs/small --edition 2025 --ground-truth data", "data: holds neither ground_truth"),
    ("embed --data data --edition 2025 --run x.wav", RUN["x.wav"]),
    ("embed --data data --edition 2025 --run data", RUN["data"]),
    (
        "embed --data data --edition 2025 --run gone",
        "--plugin: name a backbone, or give a run that",
    ),
    (
        "embed --plugin spectral --data data --edition 2025 --run x.wav",
        "x.wav: cannot be written, as",
    ),
    ("embed --plugin spectral --data data --edition 2025 --run data", "data: a data folder; give"),
    ("validate x.wav --edition 2025 --data data", "not a readable zip"),
    ("validate gone --edition 2025 --data data", "gone: no such package; give the zip or folder"),
    ("report runs/small --edition 2025 --out x.wav", "x.wav: is a file; give another folder"),
    (
        SUBMIT.format("runs/small").replace("dist", "x.wav"),
        "x.wav: cannot be written, as it is a fi",
    ),
    (SUBMIT.format("runs/small") + " --report x.wav", "x.wav: is no PDF"),
    (SUBMIT.format("runs/small") + " --report data", "data: no such technical report"),
    ("fuse --systems runs/small x.wav --run x.wav", RUN["x.wav"]),
    ("demo x.wav", "x.wav/data: cannot be written (Not a directory)"),
    ("demo x.wav --data-only", "x.wav: not a folder; give another one to the demo"),
    ("download 2025 --from x.wav --dry-run", "x.wav: no folder; --from names the folder of your"),
]


@pytest.mark.parametrize(("line", "message"), WRONG, ids=[line for line, _ in WRONG])
def test_what_is_given_in_place_of_another_is_told(somewhere, line, message):
    before = sorted(Path().rglob("*"))
    shutil.copytree(ROOT / "submissions" / "examples", "submissions/examples")
    found = somewhere(line)
    assert message in (found or CliRunner().invoke(app, shlex.split(line)).stdout)
    shutil.rmtree("submissions")
    new = {path for path in Path().rglob("*") if path not in before and path.name != ".lock"}
    assert not new - {Path("dist"), Path("runs")}
