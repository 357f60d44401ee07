"""Third parties' losses and augmentations at work: what they give is checked, failures named."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from dcase_asd.errors import DcaseAsdError, TrainingError
from dcase_asd.training.faults import is_out_of_memory
from dcase_asd.training.named import Part


@contextmanager
def _named(part: Part) -> Iterator[None]:
    """Tell in one line that a part failed, whatever it raised."""
    try:
        yield
    except Exception as error:
        if isinstance(error, DcaseAsdError) or is_out_of_memory(error):
            raise
        reason = " ".join(str(error).split())
        raise TrainingError(f"{part} failed: {type(error).__name__}: {reason}") from error


class TheirLoss(nn.Module):
    """A third party's loss with the interface of `losses.ArcFace`.

    Args:
        part: The loss.
        dimension: Length of an embedding.
        counts: Sub-centers of each class.

    Raises:
        TrainingError: It cannot be made, or is no module.
    """

    def __init__(self, part: Part, dimension: int, counts: Sequence[int]) -> None:
        super().__init__()
        self.part, self.classes = part, len(counts)
        with _named(part):
            made = part.make(dimension=dimension, counts=list(counts), **part.options)
        if not isinstance(made, nn.Module):
            raise TrainingError(f"{part} gives {type(made).__name__}, not a torch.nn.Module")
        self.made = made

    def forward(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Loss of each clip (b,), and how near it is to each class (b, classes).

        Raises:
            TrainingError: It failed, or gave something else.
        """
        with _named(self.part), torch.autocast(embeddings.device.type, enabled=False):
            found = self.made(embeddings.float(), labels)
        clips, wanted = len(labels), f"({len(labels)},) and ({len(labels)}, {self.classes})"
        shapes = [
            tuple(each.shape) if isinstance(each, Tensor) else type(each).__name__
            for each in (found if isinstance(found, tuple) else (found,))
        ]
        if shapes != [(clips,), (clips, self.classes)]:
            raise TrainingError(
                f"{self.part} gives {' and '.join(map(str, shapes))} for {clips} clips of "
                f"{self.classes} classes; it must give tensors of the shapes {wanted}"
            )
        loss, near = found
        if embeddings.requires_grad and not loss.requires_grad:
            raise TrainingError(f"{self.part} has no gradient, so that nothing can be learnt by it")
        return loss, near


class TheirAugmentation:
    """A third party's augmentation.

    Args:
        part: The augmentation.
    """

    def __init__(self, part: Part) -> None:
        self.part = part
        self.arguments = list(inspect.signature(part.make).parameters)
        self.of = self.arguments[0]

    def __call__(
        self,
        batch: Tensor,
        *,
        generator: torch.Generator,
        lengths: Tensor,
        inside: Tensor,
        sample_rate: int,
    ) -> Tensor:
        """Augment a batch.

        Args:
            batch: Waveforms (b, n), or a spectrogram (b, t, f).
            generator: Of the CPU.
            lengths: Samples of each clip before padding, (b,).
            inside: Which samples or frames are of a clip, (b, n) or (b, t).
            sample_rate: In Hz.

        Returns:
            The batch, with its padding as it was.

        Raises:
            TrainingError: It failed, or gave something else or values that are not finite.
        """
        known = {"generator": generator, "lengths": lengths, "inside": inside,
                 "sample_rate": sample_rate}  # fmt: skip
        given = {name: value for name, value in known.items() if name in self.arguments}
        with _named(self.part), torch.no_grad():
            found = self.part.make(batch.clone(), **given, **self.part.options)
        wanted = f"{tuple(batch.shape)} of {batch.dtype} on {batch.device}"
        told = type(found).__name__
        if isinstance(found, Tensor):
            told = f"{tuple(found.shape)} of {found.dtype} on {found.device}"
        if told != wanted:
            raise TrainingError(f"{self.part} gives {told} for {self.of} {wanted}")
        if not found.isfinite().all():
            raise TrainingError(f"{self.part} gives {self.of} that are not finite")
        return torch.where(inside.view(*inside.shape, *[1] * (batch.ndim - 2)), found, batch)
