"""Somebody else's plugin: the README's, built and installed by pip, used by the program itself."""

import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")

PYPROJECT = """
[build-system]
requires = []
build-backend = "build_wheel"
backend-path = ["."]

[project]
name = "{name}"
version = "1.2"
"""
BACKEND = '''
"""Build a wheel of the modules beside this file with the standard library alone."""
import tomllib, zipfile
from pathlib import Path

def build_wheel(folder, config_settings=None, metadata_directory=None):
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    name = f"{project['name']}-{project['version']}"
    groups = project["entry-points"].items()
    points = "".join(
        f"[{group}]\\n" + "".join(f"{key} = {value}\\n" for key, value in entries.items())
        for group, entries in groups
    )
    files = {path.name: path.read_text() for path in Path().glob("*_package.py")} | {
        f"{name}.dist-info/METADATA": "Metadata-Version: 2.1\\nName: {name}\\nVersion: {version}\\n"
        .format(**project),
        f"{name}.dist-info/WHEEL": "Wheel-Version: 1.0\\nGenerator: this\\n"
        "Root-Is-Purelib: true\\nTag: py3-none-any\\n",
        f"{name}.dist-info/entry_points.txt": points,
    }
    files[f"{name}.dist-info/RECORD"] = "".join(f"{path},,\\n" for path in files)
    wheel = f"{name}-py3-none-any.whl"
    with zipfile.ZipFile(Path(folder) / wheel, "w") as archive:
        for path, content in files.items():
            archive.writestr(path, content)
    return wheel
'''
POINT = '[project.entry-points."dcase_asd.backbones"]\n{} = "{}"\n'

TRAINING = [
    "--steps=4", "--batch-size=4", "--accumulation=1", "--warmup=1", "--eval-every=2",
    "--save-every=2", "--seconds=1", "--embedding=8", "--bottleneck=8", "--keep=1",
    "--dev-edition=dcase2025", "--workers=0",
]  # fmt: skip


def block(language):
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.DOTALL | re.MULTILINE)
    return found


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """Two plugins of third parties installed beside the others; runs the console program."""
    folder = tmp_path_factory.mktemp("third_party")
    packages = {
        "theirs": ({"my_package": block("python")}, block("toml")),
        "broken": (
            {"broken_package": "import nothing_of_this_name\n"},
            POINT.format("broken", "broken_package:Broken"),
        ),
    }
    sources = []
    for name, (modules, entries) in packages.items():
        source = folder / name
        source.mkdir()
        for module, text in modules.items():
            (source / f"{module}.py").write_text(text, encoding="utf-8")
        (source / "build_wheel.py").write_text(BACKEND, encoding="utf-8")
        (source / "pyproject.toml").write_text(PYPROJECT.format(name=name) + entries)
        sources.append(str(source))
    subprocess.run(
        [
            sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
            "--no-index", "--no-deps", "--no-build-isolation", "--target", str(folder / "site"),
            *sources,
        ],
        check=True,
    )  # fmt: skip

    def run(*arguments, status=0):
        done = subprocess.run(
            [str(Path(sysconfig.get_path("scripts")) / "dcase-asd"), *map(str, arguments)],
            cwd=folder, capture_output=True, text=True, check=False,
            env=os.environ | {"PYTHONPATH": str(folder / "site"), "COLUMNS": "200"},
        )  # fmt: skip
        assert done.returncode == status, f"{arguments}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    run("demo", "--data-only", "data")
    run("prepare", "--data", "data")
    run.folder = folder
    return run


def plugin_name():
    """What the README calls its plugin."""
    return re.search(r"^(\w+) = \"my_package", block("toml"), flags=re.MULTILINE)[1]


def scores_of(program, run):
    program("score", run, "--edition", "dcase2025")
    scores = pd.read_csv(program.folder / run / "scores" / "dcase2025.csv")["score"]
    assert len(scores) > 100
    return scores


@pytest.mark.slow
def test_it_is_listed_and_one_that_does_not_import_is_told_and_breaks_nothing(program):
    listed = program("plugins")
    assert f"{plugin_name()} " in listed
    assert "theirs" in listed
    assert "broken_package:Broken" in listed
    checked = program("plugins", "--check")
    assert "cannot be imported: ModuleNotFoundError: No module named 'nothing_of_this" in checked
    for name in (plugin_name(), "spectral", "beats"):
        assert re.search(rf"^{name} .* works$", checked, flags=re.MULTILINE), checked


@pytest.mark.slow
def test_it_embeds_and_its_embeddings_are_scored(program):
    run = ("--data", "data", "--edition", "dcase2025", "--run", "runs/theirs")
    program("embed", "--plugin", plugin_name(), *run)
    assert scores_of(program, "runs/theirs").between(0, 2).all()


@pytest.mark.slow
def test_it_is_fine_tuned_embedded_and_scored(program):
    run = ("--data", "data", "--run", "runs/tuned")
    program("finetune", "--plugin", plugin_name(), *run, *TRAINING)
    program("embed", *run, "--edition", "dcase2025")
    assert scores_of(program, "runs/tuned").between(0, 2).all()
