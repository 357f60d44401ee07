"""The Dockerfile, without docker: it names what the project has, and copies what a wheel needs."""

import json
import re
import tomllib
from pathlib import Path

HOUSE = Path(__file__).parents[1]
PROJECT = tomllib.loads((HOUSE / "pyproject.toml").read_text(encoding="utf-8"))
LINES = re.sub(r"\\\n\s*", "", (HOUSE / "Dockerfile").read_text(encoding="utf-8")).splitlines()


def said(word):
    return [line.removeprefix(f"{word} ") for line in LINES if line.startswith(f"{word} ")]


def test_pip_installs_the_wheel_with_an_extra_that_there_is():
    installs = [line for line in said("RUN") if line.startswith("pip install ")]
    assert len(installs) == 1
    extras = re.findall(r"\.whl\)\[(\w+)\]", installs[0])
    assert extras == ["onnx"]
    assert set(extras) <= set(PROJECT["project"]["optional-dependencies"])
    pinned = dict(line.split("==") for line in
                  (HOUSE / "constraints.txt").read_text().splitlines() if "==" in line)  # fmt: skip
    assert "--constraint /tmp/constraints.txt" in installs[0]
    needed = (
        PROJECT["project"]["dependencies"] + PROJECT["project"]["optional-dependencies"]["onnx"]
    )
    names = [re.split(r"[=><]", each)[0] for each in needed]
    assert not set(names) - {name.lower() for name in pinned} - {"pyyaml"}


def test_the_image_is_of_a_python_that_the_project_supports():
    assert {line.split()[0] for line in said("FROM")} == {"python:3.11-slim"}
    assert PROJECT["project"]["requires-python"] == ">=3.11"


def test_it_runs_the_program_as_somebody_without_rights():
    (entry,) = map(json.loads, said("ENTRYPOINT"))
    assert entry[0] in PROJECT["project"]["scripts"]
    assert said("USER") == ["listener"]
    words = [line.split()[0] for line in LINES if line and line[0] != "#"]
    assert "RUN" not in words[words.index("USER") :]


def test_what_the_wheel_is_made_of_is_not_ignored():
    kept = [
        line[1:]
        for line in (HOUSE / ".dockerignore").read_text(encoding="utf-8").splitlines()
        if line.startswith("!")
    ]
    wheel = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    papers = [PROJECT["project"]["readme"], *PROJECT["project"]["license-files"]]
    needed = [*wheel["packages"], *wheel["force-include"], *papers, "constraints.txt"]
    for each in needed:
        assert (HOUSE / each).exists()
        assert any(Path(each).is_relative_to(place) for place in kept), each
