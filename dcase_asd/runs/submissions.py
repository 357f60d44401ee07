"""Submissions: the systems of forms from recordings to checked packages with their results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dcase_asd.editions.edition import load_edition
from dcase_asd.errors import RecipeError
from dcase_asd.fusion.result import read_fusion
from dcase_asd.progress import Progress, Silent
from dcase_asd.runs.recipes import Form, Node, read_all, read_forms
from dcase_asd.runs.requirements import missing
from dcase_asd.runs.runner import Runner, Setup, SystemRun
from dcase_asd.runs.tables import Result, write_tables
from dcase_asd.submission.package import package_name
from dcase_asd.submission.submit import Submitted, check_edition, submit
from dcase_asd.submission.validate import Validation, validate


@dataclass(frozen=True)
class Submission:
    """What running a form gave: its label, its system, and its place in a package."""

    label: str
    system: SystemRun
    submitted: Submitted

    @property
    def changed(self) -> bool:
        """Whether anything was done that was not done before."""
        return self.system.changed or self.submitted.changed


@dataclass(frozen=True)
class Submissions:
    """What running forms gave.

    Attributes:
        submissions: One for each form.
        validations: What the check of each package found.
        results: The figures of each submission.
        tables: Files with the results.
    """

    submissions: list[Submission]
    validations: list[Validation]
    results: list[Result]
    tables: list[Path]


def run_submissions(
    forms: Sequence[str | Path], setup: Setup, out: str | Path, progress: Progress | None = None
) -> Submissions:
    """Run the systems that forms name, package their scores, check the packages.

    All is checked for what it needs before anything runs. A system that several forms need runs
    once; the forms' edition is the one that is scored.

    Args:
        forms: Files of `SubmissionForm`.
        setup: Where to read, to write and to compute.
        out: Folder for packages and tables of results.
        progress: Where to tell how far it is.

    Raises:
        RecipeError: A form or a recipe is wrong, or something that they need is missing.
        SubmissionError: A package is one of another edition.
        DcaseAsdError: As the steps; the same call goes on where it stopped.
    """
    out, progress = Path(out), progress or Silent()
    found = read_forms(forms, setup.changes())
    runner = Runner(setup, progress)
    runner.prepare()
    _check(found, [], setup)
    for each in found:
        edition = load_edition(each.form.edition)
        check_edition(out / package_name(each.form.label, edition), edition)
    done = [_submit(each, runner, out) for each in found]
    results = [
        Result(each.label, each.system.evaluations, read_fusion(each.system.run, _edition(form)))
        for each, form in zip(done, found, strict=True)
    ]
    tables = write_tables(out, setup.data, results)
    return Submissions(done, _validations(found, done, setup.data), results, tables)


def check_recipes(
    recipes: Sequence[str | Path], setup: Setup, progress: Progress | None = None
) -> list[str]:
    """Prepare the data folder and check that recipes and forms have all that they need.

    Returns:
        Names of all systems that would be run.

    Raises:
        RecipeError: All that is wrong or missing.
        DataError: As `prepare`.
    """
    forms, nodes = read_all(recipes, setup.changes())
    Runner(setup, progress or Silent()).prepare()
    _check(forms, nodes, setup)
    tops = [*nodes, *(form.node for form in forms)]
    return list(dict.fromkeys(each.name for node in tops for each in node.walk()))


def _check(forms: Sequence[Form], nodes: Sequence[Node], setup: Setup) -> None:
    """Check everything, so that all that is missing is told at once.

    Raises:
        RecipeError: All that is missing.
    """
    needed: list[tuple[Node, tuple[str, ...], bool]] = [
        (form.node, (_edition(form),), True) for form in forms
    ]
    needed += [(node, node.recipe.editions, False) for node in nodes]
    groups: dict[tuple[tuple[str, ...], bool], list[Node]] = {}
    for node, editions, packaged in needed:
        groups.setdefault((editions, packaged), []).append(node)
    problems = []
    for (editions, packaged), members in groups.items():
        problems += missing(members, setup.data, setup.runs, editions, packaged=packaged)
    if problems:
        raise RecipeError("; ".join(dict.fromkeys(problems)))


def _edition(form: Form) -> str:
    return load_edition(form.form.edition).name


def _submit(form: Form, runner: Runner, out: Path) -> Submission:
    edition, label = _edition(form), form.form.label
    system = runner.run_and_evaluate(form.node, (edition,))
    submitted = submit(
        system.run, edition, label, out, form=form.path, report=form.report,
        overwrite=runner.setup.overwrite, progress=runner.progress,
    )  # fmt: skip
    return Submission(label, system, submitted)


def _validations(forms: Sequence[Form], done: Sequence[Submission], data: Path) -> list[Validation]:
    """Check each package once, the results of all its systems with it."""
    runs: dict[tuple[Path, str], list[str]] = {}
    for form, each in zip(forms, done, strict=True):
        of_package = runs.setdefault((each.submitted.archive, _edition(form)), [])
        of_package.append(f"{each.label}={each.system.run}")
    return [
        validate(archive, edition, data, labelled) for (archive, edition), labelled in runs.items()
    ]
