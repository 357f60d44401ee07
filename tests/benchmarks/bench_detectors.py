"""BEAM with VarMin against a loop over bands with scikit-learn; memory of a large bank.

Both take one thread.
"""

import os
import statistics
import tempfile
import time
import tracemalloc
from pathlib import Path

import numpy as np
from sklearn.neighbors import NearestNeighbors
from threadpoolctl import threadpool_limits

from dcase_asd.scores.density import NearestClips
from dcase_asd.scores.kept import KeptNeighborhoods
from dcase_asd.scores.named import compose, find_detector
from dcase_asd.scores.neighbors import Neighborhood

ROUNDS = 7
AROUND = 4
TARGET = 10
BANK = 100_000
PART = 20_000


def reference(train, test):
    """The published formula, a band at a time, in float64."""
    scores = []
    for band in range(train.shape[1]):
        bank, queries = (each[:, band].astype(np.float64) for each in (train, test))
        fitted = NearestNeighbors(metric="cosine", algorithm="brute").fit(bank)
        near, others = (each[:, 1:] for each in fitted.kneighbors(bank, AROUND + 1))
        scales = near.mean(axis=1)
        own, of_nearest = near[:, 0], scales[others[:, 0]]
        covariance = np.cov(own, of_nearest, bias=True)
        distances, clips = fitted.kneighbors(queries, len(bank))
        seen = distances - covariance[0, 1] / covariance[1, 1] * scales[clips]
        scores.append(seen.min(axis=1))
    return np.mean(scores, axis=0)


def detector():
    return compose(find_detector("varmin", {"around": AROUND}), bands=True)


def main():
    threadpool_limits(1)
    print(f"load of the last minute {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    generator = np.random.default_rng(0)
    train = generator.standard_normal((1000, 8, 768), dtype=np.float32)
    test = generator.standard_normal((200, 8, 768), dtype=np.float32)
    with tempfile.TemporaryDirectory() as folder:
        marker = Path(folder) / "fan.json"
        kept = KeptNeighborhoods(marker, "")
        fitted = detector().fit(train, None, kept.find)
        kept.save()

        def of_file():
            file = KeptNeighborhoods(marker, "")
            return detector().fit(train, None, file.find).score(test)

        ways = {
            "scikit-learn": lambda: reference(train, test),
            "anew": lambda: detector().fit(train).score(test),
            "with kept scales": of_file,
            "fitted before": lambda: fitted.score(test),
        }
        times, found = {name: [] for name in ways}, {}
        for _ in range(ROUNDS):
            for name, compute in ways.items():
                started = time.perf_counter()
                found[name] = compute()
                times[name].append(time.perf_counter() - started)
    middle = {name: statistics.median(seconds) for name, seconds in times.items()}
    for name, seconds in middle.items():
        apart = np.abs(found[name] / found["scikit-learn"] - 1).max()
        print(
            f"BEAM and VarMin, 200 x 1,000 x 8 x 768, {name}: {1e3 * seconds:.0f} ms, ratio "
            f"{middle['scikit-learn'] / seconds:.1f} (target {TARGET}), relative difference "
            f"at most {apart:.1e}"
        )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bank.npy"
        bank = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(BANK, 64))
        for start in range(0, BANK, 1000):
            bank[start : start + 1000] = generator.standard_normal((1000, 64))
        # The time of finding neighborhoods grows with the square, their memory does not: it is
        # measured of a part, and scoring of the whole bank with a neighborhood made up.
        near = Neighborhood(np.ones((BANK, AROUND + 1)), np.zeros((BANK, AROUND + 1), np.intp))
        part = NearestClips(form="variance", around=AROUND)
        large = NearestClips(form="variance", around=AROUND)
        for name, compute in {
            f"finding {PART:,} neighborhoods": lambda: part.fit(bank[:PART]),
            f"leave-one-out scores of {PART:,}": part.leave_one_out,
            f"200 clips against {BANK:,}": lambda: large.fit(bank, kept=lambda *_: near).score(
                test[:, 0, :64]
            ),
        }.items():
            tracemalloc.start()
            started = time.perf_counter()
            compute()
            seconds = time.perf_counter() - started
            peak = tracemalloc.get_traced_memory()[1] / 2**20
            tracemalloc.stop()
            print(f"VarMin, {name}: {seconds:.1f} s, peak {peak:.0f} MiB beside the mapped file")
    print(f"all distances of {BANK:,} references would be {BANK * BANK * 8 / 2**30:.0f} GiB")


if __name__ == "__main__":
    main()
