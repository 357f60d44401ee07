"""A system without weights, and all that a run folder holds."""

from dcase_asd.recipe.system import Embedding, System


def system(**settings):
    return System("spectral", Embedding("spectral", **settings))


def contents(run):
    return {
        path.relative_to(run): path.read_bytes()
        for path in sorted(run.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }
