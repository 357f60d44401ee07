"""Whole runs: the steps in order, each doing only what is not done yet."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from dcase_asd.artifacts.atomic import only_writer, write_text
from dcase_asd.artifacts.manifest import clips_of_edition, read_manifest
from dcase_asd.challenge.edition import load_edition
from dcase_asd.challenge.evaluation_report import EvaluationReport
from dcase_asd.challenge.meta import SubmissionForm
from dcase_asd.challenge.miniature import MiniatureSummary, write_miniature
from dcase_asd.errors import DataError, RecipeError
from dcase_asd.progress import Progress, Silent
from dcase_asd.recipe import read_content, read_recipe
from dcase_asd.steps.embed import embed
from dcase_asd.steps.evaluate import evaluate_run_or_folder
from dcase_asd.steps.finetune import finetune
from dcase_asd.steps.prepare import prepare
from dcase_asd.steps.score import score
from dcase_asd.steps.submit import Submitted, submit
from dcase_asd.steps.validate import Validation, validate
from dcase_asd.system import Embedding, System, read_system

DEMO_EDITION = "dcase2025"
DEMO_LABEL = "Miniature_DEMO_task2_1"
DEMO_FORM = f"""\
# The form of the demo's submission: edit it and run the demo again to see what changes.
# submissions/submission_1.toml explains the fields.

label = "{DEMO_LABEL}"
edition = "{DEMO_EDITION}"
name = "Log-mel statistics with nearest neighbours, on generated sounds"
abbreviation = "Miniature"

[[authors]]
lastname = "Miniature"
firstname = "Demo"
email = "demo@example.org"
corresponding = true
affiliation = {{ institution = "Institute of Examples", location = "Nowhere" }}

[description]
data_augmentation = "none"
front_end = "log-mel energies"
acoustic_features = "log-mel energies"
embeddings = "none"
machine_learning_method = "k-NN"
aggregation_method = "average, standard deviation"
ensemble_method_subsystem_count = 1
decision_making = "gamma distribution, 90th percentile"
external_data_usage = "none"
development_data_usage = "none"
domain_adaptation_method = "none"
domain_generalization_method = "none"
attribute_usage = "none"
"""
"""Written into the demo's folder, where the user may edit it."""


@dataclass(frozen=True)
class SystemRun:
    """What running a system gave.

    Attributes:
        run: Its run folder.
        evaluations: Results of every edition and stage with known labels.
    """

    run: Path
    evaluations: list[EvaluationReport]


@dataclass(frozen=True)
class SubmissionRun:
    """What running a submission gave: its system, its package and what the check found."""

    system: SystemRun
    submitted: Submitted
    validation: Validation


def run_system(
    system: System,
    data: Path,
    run: Path,
    device: str = "auto",
    progress: Progress | None = None,
) -> SystemRun:
    """Prepare, fine-tune where the recipe says so, embed, score and, with known labels, evaluate.

    Args:
        system: What to run; without editions, on all that the data folder holds.
        data: Data folder.
        run: Run folder.
        device: As in `embed`.
        progress: Where to tell how far it is.

    Raises:
        DcaseAsdError: As the steps; the same call goes on where it stopped.
    """
    progress = progress or Silent()
    prepare(data, progress)
    clips = read_manifest(data)
    editions = [load_edition(name).name for name in system.editions]
    if system.train is not None:
        finetune(data, run, system, device=device, progress=progress)
    evaluations = []
    for edition in editions or sorted(clips["edition"].unique()):
        embed(data, run, edition, system, device, progress)
        score(run, edition, system.score, progress)
        of_edition = clips_of_edition(clips, edition, data)
        test = of_edition[of_edition["split"] == "test"]
        if (test["condition"] != "").any():
            evaluations.append(evaluate_run_or_folder(run, edition, progress=progress))
        truth = data / "ground_truth" / edition
        if truth.is_dir() and ((test["stage"] == "eval") & (test["condition"] == "")).any():
            evaluations.append(
                evaluate_run_or_folder(run, edition, ground_truth=truth, progress=progress)
            )
    return SystemRun(run, evaluations)


def run_recipe(
    recipe: Path, data: Path, runs: Path, device: str = "auto", progress: Progress | None = None
) -> SystemRun:
    """Run a system's recipe in a folder of its name below `runs`.

    Raises:
        RecipeError: The recipe is wrong; all mistakes are listed.
        DcaseAsdError: As `run_system`.
    """
    system = read_system(recipe)
    return run_system(system, data, runs / system.name, device, progress)


def is_submission(recipe: Path) -> bool:
    """Whether a TOML file is a submission's form rather than a system's recipe.

    Raises:
        RecipeError: It is no readable TOML file.
    """
    return "system" in read_content(recipe)


def run_submission(
    form_path: Path,
    data: Path,
    runs: Path,
    out: Path,
    *,
    device: str = "auto",
    progress: Progress | None = None,
) -> SubmissionRun:
    """Run the system that a submission's form names, package its scores and check the package.

    Raises:
        RecipeError: The form or the recipe is wrong, or the form lacks what running it needs.
        DcaseAsdError: As the steps.
    """
    form = read_recipe(form_path, SubmissionForm)
    lacking = [name for name in ("label", "edition", "system") if not getattr(form, name)]
    if lacking:
        raise RecipeError(
            f"{form_path}: to run a submission its form must say {', '.join(lacking)}"
        )
    system = read_system(form_path.parent / form.system)
    system = dataclasses.replace(system, editions=(form.edition,))
    done = run_system(system, data, runs / system.name, device, progress)
    submitted = submit(
        done.run,
        form.edition,
        form.label,
        out,
        form=form_path,
        report=form_path.parent / form.report if form.report else None,
        progress=progress,
    )
    runs_by_label = [f"{form.label}={done.run}"]
    return SubmissionRun(
        done, submitted, validate(submitted.archive, form.edition, data, runs_by_label)
    )


def make_demo_data(data: Path, progress: Progress | None = None) -> MiniatureSummary:
    """Generate the miniature of the challenge in a folder of its own.

    Raises:
        DataError: The folder holds anything else.
    """
    if data.exists() and not data.is_dir():
        raise DataError(f"{data}: not a folder; give another one to the demo")
    with only_writer(data):
        return write_miniature(data, progress=progress or Silent())


def run_demo(folder: Path, progress: Progress | None = None) -> SubmissionRun:
    """Run everything on the generated miniature: data, scores, results, package, check.

    Args:
        folder: Where ``data``, ``runs`` and ``dist`` go.
        progress: Where to tell how far it is.

    Raises:
        DataError: The folder's ``data`` holds anything but the miniature.
    """
    data = folder / "data"
    make_demo_data(data, progress)
    system = System("spectral", Embedding("spectral"))
    done = run_system(system, data, folder / "runs" / "spectral", "cpu", progress)
    form = folder / "submission.toml"
    if not form.exists():
        write_text(form, DEMO_FORM)
    # An earlier package of the demo is the demo's own, and may be replaced.
    submitted = submit(
        done.run,
        DEMO_EDITION,
        DEMO_LABEL,
        folder / "dist",
        form=form,
        overwrite=True,
        progress=progress,
    )
    found = validate(submitted.archive, DEMO_EDITION, data, [f"{DEMO_LABEL}={done.run}"])
    return SubmissionRun(done, submitted, found)
