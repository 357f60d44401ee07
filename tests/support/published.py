"""Archives as the challenge publishes them, very small."""

from __future__ import annotations

import io
import random
import wave
import zipfile
from pathlib import Path

from loopback import Loopback

from dcase_asd.editions.edition import load_edition


def clip(seed: int, frames: int = 400) -> bytes:
    """A WAV file of noise, always the same for a seed."""
    stream = io.BytesIO()
    with wave.open(stream, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(random.Random(seed).randbytes(2 * frames))
    return stream.getvalue()


def machine_clips(machine: str, part: str, clips: int = 3) -> dict[str, bytes]:
    """Path below the machine's folder -> content, in the grammar of 2025."""
    names = []
    for index in range(clips):
        number = f"{index:04d}"
        if part in ("dev", "add"):
            names.append(f"train/section_00_source_train_normal_{number}_noAttribute.wav")
            names.append(f"supplemental/section_00_noise_{number}_noAttribute.wav")
        if part == "dev":
            names.append(f"test/section_00_target_test_anomaly_{number}_noAttribute.wav")
        if part == "eval":
            names.append(f"test/section_00_{number}.wav")
    seed = f"{machine} {part}"
    files = {name: clip(hash_of(f"{seed} {name}")) for name in names}
    if part != "eval":
        files["attributes_00.csv"] = f"file_name,d1p,d1v\n{seed}\n".encode()
    return files


def hash_of(text: str) -> int:
    """A number for a text, the same in every process."""
    return int.from_bytes(text.encode(), "big")


def zipped(files: dict[str, bytes], root: str = "") -> bytes:
    """A zip of files below a folder."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(f"{root}/{name}" if root else name, content)
    return stream.getvalue()


def publish_edition(
    server: Loopback, name: str = "dcase2025", machines: int = 2, clips: int = 3
) -> dict[str, bytes]:
    """Publish an edition's first machines; returns path below the data folder -> content."""
    edition = load_edition(name)
    tree = {}
    for part, record in edition.records.items():
        archives = {}
        for archive in record.archives[:machines]:
            files = machine_clips(archive.machine, part, clips)
            archives[archive.name] = zipped(files, archive.machine)
            folder = "dev_data" if part == "dev" else "eval_data"
            for path, content in files.items():
                tree[f"{edition.folder}/{folder}/raw/{archive.machine}/{path}"] = content
        server.publish(record.number, archives)
    return tree


def machines_of(name: str, machines: int = 2) -> tuple[str, ...]:
    """The machines that `publish_edition` publishes."""
    records = load_edition(name).records.values()
    return tuple({a.machine: 0 for record in records for a in record.archives[:machines]})


def tree_below(data: Path) -> dict[str, bytes]:
    """Path below a data folder -> content, of everything but notes, locks and kept archives."""
    return {
        path.relative_to(data).as_posix(): path.read_bytes()
        for path in sorted(data.rglob("*"))
        if path.is_file() and path.relative_to(data).parts[0] != "downloads"
    }
