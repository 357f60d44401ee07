"""BEAM with VarMin against a loop over bands with scikit-learn; memory and time of a large bank.

Both take one thread, then both as many as there are cores; times are the processor's for one
thread, as other work takes no part in them. With the word `large` it runs a bank of 100,000 clips
of 768 values to its end, some minutes.
"""

import os
import statistics
import sys
import tempfile
import time
import tracemalloc
from pathlib import Path

import numpy as np
from sklearn.neighbors import NearestNeighbors
from threadpoolctl import threadpool_limits

from dcase_asd.embeddings.store import writing_vectors
from dcase_asd.scores.density import NearestClips
from dcase_asd.scores.kept import KeptNeighborhoods
from dcase_asd.scores.named import compose, find_detector
from dcase_asd.scores.neighbors import Neighborhood

ROUNDS = 9
AROUND = 4
TARGET = 10
CLIPS = 1000
BANK = 100_000
PART = 20_000


def scales_of(bank):
    """Fitted nearest neighbors of a band, each clip's scale, and the coefficient."""
    fitted = NearestNeighbors(metric="cosine", algorithm="brute").fit(bank)
    near, others = (each[:, 1:] for each in fitted.kneighbors(bank, AROUND + 1))
    scales = near.mean(axis=1)
    covariance = np.cov(near[:, 0], scales[others[:, 0]], bias=True)
    return fitted, scales, covariance[0, 1] / covariance[1, 1]


def scored(known, queries):
    """The published formula, in float64."""
    fitted, scales, coefficient = known
    distances, clips = fitted.kneighbors(queries, len(scales))
    return (distances - coefficient * scales[clips]).min(axis=1)


def bands_of(clips):
    return [clips[:, band].astype(np.float64) for band in range(clips.shape[1])]


def reference(train, test):
    bands = zip(bands_of(train), bands_of(test), strict=True)
    return np.mean([scored(scales_of(bank), queries) for bank, queries in bands], axis=0)


def reference_of(known, test):
    """The same with all that is known of the train clips before."""
    bands = zip(known, bands_of(test), strict=True)
    return np.mean([scored(of_band, queries) for of_band, queries in bands], axis=0)


def detector():
    return compose(find_detector("varmin", {"around": AROUND}), bands=True)


def compare(threads, generator):
    """Time of each way to score, and ratios."""
    clips = generator.standard_normal((CLIPS + 200, 8, 768), dtype=np.float32)
    clock = time.process_time if threads == 1 else time.perf_counter
    with tempfile.TemporaryDirectory() as folder, threadpool_limits(threads):
        marker = Path(folder) / "fan.json"
        with writing_vectors(marker, len(clips), clips.shape[1:]) as file:
            file.write(clips.tobytes())

        def mapped():
            vectors = np.load(marker.with_suffix(".npy"), mmap_mode="r")
            kept = KeptNeighborhoods(marker, "", vectors)
            return vectors[:CLIPS], vectors[CLIPS:], kept

        train, test, kept = mapped()
        fitted = detector().fit(train, None, kept.find)
        kept.save()
        known = [scales_of(bank) for bank in bands_of(train)]

        def stored():
            train, test, kept = mapped()
            return detector().fit(train, None, kept.find).score(test)

        ways = {
            "scikit-learn": lambda: reference(train, test),
            "scikit-learn, fitted before": lambda: reference_of(known, test),
            "anew": lambda: detector().fit(train).score(test),
            "with stored neighborhoods": stored,
            "fitted before": lambda: fitted.score(test),
        }
        times, found = {name: [] for name in ways}, {}
        for _ in range(ROUNDS):
            for name, compute in ways.items():
                started = clock()
                found[name] = compute()
                times[name].append(clock() - started)
    middle = {name: statistics.median(seconds) for name, seconds in times.items()}
    for name, seconds in middle.items():
        apart = np.abs(found[name] / found["scikit-learn"] - 1).max()
        print(
            f"BEAM and VarMin, 200 x 1,000 x 8 x 768, {threads} thread(s), {name}: "
            f"{1e3 * seconds:.0f} ms, ratio {middle['scikit-learn'] / seconds:.1f} (target "
            f"{TARGET}), relative difference at most {apart:.1e}"
        )


def measured(name, compute):
    """Say how long it takes and how much memory."""
    tracemalloc.start()
    started = time.perf_counter()
    compute()
    seconds = time.perf_counter() - started
    peak = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    print(f"VarMin, {name}: {seconds:.1f} s, peak {peak:.0f} MiB beside the mapped file")


def bank_on_disk(folder, dimension, generator):
    path = Path(folder) / "bank.npy"
    bank = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(BANK, dimension))
    for start in range(0, BANK, 1000):
        bank[start : start + 1000] = generator.standard_normal((1000, dimension))
    return np.load(path, mmap_mode="r")


def large(generator):
    """All of a large bank, to the end."""
    with tempfile.TemporaryDirectory() as folder:
        bank = bank_on_disk(folder, 768, generator)
        varmin = NearestClips(form="variance", around=AROUND)
        measured(f"finding {BANK:,} neighborhoods of 768 values", lambda: varmin.fit(bank))
        measured(f"leave-one-out scores of {BANK:,} of 768 values", varmin.leave_one_out)
        measured(f"200 clips against {BANK:,} of 768 values", lambda: varmin.score(bank[:200] + 1))


def main():
    with Path("/proc/cpuinfo").open() as file:
        names = {line.partition(":")[2].strip() for line in file if line.startswith("model name")}
    print(f"{' '.join(sorted(names))}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    generator = np.random.default_rng(0)
    if "large" in sys.argv[1:]:
        return large(generator)
    for threads in (1, os.cpu_count()):
        compare(threads, generator)
    threadpool_limits(1)
    with tempfile.TemporaryDirectory() as folder:
        bank = bank_on_disk(folder, 64, generator)
        # The time of finding neighborhoods grows with the square, their memory does not: it is
        # measured of a part, and scoring of the whole bank with a neighborhood made up.
        near = Neighborhood(np.ones((BANK, AROUND + 1)), np.zeros((BANK, AROUND + 1), np.intp))
        part, whole = (NearestClips(form="variance", around=AROUND) for _ in range(2))
        test = generator.standard_normal((200, 64), dtype=np.float32)
        measured(f"finding {PART:,} neighborhoods", lambda: part.fit(bank[:PART]))
        measured(f"leave-one-out scores of {PART:,}", part.leave_one_out)
        measured(
            f"200 clips against {BANK:,}",
            lambda: whole.fit(bank, kept=lambda *_: near).score(test),
        )
    print(f"all distances of {BANK:,} references would be {BANK * BANK * 8 / 2**30:.0f} GiB")
    return None


if __name__ == "__main__":
    main()
