"""Recipes and the recipes that they name, read and checked before anything runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dcase_asd.errors import DcaseAsdError, EditionError, RecipeError
from dcase_asd.recipe.fusion import FusedSystem
from dcase_asd.recipe.subset import Subset
from dcase_asd.recipe.system import System
from dcase_asd.recipe.toml import read_content, read_recipe, recipe_from
from dcase_asd.runs.overlay import GIVEN, Overlay
from dcase_asd.runs.presets import recipe_file
from dcase_asd.submission.meta import SubmissionForm


@dataclass(frozen=True)
class Node:
    """A system's recipe, with those of the systems that it fuses.

    Attributes:
        path: The recipe file.
        recipe: What it says, with the overlay.
        members: Of a fusion, in its order; of a system that learns pseudo-labels the one whose
            embeddings are clustered, where another recipe makes it.
    """

    path: Path
    recipe: System | FusedSystem
    members: tuple[Node, ...] = ()

    @property
    def name(self) -> str:
        """Name of the run folder."""
        return self.recipe.name

    @property
    def is_fusion(self) -> bool:
        """Whether it fuses its members."""
        return isinstance(self.recipe, FusedSystem)

    @property
    def subset(self) -> Subset:
        """Which clips are taken, of a fusion by its first system: all must score the same."""
        return (
            self.members[0].subset if isinstance(self.recipe, FusedSystem) else self.recipe.subset
        )

    def single(self, runs: Path) -> System | None:
        """The system with the run folder of what it clusters; None of a fusion.

        Args:
            runs: Folder of the run folders.
        """
        if isinstance(self.recipe, FusedSystem):
            return None
        if self.recipe.train is None or not self.members:
            return self.recipe
        train = replace(self.recipe.train, pseudo_run=str(runs / self.members[0].name))
        return replace(self.recipe, train=train)

    @property
    def tables(self) -> set[str]:
        """Tables of the recipe that single values can be given of."""
        if isinstance(self.recipe, FusedSystem):
            return {"fusion"}
        return {"embed", "score", "data", *(() if self.recipe.train is None else ("train",))}

    def walk(self) -> Iterator[Node]:
        """This node after all that it is made of, each once."""
        seen: set[str] = set()
        for member in self.members:
            for each in member.walk():
                if each.name not in seen:
                    seen.add(each.name)
                    yield each
        yield self


@dataclass(frozen=True)
class Form:
    """A submission's form and the system that it submits."""

    path: Path
    form: SubmissionForm
    node: Node

    @property
    def report(self) -> Path | None:
        """The technical report."""
        return self.path.parent / self.form.report if self.form.report else None


def is_submission(recipe: str | Path) -> bool:
    """Whether a TOML file is a submission's form rather than a system's recipe.

    Raises:
        RecipeError: It is no readable TOML file.
    """
    return "system" in read_content(recipe_file(recipe))


def read_all(
    paths: Sequence[str | Path], overlay: Overlay | None = None
) -> tuple[list[Form], list[Node]]:
    """Read forms and recipes, in their order, and all that they name.

    Raises:
        RecipeError: As `read_forms` and `read_nodes`; or a value is given of a table that none has.
    """
    overlay = overlay or Overlay()
    forms = read_forms([path for path in paths if is_submission(path)], overlay)
    nodes = read_nodes([path for path in paths if not is_submission(path)], overlay)
    tops = [*(form.node for form in forms), *nodes]
    there = {table for top in tops for each in top.walk() for table in each.tables}
    if lacking := [name for name in overlay.values if name not in there]:
        tables = ", ".join(f"[{name}]" for name in lacking)
        raise RecipeError(f"{GIVEN}: none of the recipes has {tables}; leave these values out")
    return forms, nodes


def read_nodes(paths: Sequence[str | Path], overlay: Overlay | None = None) -> list[Node]:
    """Read recipes and all that they name.

    Raises:
        RecipeError: What is wrong with any of them: mistakes in a recipe, a recipe that is not
            there, a fusion of itself, two systems of the same name.
    """
    reader = _Reader(overlay or Overlay())
    nodes = [reader.read(recipe_file(path)) for path in paths]
    reader.refuse()
    return [node for node in nodes if node is not None]


def read_forms(paths: Sequence[str | Path], overlay: Overlay | None = None) -> list[Form]:
    """Read forms with the recipes of their systems.

    Raises:
        RecipeError: As `read_nodes`; or a form is wrong or lacks what running it needs, or two
            have the same label.
    """
    reader = _Reader(overlay or Overlay())
    forms: list[Form] = []
    for path in map(recipe_file, paths):
        form = reader.read_form(path)
        node = None if form is None else reader.read(path.parent / form.system, str(path))
        if form is not None and node is not None:
            same = [str(each.path) for each in forms if each.form.label == form.label]
            if same:
                reader.problems.append(f"{path}: has the label {form.label} of {same[0]}")
            forms.append(Form(path, form, node))
    reader.refuse()
    return forms


class _Reader:
    """Reads recipes, each once, and collects what is wrong with them."""

    def __init__(self, overlay: Overlay) -> None:
        self.overlay = overlay
        self.problems: list[str] = []
        self.nodes: dict[Path, Node | None] = {}
        self.names: dict[str, Path] = {}
        self.open: list[Path] = []

    def refuse(self) -> None:
        """Raise all problems as one error."""
        if self.problems:
            raise RecipeError("; ".join(dict.fromkeys(self.problems)))

    def read_form(self, path: Path) -> SubmissionForm | None:
        """Read a form; None where it cannot be run."""
        try:
            form = read_recipe(path, SubmissionForm)
        except DcaseAsdError as error:
            self.problems.append(str(error))
            return None
        lacking = [name for name in ("label", "edition", "system") if not getattr(form, name)]
        if lacking:
            self.problems.append(
                f"{path}: to run a submission its form must say {', '.join(lacking)}"
            )
            return None
        return form

    def read(self, path: Path, named_by: str = "") -> Node | None:
        """Read a recipe and those that it names; None where one of them is wrong."""
        key = path.resolve()
        if key in self.open:
            self.problems.append(f"{path}: is made of itself, through {named_by}")
            return None
        if key not in self.nodes:
            self.open.append(key)
            self.nodes[key] = self._read(path, named_by)
            self.open.pop()
        return self.nodes[key]

    def _read(self, path: Path, named_by: str) -> Node | None:
        if not path.is_file():
            by = f", which {named_by} names" if named_by else ""
            self.problems.append(f"{path}: no such recipe file{by}")
            return None
        try:
            content = self.overlay.over(read_content(path))
            source = f"{path} with {self.overlay.source}" if self.overlay.source else str(path)
            kind: type[System | FusedSystem] = FusedSystem if "fusion" in content else System
            recipe = recipe_from(content, kind, source)
        except (RecipeError, EditionError) as error:
            self.problems.append(str(error))
            return None
        first = self.names.setdefault(recipe.name, path)
        if first is not path:
            self.problems.append(
                f"{path}: has the name {recipe.name!r} of {first}; their run folders would be one"
            )
        files = []
        if isinstance(recipe, FusedSystem):
            files = [path.parent / f"{system}.toml" for system in recipe.fusion.systems]
        elif recipe.train is not None and recipe.train.pseudo_recipe:
            files = [path.parent / recipe.train.pseudo_recipe]
        members = [self.read(file, str(path)) for file in files]
        found = tuple(node for node in members if node is not None)
        return Node(path, recipe, found) if len(found) == len(members) else None
