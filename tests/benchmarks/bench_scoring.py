"""Scoring 200 test against 1,000 train embeddings of 768, and its memory on a large bank."""

import resource
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from sklearn.neighbors import NearestNeighbors

from dcase_asd.scores.neighbors import nearest

ROUNDS = 15
TARGET_MS = 30
BANK = 400_000


def main():
    generator = np.random.default_rng(0)
    bank = generator.standard_normal((1000, 768), dtype=np.float32)
    queries = generator.standard_normal((200, 768), dtype=np.float32)

    def ours():
        return nearest(queries, bank)

    def reference():
        fitted = NearestNeighbors(n_neighbors=1, metric="cosine", algorithm="brute").fit(bank)
        return fitted.kneighbors(queries)[0][:, 0]

    times = {ours: [], reference: []}
    for _ in range(ROUNDS):
        for compute, seconds in times.items():
            started = time.perf_counter()
            compute()
            seconds.append(time.perf_counter() - started)
    own, other = (statistics.median(seconds) * 1e3 for seconds in times.values())
    print(
        f"scoring 200 x 1,000 x 768: {own:.1f} ms in float64, target {TARGET_MS} ms; "
        f"scikit-learn in float32 {other:.1f} ms, ratio {other / own:.2f}"
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bank.npy"
        large = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(BANK, 768))
        for start in range(0, BANK, 1000):
            large[start : start + 1000] = bank
        del large
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        mapped = np.memmap(path, dtype=np.float32, mode="r", offset=128, shape=(BANK, 768))
        nearest(queries, mapped)
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        size = path.stat().st_size / 2**20
    print(
        f"scoring against {BANK:,} clips ({size:.0f} MiB mapped from disk): peak memory grows by "
        f"{grown:.0f} MiB, mapped pages of the file included"
    )


if __name__ == "__main__":
    main()
