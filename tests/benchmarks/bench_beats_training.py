"""Updates of BEATs-base by the engine: ours against the way its authors' code computes it.

Both train the same weights on the same clips of 10 s with the same head, loss and optimiser; one
takes tokens and frames from the slow twin of `authors_beats`. Random weights do. Nothing is dropped
at random, so that both must come to the same losses, which are compared.
"""

import statistics

import torch
from authors_beats import GFLOP, SAMPLES, authors_frames, tokens_of_frames
from dcase_asd_beats import Beats
from matrix_products import multiply, seconds
from torch import nn

from dcase_asd.recipe.training import Training
from dcase_asd.training.batches import TrainingBatch
from dcase_asd.training.engine import Engine, make_accelerator, training
from dcase_asd.training.model import TrainingModel

CLIPS, ROUNDS, CLASSES = 4, 3, 16
TOLERANCE = 1e-2  # of losses after updates that are equal but for rounding
BACKWARD = 3  # a forward and a backward pass are three times the products of a forward pass
STILL = {"dropout": 0.0, "attention_dropout": 0.0, "encoder_layerdrop": 0.0, "dropout_input": 0.0}


class AuthorsBeats(Beats):
    """The same weights, slowly."""

    def spectrogram(self, waveforms, lengths=None, sample_rate=None):
        return authors_frames(waveforms)

    def tokens_from_spectrogram(self, spectrogram, lengths=None):
        return tokens_of_frames(self.network, spectrogram)


def make_engine(kind, settings, accelerator):
    backbone = kind.from_checkpoint(random_weights=0, gradient_decay=1.0, architecture=STILL)
    network = TrainingModel(backbone, [1] * CLASSES, settings)
    return Engine(network, settings, accelerator, torch.device("cpu"), 16_000)


def draw_batch(number):
    generator = torch.Generator().manual_seed(number)
    waveforms = 0.1 * torch.randn(CLIPS, SAMPLES, generator=generator)
    return TrainingBatch(
        number=number,
        waveforms=waveforms,
        lengths=torch.full((CLIPS,), SAMPLES),
        targets=torch.arange(CLIPS) % CLASSES,
        noise=torch.zeros(CLIPS, SAMPLES),
        snr=torch.full((CLIPS,), torch.inf),
        files=["generated"] * CLIPS,
    )


def main():
    settings = Training(
        batch_size=CLIPS, accumulation=1, steps=ROUNDS + 1, warmup=0, learning_rate=1e-5,
        eval_every=0, save_every=0,
    )  # fmt: skip
    accelerator = make_accelerator(settings, "cpu")
    ours, twin = (make_engine(kind, settings, accelerator) for kind in (Beats, AuthorsBeats))
    rows, layer = torch.randn(496, 768), nn.Linear(768, 3072).requires_grad_(requires_grad=False)
    times = {ours: [], twin: []}
    floor, largest = [], 0.0
    with training(ours.network, settings), training(twin.network, settings):
        for number in range(ROUNDS + 1):  # the first is not counted: memory is mapped in it
            losses = []
            # Turn and turn about, so that what else the machine does hits both alike.
            for engine in (twin, ours):
                floor.append(seconds(multiply, layer, rows))
                report = engine.update(number, iter([draw_batch(number)]))
                losses.append(report.loss)
                if number:
                    times[engine].append(report.seconds)
            largest = max(largest, abs(losses[0] - losses[1]))
    assert largest < TOLERANCE, f"the twin learns otherwise, by {largest:.2g}"
    ratios = sorted(a / b for a, b in zip(times[twin], times[ours], strict=True))
    slow, fast = (statistics.median(times[engine]) / CLIPS for engine in (twin, ours))
    rate = multiply(layer, rows) / statistics.median(floor)
    print(
        f"BEATs-base, updates of {CLIPS} clips, {torch.get_num_threads()} threads: trains "
        f"{1 / fast:.2f} clips/s, the authors' way {1 / slow:.2f}; ratio "
        f"{statistics.median(ratios):.2f}, from {ratios[0]:.2f} to {ratios[-1]:.2f}; "
        f"{BACKWARD * GFLOP / rate / fast:.0%} of the floor of matrix products "
        f"({rate:.0f} GFLOP/s); largest difference of losses {largest:.1g}"
    )


if __name__ == "__main__":
    main()
