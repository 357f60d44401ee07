"""How often the marked span of a generated fault overlaps the true one, per fault and SNR.

SNR is that of `located_faults.Machine.faulty`: of a fault to the machine's own sound in its band,
of a missing harmonic and a dropout the dB that the sound is lowered by.
"""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from located_faults import FAULTS, RATE, Machine, overlaps

from dcase_asd import Monitor

SNRS = (3, 6, 10, 15)
NORMALS, MACHINES, CASES, UNSEEN = 100, 4, 10, 25
TARGET, AT_SNR = 0.9, 10


def main():
    for family in ("tonal", "noisy", "impulsive"):
        edges = {(kind, snr): [] for kind in FAULTS for snr in SNRS}
        marked = {(kind, snr): [] for kind in FAULTS for snr in SNRS}
        words = {(kind, snr): [] for kind in FAULTS for snr in SNRS}
        normal = []
        for seed in range(MACHINES):
            machine = Machine(seed, family=family)
            model = Monitor.fit([machine.normal() for _ in range(NORMALS)], sample_rate=RATE)
            normal += [model.check(machine.normal()) for _ in range(UNSEEN)]
            for (kind, snr), hits in marked.items():
                for _ in range(CASES):
                    fault = machine.faulty(kind, snr)
                    found = model.check(fault.samples)
                    hits.append(bool(found.spans) and overlaps(fault, found.spans[0]))
                    if hits[-1]:
                        span = found.spans[0]
                        edges[kind, snr] += [
                            abs(span.start - fault.start),
                            abs(span.end - fault.end),
                        ]
                    words[kind, snr].append(found.verdict)
        alarms = np.mean([each.verdict == "anomalous" for each in normal])
        doubts = np.mean([each.verdict != "normal" for each in normal])
        spans = np.mean([bool(each.spans) for each in normal])
        print(
            f"{family}, {NORMALS} normal clips of 10 s; of {len(normal)} unseen ones "
            f"{alarms:.0%} anomalous, {doubts:.0%} not normal, {spans:.0%} with a span; "
            "first span overlaps (called anomalous, not called normal), median error of its ends"
        )
        print(" " * 12, *(f"{snr:>21} dB" for snr in SNRS))
        for kind in FAULTS:
            cells = [
                f"{np.mean(marked[kind, snr]):.0%} "
                f"({np.mean([word == 'anomalous' for word in words[kind, snr]]):.0%}, "
                f"{np.mean([word != 'normal' for word in words[kind, snr]]):.0%}) "
                f"{np.median(edges[kind, snr]):.2f} s"
                for snr in SNRS
            ]
            print(f"  {kind:10}", *(f"{cell:>24}" for cell in cells))
        least = min(np.mean(marked[kind, AT_SNR]) for kind in FAULTS)
        print(f"  at {AT_SNR} dB at least {least:.0%}, target {TARGET:.0%}")


if __name__ == "__main__":
    main()
