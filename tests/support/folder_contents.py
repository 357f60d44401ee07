"""All files below a folder, to compare what was written."""


def tree(folder):
    """Path below a folder -> content, of everything but locks."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }
