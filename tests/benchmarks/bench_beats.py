"""BEATs-base against the way its authors' code computes it: 10 s clips, same weights, one process.

The slow twin is described in `authors_beats`. Random weights do.
"""

import statistics

import torch
from authors_beats import GFLOP, SAMPLES, authors_tokens
from dcase_asd_beats import Beats
from matrix_products import multiply, plainly, seconds

from dcase_asd.backbone.dense import Linear

BATCHES = {1: (7, 1.2), 8: (3, 1.5)}  # clips: rounds, target
TOLERANCE = 1e-3  # of tokens whose features have a variance of 1


def main():
    generator = torch.Generator().manual_seed(0)
    waveforms = torch.randn(max(BATCHES), SAMPLES, generator=generator) * 0.1
    backbone = Beats.from_checkpoint(random_weights=0).eval()
    rows, layer = torch.randn(496, 768), Linear(768, 3072).eval()
    with torch.inference_mode():
        for clips, (rounds, target) in BATCHES.items():
            batch = waveforms[:clips]
            difference = float(
                (backbone.tokens(batch) - plainly(authors_tokens, backbone.network, batch))
                .abs()
                .max()
            )
            assert difference < TOLERANCE, f"the twin gives other tokens, by {difference:.2g}"
            slow, fast, floor = [], [], []
            # Turn and turn about, so that what else the machine does hits all alike.
            for _ in range(rounds):
                floor.append(seconds(multiply, layer, rows))
                slow.append(seconds(plainly, authors_tokens, backbone.network, batch))
                floor.append(seconds(multiply, layer, rows))
                fast.append(seconds(backbone.embed, batch))
            ratio = statistics.median(a / b for a, b in zip(slow, fast, strict=True))
            rate = multiply(layer, rows) / statistics.median(floor)
            slow, fast = (statistics.median(times) / clips for times in (slow, fast))
            print(
                f"BEATs-base, batch {clips}, {torch.get_num_threads()} threads: embeds "
                f"{1 / fast:.2f} clips/s, the authors' way {1 / slow:.2f}; "
                f"ratio {ratio:.2f}, target {target}; {GFLOP / rate / fast:.0%} of the floor "
                f"of matrix products ({rate:.0f} GFLOP/s); largest difference {difference:.1g}"
            )


if __name__ == "__main__":
    main()
