"""Taking the far microphone out of 10 s against BEATs' embedding of them, in one process.

Random weights do; what `embed` tells of the far channel is part of the work.
"""

import statistics

import torch
from authors_beats import SAMPLES
from dcase_asd_beats import Beats
from matrix_products import seconds

from dcase_asd.embeddings.two_microphones import FILTERS, clean

BATCHES = {1: 9, 8: 5}  # clips: rounds
TARGET = 10


def main():
    generator = torch.Generator().manual_seed(0)
    channels = torch.randn(max(BATCHES), SAMPLES, 2, generator=generator) * 0.1
    backbone = Beats.from_checkpoint(random_weights=0).eval()
    with torch.inference_mode():
        for clips, rounds in BATCHES.items():
            batch, lengths = channels[:clips], torch.full((clips,), SAMPLES)
            near = batch[..., 0].contiguous()
            times = {way: [] for way in FILTERS}
            embedding = []
            for _ in range(rounds):  # turn and turn about: what else the machine does hits all
                embedding.append(seconds(backbone.embed, near))
                for way, taken in times.items():
                    taken.append(seconds(clean, batch, lengths, way, 16000))
            for way, taken in times.items():
                ratio = statistics.median(b / t for b, t in zip(embedding, taken, strict=True))
                print(
                    f"far = {way}, batch {clips}, {torch.get_num_threads()} threads: "
                    f"{1000 * statistics.median(taken) / clips:.1f} ms for 10 s, BEATs-base "
                    f"{1000 * statistics.median(embedding) / clips:.0f} ms; ratio {ratio:.0f}, "
                    f"target {TARGET}"
                )


if __name__ == "__main__":
    main()
