"""`prepare` on 100,000 clips: files a second and peak memory, in a process of its own."""

import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

from dcase_asd.clips.prepare import prepare

CLIPS = 100_000
MACHINES = 10
FRAMES = 1000
TARGET_PER_SECOND, TARGET_MIB = 3000, 1024


def write_tree(data):
    """Small clips, each with its own audio: what is read of a clip does not grow with it."""
    first = data / "first.wav"
    soundfile.write(first, np.zeros(FRAMES), 16000, subtype="PCM_16")
    header = first.read_bytes()[:44]
    first.unlink()
    generator = np.random.default_rng(0)
    for machine in range(MACHINES):
        folder = data / f"dcase2025t2/dev_data/raw/machine{machine}/train"
        folder.mkdir(parents=True)
        for index in range(CLIPS // MACHINES):
            number = f"section_{index // 1000:02d}_source_train_normal_{index % 1000:04d}"
            name = f"{number}_vel_{machine}.wav"
            samples = generator.integers(-1000, 1000, FRAMES, dtype=np.int16)
            (folder / name).write_bytes(header + samples.tobytes())


def main():
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder)
        write_tree(data)
        started = time.perf_counter()
        found = prepare(data)
        first = time.perf_counter() - started
        started = time.perf_counter()
        again = prepare(data)
        second = time.perf_counter() - started
    if not (len(found.clips) == CLIPS and found.read == CLIPS and again.read == 0):
        sys.exit("prepare did not find the clips that were written")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"prepare, {CLIPS:,} clips warm: {CLIPS / first:,.0f} clips/s, "
        f"target {TARGET_PER_SECOND:,}; unchanged {CLIPS / second:,.0f} clips/s; "
        f"peak memory {peak:.0f} MiB, target {TARGET_MIB}"
    )


if __name__ == "__main__":
    main()
