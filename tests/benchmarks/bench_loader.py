"""The training loader beside a network as fast as a GPU's, and where its time goes.

A stub stands for the network: it waits as long as an H100 at half its peak takes for BEATs-base, so
that the loader has the cores to itself, as beside a GPU; and batches are copied into memory that is
used again and again, as torch's page-locked memory is. It is compared with what most training
code does (`torch.utils.data.DataLoader`, soundfile, float32), and recordings with packed ones.
Crops and noise are those of the default recipe. `--cold` empties the page cache before (root only):
then what is measured is the disk, too. Processor time counts all threads and processes.
"""

import argparse
import os
import resource
import tempfile
import time
from collections import deque
from pathlib import Path

import numpy as np
import soundfile
import torch
from torch.utils.data import DataLoader, Dataset

from dcase_asd.clips.cache import content_hashes
from dcase_asd.clips.pack import packed_recordings
from dcase_asd.clips.prepare import prepare
from dcase_asd.progress import Silent
from dcase_asd.recipe.training import Training
from dcase_asd.sources import opened
from dcase_asd.training.augment import mix_at_snr
from dcase_asd.training.batches import BATCHES_AHEAD, TrainingBatches, load_batches
from dcase_asd.training.data import read_training_set

CLIPS, NOISE, MACHINES = 2000, 100, 4
SECONDS, RATE = 10, 16_000
STEP = 0.75e-3  # seconds a clip
CORES = 2
ROUNDS = 15  # of what is timed alone
WARM_UP = 8  # batches that are read while the threads begin
DROP_CACHES = Path("/proc/sys/vm/drop_caches")


