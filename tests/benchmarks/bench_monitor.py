"""What `fit`, `check`, `check --watch` and a stream cost, with generated noise.

Targets: fit of 1,000 clips of 10 s within 60 s and 1 GiB on two cores; a check within 1.5 s of
processor time; a watched folder at 20 times real time on one core.
"""

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

CLIPS, SECONDS, RATE, WATCHED, HOURS = 1000, 10, 16000, 200, 1


def cost(*words, **options):
    """Wall seconds, processor seconds and the children's largest memory in MiB of a command."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, "-m", "dcase_asd", *map(str, words)], check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options)  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - start, processor, after.ru_maxrss / 1024


def main():
    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for place, count in (("normal", CLIPS), ("inbox", WATCHED)):
            (folder / place).mkdir()
            for number in range(count):
                sound = 0.1 * random.standard_normal(SECONDS * RATE)
                soundfile.write(folder / place / f"{number}.wav", sound, RATE)
        model = folder / "x.asd"
        wall, processor, memory = cost("fit", folder / "normal", "--out", model)
        print(f"fit, {CLIPS} clips of {SECONDS} s: {wall:.1f} s, {processor:.1f} s of processor "
              f"time, {memory:.0f} MiB; model {model.stat().st_size / 1e6:.1f} MB")  # fmt: skip
        wall, processor, _ = cost("check", model, folder / "inbox/0.wav")
        print(f"check of one clip: {wall:.2f} s, {processor:.2f} s of processor time")
        wall, processor, _ = cost("check", model, folder / "inbox", "--watch", "--idle", 1)
        print(f"watch, {WATCHED} clips: {WATCHED * SECONDS / processor:.0f} times real time of "
              f"one core ({processor:.1f} s, its start included)")  # fmt: skip
        with (folder / "long.raw").open("wb") as file:
            for _ in range(HOURS * 60):
                file.write((3000 * random.standard_normal(60 * RATE)).astype("<i2").tobytes())
        with (folder / "long.raw").open("rb") as file:
            words = ["check", model, "-", "--rate", RATE, "--window", SECONDS]
            wall, processor, _ = cost(*words, stdin=file)
        print(f"stream of {HOURS} h: {HOURS * 3600 / processor:.0f} times real time of one core")


if __name__ == "__main__":
    main()
