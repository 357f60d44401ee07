"""Downloads of a published edition, and one machine of it to look at."""

from dcase_asd.downloads.download import download
from dcase_asd.downloads.plan import plan_download

DEV = "/records/15097779/files/dev_ToyCar.zip"
"""Address, on a server, of the one machine's archive of development clips."""
DEV_TREE = "dcase2025t2/dev_data/raw/ToyCar"
"""Its folder below the data folder."""


def run(request, progress=None):
    return download(plan_download(request), progress)


def states(request):
    return {file.archive.name: file.state for file in plan_download(request).files}


def below(tree, folder):
    return {path: content for path, content in tree.items() if path.startswith(folder + "/")}
