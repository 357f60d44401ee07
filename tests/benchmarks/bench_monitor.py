"""What `fit`, `check`, `check --watch` and a stream cost, with generated noise.

Targets: fit of 1,000 clips of 10 s within 60 s and 1 GiB on two cores; a check within 1.5 s of
processor time; a watched folder at 20 times real time on one core. With `beats` as an argument only
a folder watched with BEATs-base, whose weights are random.
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
BEATS_WATCHED = 5, 25


def cost(*words, **options):
    """Wall seconds, processor seconds and the children's largest memory in MiB of a command."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, "-m", "dcase_asd", *map(str, words)], check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options)  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - start, processor, after.ru_maxrss / 1024


def noise(random, folder, count):
    """A folder of so many clips."""
    folder.mkdir()
    for number in range(count):
        sound = 0.1 * random.standard_normal(SECONDS * RATE)
        soundfile.write(folder / f"{number}.wav", sound, RATE)


def watch_with_beats(folder, random):
    """Real time of one core, start and weights left out: the difference of two folders' time."""
    from dcase_asd_beats import Beats

    weights, model = folder / "beats.safetensors", folder / "beats.asd"
    Beats.from_checkpoint(random_weights=0).save(weights)
    few, many = BEATS_WATCHED
    for count in (few, many):
        noise(random, folder / f"{count}", count)
    cost("fit", folder / f"{few}", "--out", model, "--plugin", "beats", "--checkpoint", weights)
    times = [
        cost("check", model, folder / f"{count}", "--watch", "--idle", 1)[1]
        for count in (few, many)
    ]
    clip = (times[1] - times[0]) / (many - few)
    print(f"watch with BEATs-base: {SECONDS / clip:.1f} times real time of one core, {clip:.2f} s "
          f"a clip of {SECONDS} s, {times[0] - few * clip:.1f} s to start")  # fmt: skip


def main():
    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if sys.argv[1:] == ["beats"]:
            watch_with_beats(folder, random)
            return
        for place, count in (("normal", CLIPS), ("inbox", WATCHED)):
            noise(random, folder / place, count)
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
