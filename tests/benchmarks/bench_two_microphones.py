"""Taking the far microphone out of 10 s against BEATs' embedding of them, in one process.

Random weights do; what `embed` tells of the far channel is part of the work. Then reading a
batch for training with and without it, in the process itself.
"""

import statistics
import tempfile
from pathlib import Path

import pandas as pd
import soundfile
import torch
from authors_beats import SAMPLES
from dcase_asd_beats import Beats
from matrix_products import seconds

from dcase_asd.clips.classes import TrainingClass
from dcase_asd.embeddings.two_microphones import FILTERS, clean
from dcase_asd.recipe.training import Training
from dcase_asd.training.batches import TrainingBatches
from dcase_asd.training.data import TrainingSet

BATCHES = {1: 9, 8: 5}  # clips: rounds
TARGET = 10
ROUNDS = 15


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
    read_training_batches(channels)


def read_training_batches(channels):
    """Time a batch of 8 crops of 10 s, cut out of whole clips without their far channel."""
    with tempfile.TemporaryDirectory() as folder:
        for number, clip in enumerate(channels):
            soundfile.write(Path(folder) / f"{number}.wav", clip.numpy(), 16000)
        clips = pd.DataFrame({"path": [f"{number}.wav" for number in range(len(channels))]})
        clips = clips.assign(frames=SAMPLES, sample_rate=16000, target=0)
        chosen = TrainingSet(clips, [TrainingClass("x", 1, 8)], clips.iloc[:0], [])
        settings = Training(batch_size=8, noise_probability=0.0)
        readers = {
            far: TrainingBatches(Path(folder), chosen, settings, 16000, far=far)
            for far in ("none", *FILTERS)
        }
        times = {far: [] for far in readers}
        for number in range(ROUNDS):
            for far, reader in readers.items():
                times[far].append(seconds(reader.__getitem__, number))
        for far in FILTERS:
            more = [b - a for a, b in zip(times["none"], times[far], strict=True)]
            print(
                f"far = {far}: a training batch of 8 clips is read in "
                f"{1000 * statistics.median(times[far]):.0f} ms, without in "
                f"{1000 * statistics.median(times['none']):.0f} ms; "
                f"{1000 * statistics.median(more) / 8:.1f} ms more a clip"
            )


if __name__ == "__main__":
    main()