def write_recordings(data, channels):
    """16-bit WAV of noise, as in an edition of the challenge; prepared and packed."""
    generator = np.random.default_rng(0)
    frames = SECONDS * RATE
    pool = generator.integers(-3000, 3000, (1 << 22) + frames * channels, dtype=np.int16)
    kinds = {
        "train/section_00_source_train_normal_{:04d}_v_{}.wav": CLIPS,
        "supplemental/section_00_noise_{:04d}_noAttribute.wav": NOISE,
    }
    for machine in range(MACHINES):
        for name, count in kinds.items():
            for index in range(count // MACHINES):
                path = data / f"dcase2025t2/dev_data/raw/machine{machine}" / name.format(index, 0)
                path.parent.mkdir(parents=True, exist_ok=True)
                start = int(generator.integers(1 << 22))
                sound = pool[start : start + frames * channels].reshape(frames, channels)
                soundfile.write(path, sound, RATE, subtype="PCM_16")
    prepare(data, pack=True)


class Plain(Dataset):
    """A clip or its noise at a time, as a collation function stacks them."""

    def __init__(self, batches):
        self.batches = batches

    def __getitem__(self, place):
        paths = self.batches.clips.paths
        noise = self.batches.noise.paths
        clip = self.read(paths[place % len(paths)])
        return clip, self.read(noise[place % len(noise)]) if place % 2 else torch.zeros_like(clip)

    def __len__(self):
        return 1 << 30

    def read(self, path):
        sound, _ = soundfile.read(self.batches.data / path, dtype="float32", always_2d=True)
        return torch.from_numpy(sound[:, 0].copy())


class PageLocked:
    """Memory that stands for page-locked one, of which torch keeps a pool."""

    def __init__(self, settings):
        shape = settings.batch_size, round(settings.seconds * RATE)
        # Clips and noise of what is read ahead, being read, and in use.
        count = 2 * (CORES * BATCHES_AHEAD + CORES + 2)
        self.pool = deque(torch.zeros(shape, dtype=torch.int16) for _ in range(count))

    def copy(self, tensor):
        """What takes the place of `Tensor.pin_memory`."""
        if tensor.ndim == 1:
            return tensor.clone()
        room = self.pool.popleft()
        self.pool.append(room)
        return room[: len(tensor)].copy_(tensor)


def processor():
    """Seconds of this process and those of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def train(batches, count, size):
    """Feed the stub; returns its idle share, clips/s, and clips a second of processor time."""
    before = processor()
    loaded = iter(batches)
    waited = 0.0
    for number in range(count):
        if number == WARM_UP:
            waited, started = 0.0, time.perf_counter()
        asked = time.perf_counter()
        next(loaded)
        waited += time.perf_counter() - asked
        time.sleep(STEP * size)
    took = time.perf_counter() - started
    del loaded  # worker processes end, and are counted then
    clips = (count - WARM_UP) * size
    return waited / took, clips / took, count * size / (processor() - before)


def microseconds(action, count):
    """Processor time of an action on `count` clips, for each of them; the least of some rounds."""
    times = []
    for number in range(ROUNDS):
        before = time.thread_time()
        action(number)
        times.append(time.thread_time() - before)
    return 1e6 * min(times) / count


def parts(batches, packed):
    """Print what a clip costs, part by part; every second has noise, which is read as well."""
    size, samples = batches.settings.batch_size, batches.samples
    paths = [batches.data / path for path in batches.clips.paths]
    with opened(paths[0]) as source:
        room = np.empty(samples * source.header.channels, dtype=np.int16)

    def files(number):  # others each round, as what was just read is in the processor's cache
        return paths[number * size : (number + 1) * size]

    def open_files(number):
        for path in files(number):
            path.open("rb", buffering=0).close()

    def read_headers(number):
        for path in files(number):
            with opened(path):
                pass

    def read(number):
        for path in files(number + ROUNDS):
            with path.open("rb", buffering=0) as file:
                file.seek(44)
                file.readinto(room.data)

    opening, header, reading = (
        microseconds(each, size) for each in (open_files, read_headers, read)
    )
    whole, whole_packed = (
        microseconds(lambda number, of=of: of[number], size) for of in (batches, packed)
    )
    batch = batches[0]
    floats = microseconds(lambda _: batch.on(torch.device("cpu")), size)
    clips = batch.on(torch.device("cpu"))
    noise = (clips.waveforms, clips.lengths, clips.noise, clips.snr)
    mixing = microseconds(lambda _: mix_at_snr(*noise), size)
    shares = len(batch.noise) / size + 1
    rest = whole - shares * (header + reading - opening)
    print(
        f"loader: microseconds of processor time: a file: open {opening:.0f}, header "
        f"{header - opening:.0f}, read {reading - opening:.0f}; a clip of a batch, with noise: "
        f"{whole:.0f}, of which {rest:.0f} are draws, crops, new memory and the rest; from packs "
        f"{whole_packed:.0f}, ratio {whole / whole_packed:.2f}; on the device (here: this "
        f"processor) int16 to float {floats:.0f}, mixing noise {mixing:.0f}"
    )


def measure(channels, cold, rounds):
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder)
        write_recordings(data, channels)
        settings = Training()
        chosen = read_training_set(data, settings)
        paths = [*chosen.clips["path"], *chosen.noise["path"]]
        packs = packed_recordings(data, content_hashes(data, paths, Silent()), Silent())
        files = TrainingBatches(data, chosen, settings, RATE)
        packed = TrainingBatches(data, chosen, settings, RATE, packed=packs)
        size, count = settings.batch_size, CLIPS // settings.batch_size - 1
        locked = PageLocked(settings)
        torch.Tensor.pin_memory = lambda tensor, copy=locked.copy: copy(tensor)
        plain = DataLoader(Plain(files), size, num_workers=CORES)
        found = {}
        for _ in range(rounds):
            loaders = {
                "DataLoader": plain,
                "files": load_batches(files, range(count), CORES, pin=True),
                "packs": load_batches(packed, range(count), CORES, pin=True),
            }
            for name, batches in loaders.items():
                if cold:
                    os.sync()
                    DROP_CACHES.write_text("3\n")
                found.setdefault(name, []).append(train(batches, count, size))
        best = {}
        for name, each in found.items():
            idles, speeds, per_core = zip(*each, strict=True)
            best[name] = max(per_core)
            print(
                f"loader: {channels} channel(s), {'cold' if cold else 'warm'}, {name}: idle "
                f"{100 * min(idles):.1f} % of the time at {STEP * 1e3:g} ms a clip, "
                f"{max(speeds):.0f} clips/s; {best[name]:.0f} clips a second of processor time"
            )
        print(
            f"loader: clips a second of processor time: files "
            f"{best['files'] / best['DataLoader']:.1f} times DataLoader, packs "
            f"{best['packs'] / best['files']:.1f} times files"
        )
        if not cold:
            parts(files, packed)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--cold", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    print(f"loader: other programs' load at the start: {os.getloadavg()[0]:.1f}")
    for channels in (1, 2):
        measure(channels, given.cold, given.rounds)


if __name__ == "__main__":
    main()
