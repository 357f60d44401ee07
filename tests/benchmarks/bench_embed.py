"""`embed` streams: memory does not grow with the clips, and reading overlaps computing."""

import subprocess
import sys
import tempfile
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import soundfile

from dcase_asd.embeddings.reading import Recording, read_batches

SECONDS = 10
DELAY = 0.02  # seconds that reading a clip and computing a clip each are made to take

PROGRAM = """
import resource, sys
from pathlib import Path
from dcase_asd.embeddings.embed import embed
from dcase_asd.clips.prepare import prepare
from dcase_asd.recipe.system import Embedding, System
data = Path(sys.argv[1])
prepare(data)
embed(data, data / "run", "dcase2025", System("spectral", Embedding("spectral")))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def peak_memory(clips):
    with tempfile.TemporaryDirectory() as folder:
        train = Path(folder) / "dcase2025t2/dev_data/raw/fan/train"
        train.mkdir(parents=True)
        generator = np.random.default_rng(0)
        for index in range(clips):
            sound = generator.integers(-3000, 3000, SECONDS * 16000, dtype=np.int16)
            name = f"section_{index // 10000:02d}_source_train_normal_{index % 10000:04d}_x.wav"
            soundfile.write(train / name, sound, 16000)
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, folder], check=True, capture_output=True, text=True
        )
    return float(done.stdout)


class SlowReaders(ThreadPoolExecutor):
    """Threads for which reading takes a while, as on a network disk."""

    def submit(self, function, /, *arguments, **options) -> Future:
        def slowly():
            time.sleep(DELAY)
            return function(*arguments, **options)

        return super().submit(slowly)


def overlap():
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.wav"
        soundfile.write(path, np.zeros(1600), 16000)
        recordings = [Recording(path, 1600, 16000)] * 64
        started = time.perf_counter()
        with SlowReaders(1) as readers:
            for batch in read_batches(recordings, 8, readers):
                time.sleep(DELAY * len(batch.paths))
        took = time.perf_counter() - started
    return 2 * DELAY * len(recordings) / took


def main():
    few, many = peak_memory(100), peak_memory(1000)
    audio = 900 * SECONDS * 16000 * 4 / 2**20
    print(
        f"embed: peak memory {few:.0f} MiB for 100 clips, {many:.0f} MiB for 1,000 "
        f"(their audio is {audio:.0f} MiB more); ratio {many / few:.2f}"
    )
    print(f"embed: reading overlaps computing of equal length, ratio {overlap():.2f} of at most 2")


if __name__ == "__main__":
    main()
