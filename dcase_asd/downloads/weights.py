"""Fetch the published weights that plugins name into the cache."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dcase_asd.downloads.fetch import fetch
from dcase_asd.downloads.http import Connection, Patience
from dcase_asd.downloads.partial import RemoteFile, file_checksum
from dcase_asd.errors import BackboneError, DownloadError
from dcase_asd.files import only_writer
from dcase_asd.progress import Progress, Silent
from dcase_asd.registry import (
    Checkpoint,
    WeightFile,
    by_hand,
    choose_checkpoint,
    installed_plugins,
    named_checkpoints,
)


@dataclass(frozen=True)
class WeightsRow:
    """A checkpoint that an installed plugin names, where it belongs, and whether it is there."""

    plugin: str
    checkpoint: Checkpoint
    path: Path
    there: bool


def list_weights() -> list[WeightsRow]:
    """All checkpoints that the installed plugins name.

    Raises:
        RecipeError: A plugin's list is malformed.
    """
    return [
        WeightsRow(
            plugin.name, checkpoint, checkpoint.path(plugin.name), checkpoint.is_there(plugin.name)
        )
        for plugin in installed_plugins()
        for checkpoint in named_checkpoints(plugin)
    ]


def fetch_weights(
    plugin: str,
    name: str = "",
    *,
    mirror: str = "",
    patience: Patience | None = None,
    progress: Progress | None = None,
) -> Path:
    """Put a plugin's weights into the cache, each file checked where its checksum is known.

    Args:
        plugin: The plugin's name.
        name: The checkpoint's name; empty for the plugin's default.
        mirror: Address that takes the place of scheme and host.
        patience: How long faults of the server are borne.
        progress: Told about every file.

    Returns:
        What the plugin opens: a file, or a folder where there are several.

    Raises:
        BackboneError: No such plugin or checkpoint; or a file can only be had by hand.
        DownloadError: A file cannot be fetched, or is not the published one.
    """
    progress = progress or Silent()
    checkpoint = choose_checkpoint(plugin, name)
    folder = checkpoint.folder(plugin)
    with only_writer(folder), Connection(mirror, patience) as connection:
        for file in checkpoint.files:
            path = folder / file.name
            if path.is_file():
                if file.sha256 and file_checksum(path, "sha256") != file.sha256:
                    raise DownloadError(
                        f"{path}: not the published file, as its SHA-256 is another; "
                        "delete it and run again"
                    )
                continue
            if not file.url:
                raise BackboneError(
                    f"{checkpoint.name}: cannot be fetched; {by_hand(plugin, checkpoint)}"
                )
            try:
                _fetch(connection, file, path, progress)
            except DownloadError as error:
                raise DownloadError(f"{error}; or {by_hand(plugin, checkpoint)}") from error
    return checkpoint.path(plugin)


def _fetch(connection: Connection, file: WeightFile, path: Path, progress: Progress) -> None:
    checksum = f"sha256:{file.sha256}"
    with progress.bar(file.name, 0, "bytes") as advance:
        fetch(connection, RemoteFile(file.url, None, checksum), path, advance)
    with path.open("rb") as content:
        is_page = content.read(1) == b"<"
    if is_page and not file.sha256:
        path.unlink()
        raise DownloadError(f"{connection.address(file.url)}: a web page came instead of weights")
