"""A step of pre-training against loops over clones and bands; and what dropping patches saves.

Seconds of processor time, so that other programs count little.
"""

import argparse
import time

import torch

from dcase_asd.recipe.pretraining import Pretraining
from dcase_asd.training.pretraining_objective import (
    MASK_DEVIATION,
    MaskedPrediction,
    draw_masks,
    visible_patches,
)
from dcase_asd.training.pretraining_student import student


class WholeStudent(MaskedPrediction):
    """The student computes every patch, masked ones as noise, and takes no part of the others."""

    def forward(self, images, clones, masked, noise):
        copies = torch.repeat_interleave(clones)
        targets, teacher_cls = self.targets(images)
        patches = self.student.embed_patches(images)[copies]
        hidden = torch.zeros_like(patches)
        hidden[masked] = noise.flatten(0, 1)
        tokens = self.student.with_cls(torch.where(masked[..., None], hidden, patches))
        for block in self.student.blocks:
            tokens = block(tokens)
        predicted, wanted = self.decoder(tokens[:, 1:], images.shape[2] // 16), targets[copies]
        regression = (predicted - wanted)[masked].square().sum()
        cls = (tokens[:, 0] - targets.mean(1)[copies]).square().sum()
        return regression + cls, teacher_cls


def seconds(step, rounds):
    times = []
    for _ in range(rounds):
        before = time.process_time()
        step()
        times.append(time.process_time() - before)
    return min(times)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", default="tiny")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--masks", type=int, default=16)
    parser.add_argument("--clips", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(1)
    recipe = Pretraining(size=given.size, seconds=given.seconds, max_images=given.masks)
    backbone, whole = student(recipe)
    model = MaskedPrediction(backbone.network.encoder, whole).train()
    naive = WholeStudent(backbone.network.encoder, whole).train()
    frames = int(given.seconds * 100 - 2) // 16 * 16
    images, rows = torch.randn(2 * given.clips, frames, 100), frames // 16
    clones = torch.full((2 * given.clips,), given.masks // 2)
    generator = torch.Generator().manual_seed(0)
    masked = draw_masks(int(clones.sum()), rows, 6, whole, generator)
    hidden = rows * 6 - visible_patches(rows * 6, whole)
    noise = MASK_DEVIATION * torch.randn(len(masked), hidden, model.student.positions.shape[-1])

    def batched():
        model(images, clones, masked, noise).total.backward()

    def each(network, part):
        one, first = torch.tensor([1]), 0
        for image, count in zip(images, clones.tolist(), strict=True):
            for row in range(first, first + count):
                part(network(image[None], one, masked[row : row + 1], noise[row : row + 1]))
            first += count

    ours = seconds(batched, given.rounds)
    dropped = seconds(lambda: each(model, lambda got: got.total.backward()), given.rounds)
    explicit = seconds(lambda: each(naive, lambda got: got[0].backward()), given.rounds)
    for what, took in {
        "one batch": ours,
        "loop, masked patches dropped": dropped,
        "loop, the student computes all patches": explicit,
    }.items():
        print(f"{what:40} {took:7.2f} s, {took / ours:.1f} times")
    visible = visible_patches(rows * 6, whole)

    def encoder(tokens):
        x = torch.randn(len(masked), 1 + tokens, model.student.positions.shape[-1])

        def step():
            y = x
            for block in model.student.blocks:
                y = block(y)
            y.sum().backward()

        return seconds(step, given.rounds)

    some, all_of_them = encoder(visible), encoder(rows * 6)
    print(f"encoder, {visible} of {rows * 6} patches: {100 * some / all_of_them:.0f} % of all")


if __name__ == "__main__":
    main()
