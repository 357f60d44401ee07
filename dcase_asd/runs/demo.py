"""The whole pipeline on the generated miniature of the challenge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dcase_asd.editions.edition import load_edition
from dcase_asd.errors import DataError, RecipeError
from dcase_asd.files import only_writer, write_text
from dcase_asd.miniature.machines import TWO_MICROPHONES
from dcase_asd.miniature.miniature import MiniatureSummary, write_miniature
from dcase_asd.progress import Progress, Silent
from dcase_asd.recipe.system import Embedding, System
from dcase_asd.recipe.toml import read_content
from dcase_asd.runs.presets import recipe_file
from dcase_asd.runs.recipes import Node
from dcase_asd.runs.runner import Runner, Setup, SystemRun
from dcase_asd.submission.submit import Submitted, submit
from dcase_asd.submission.validate import Validation, validate

DEMO_EDITION = "dcase2025"
DEMO_LABEL = "Miniature_DEMO_task2_1"
DEMO_FORM = f"""\
# The form of the demo's submission: edit it and run the demo again to see what changes.
# submissions/examples/submission.toml explains the fields.

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
class Demo:
    """What the demo gave: its system, its package and what the check found."""

    system: SystemRun
    submitted: Submitted
    validation: Validation


def make_demo_data(
    data: str | Path, progress: Progress | None = None, editions: Sequence[str] | None = None
) -> MiniatureSummary:
    """Generate the miniature of the challenge in a folder of its own.

    Args:
        data: The folder.
        progress: Where to tell how far it is.
        editions: As `write_miniature`.

    Raises:
        DataError: The folder holds anything else.
        EditionError: The miniature holds no such edition.
    """
    data = Path(data)
    if data.exists() and not data.is_dir():
        raise DataError(f"{data}: not a folder; give another one to the demo")
    with only_writer(data):
        names = None if editions is None else [load_edition(each).name for each in editions]
        return write_miniature(data, progress=progress or Silent(), editions=names)


def miniature_editions(recipes: Sequence[str | Path]) -> tuple[str, ...] | None:
    """Which editions of the miniature recipes and forms need; None for its own choice.

    Those with two microphones, where a form or recipe names one or takes the far channel out.

    Raises:
        RecipeError: A recipe cannot be read, or others name other editions.
    """
    named: set[str] = set()
    for recipe in recipes:
        content = read_content(recipe_file(recipe))
        names = [*([content["edition"]] if "edition" in content else content.get("editions", ()))]
        if not names and content.get("embed", {}).get("far", "none") != "none":
            names = [*TWO_MICROPHONES]
        named |= {load_edition(str(name)).name for name in names}
    if not named & {*TWO_MICROPHONES}:
        return None
    if others := sorted(named - {*TWO_MICROPHONES}):
        raise RecipeError(
            f"--mini: {', '.join(sorted(named - {*others}))} has two microphones and "
            f"{', '.join(others)} one; run these recipes one after the other"
        )
    return tuple(sorted(named))


def run_demo(folder: str | Path, progress: Progress | None = None) -> Demo:
    """Run everything on the generated miniature: data, scores, results, package, check.

    Args:
        folder: Where ``data``, ``runs`` and ``dist`` go.
        progress: Where to tell how far it is.

    Raises:
        DataError: The folder's ``data`` holds anything but the miniature.
    """
    folder, progress = Path(folder), progress or Silent()
    data = folder / "data"
    make_demo_data(data, progress)
    runner = Runner(Setup(data, folder / "runs", "cpu"), progress)
    runner.prepare()
    done = runner.run_and_evaluate(Node(folder, System("spectral", Embedding("spectral"))), ())
    form = folder / "submission.toml"
    if not form.exists():
        write_text(form, DEMO_FORM)
    # An earlier package of the demo is the demo's own, and may be replaced.
    submitted = submit(
        done.run, DEMO_EDITION, DEMO_LABEL, folder / "dist", form=form, overwrite=True,
        progress=progress,
    )  # fmt: skip
    found = validate(submitted.archive, DEMO_EDITION, data, [f"{DEMO_LABEL}={done.run}"])
    return Demo(done, submitted, found)
