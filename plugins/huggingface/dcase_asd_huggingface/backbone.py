"""Audio encoders of transformers behind the contract of a backbone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor
from torch.nn.functional import pad

from dcase_asd.backbone import Backbone, check_choice, fill, given_options, masked_mean
from dcase_asd.backbone.pooling import grid_in_windows, joined_grids, windows
from dcase_asd.errors import BackboneError
from dcase_asd_huggingface.checkpoint import NAME, Weights, fetch, read_weights, reason
from dcase_asd_huggingface.front_end import FrontEnd
from dcase_asd_huggingface.network import Network, Output

Representation = Literal["mean", "cls", "pooled"]
Merge = Literal["mean", "concat"]


class HuggingFace(Backbone):
    """An audio encoder of transformers on clips of its own rate.

    Clips of one length are computed together and others apart, so that no clip is padded beyond
    what the model's feature extractor does with it alone, and none depends on its neighbors.

    Args:
        weights: The encoder, its feature extractor, and their settings.
        representation: What `embed` gives: ``mean`` over the tokens of the clip, ``cls``, the class
            token, or ``pooled``, what the model itself makes of its tokens; None for ``pooled``
            where the model has it, else ``mean``.
        layers: Layers whose outputs are the tokens, from 1; None for the last.
        merge: What becomes of several layers: ``mean``, or ``concat`` of their features.

    Raises:
        BackboneError: The model has no such representation or layer, or cannot be run.
    """

    name: ClassVar[str] = NAME
    passes_options: ClassVar[bool] = True

    def __init__(
        self,
        weights: Weights,
        *,
        representation: Representation | None = None,
        layers: Sequence[int] | None = None,
        merge: Merge = "mean",
    ) -> None:
        super().__init__()
        kind = weights.config.get("model_type")
        self.layers, self.merge = tuple(layers or ()), merge
        self.front_end = FrontEnd(weights.extractor)
        self.network = Network(weights.encoder, raw=self.front_end.raw).eval()
        self.front_end.shortest = max(self.front_end.shortest, self.network.shortest())
        self.sample_rate: int = self.front_end.sample_rate
        self._check_layers(kind)
        # A second of silence tells all sizes, and whether the model can be run at all.
        second = torch.zeros(1, self.sample_rate)
        try:
            with torch.no_grad():
                frames = self._features(second, [self.sample_rate])
                found = self._encode(frames, [self.sample_rate])
                tokens = self._merged(found)
        except (AttributeError, RuntimeError, TypeError, ValueError) as error:
            raise BackboneError(
                f"the model {kind!r} does not turn sound into tokens ({reason(error)}); choose "
                "an audio encoder"
            ) from error
        self._check_representation(kind, representation, merge, found)
        self.representation = representation or ("mean" if found.pooled is None else "pooled")
        # As many tokens as frames where a second has; other numbers are tried out when needed.
        self._alike = frames.shape[1] == tokens.shape[1]
        self._bins = frames.shape[-1]
        self._token_counts = {frames.shape[1]: tokens.shape[1]}
        self.token_dimension = tokens.shape[2]
        self.dimension = self.token_dimension
        if self.representation == "pooled" and found.pooled is not None:
            self.dimension = found.pooled.shape[1]
        self.options = {
            "representation": self.representation,
            "layers": list(self.layers),
            "merge": merge,
            "config": weights.config,
            "feature_extractor": weights.feature_extractor,
        }

    @classmethod
    def from_checkpoint(cls, path: str | Path | None = None, **options: Any) -> Self:
        """Make the backbone from a model of transformers, or from what `save` wrote.

        Args:
            path: The model's folder, or a saved file.
            options: Those of the class, which go before saved ones.

        Raises:
            BackboneError: The checkpoint is missing or does not fit, or an option is wrong.
        """
        if path is None:
            raise BackboneError(
                "no model is chosen: give its folder or its name on the hub as --checkpoint, for "
                "example --checkpoint MIT/ast-finetuned-audioset-10-10-0.4593"
            )
        # Weights that were made in inference mode could never be trained.
        with torch.inference_mode(mode=False):
            weights = read_weights(path)
            backbone = cls(weights, **(weights.options | given_options(**options)))
            if weights.tensors is not None:
                fill(backbone, weights.tensors, f"{path}: its content")
        return backbone

    @classmethod
    def locate(cls, name: Path) -> Path:
        """Folder of a model of the hub, fetched where it is not in the cache."""
        return fetch(name.as_posix())

    def spectrogram(
        self, waveforms: Tensor, lengths: Tensor | None = None, sample_rate: int | None = None
    ) -> Tensor:
        """What the model takes, (b, t, f), without gradient.

        Of a model that takes samples it is what its convolutions make of them: these are not
        trained, and what may be masked is what wav2vec 2.0 masks.
        """
        self.check_rate(sample_rate)
        if self.front_end.raw and not self.network.shape:
            raise BackboneError(
                "this model takes samples and has no convolutions apart from the rest, so that "
                "it cannot be fine-tuned here; choose another"
            )
        samples = waveforms.shape[1]
        found = [
            (rows, self._features(waveforms[rows, : max(group)], group))
            for rows, group in self._groups(lengths, *waveforms.shape)
        ]
        return _joined(found, self._frames(samples))

    def tokens_from_spectrogram(self, spectrogram: Tensor, lengths: Tensor | None = None) -> Tensor:
        """The chosen layers' tokens, (b, n, token_dimension); those of padding are zero."""
        found = [(rows, self._merged(each)) for rows, each in self._outputs(spectrogram, lengths)]
        return _joined(found, self._token_count(spectrogram.shape[1]))

    def cls_from_spectrogram(self, spectrogram: Tensor, lengths: Tensor | None = None) -> Tensor:
        """The class token or what the model pools, (b, dimension), differentiable."""
        if not self.has_cls:
            raise BackboneError(
                "pooling = cls needs the representation cls or pooled, which not every model has; "
                "choose --option representation=cls, or --pooling attention"
            )
        return _joined(
            [(rows, self._summary(each)) for rows, each in self._outputs(spectrogram, lengths)]
        )

    @property
    def has_cls(self) -> bool:
        """Whether the representation is ``cls`` or ``pooled``, which not every model has."""
        return self.representation != "mean"

    def token_mask(self, lengths: Tensor, samples: int) -> Tensor:
        """Which tokens are of a clip, (b, n): those whose frames its extractor calls no padding."""
        masks = [
            (rows, self._valid(group))
            for rows, group in self._groups(lengths, len(lengths), samples)
        ]
        return _joined(masks, self._token_count(self._frames(samples))).to(lengths.device)

    def frame_mask(self, lengths: Tensor, frames: int, sample_rate: int | None = None) -> Tensor:
        """Which frames are of a clip, (b, frames), also of AST, whose extractor has no mask."""
        del sample_rate
        if self.front_end.log_mel is not None:
            return self.front_end.log_mel.frame_mask(lengths, frames)
        masks = [
            torch.ones(self._frames(length), dtype=torch.bool)
            if self.front_end.raw
            else self.front_end.frame_mask(length)
            for length in lengths.tolist()
        ]
        return torch.stack([pad(each, (0, frames - len(each))) for each in masks]).to(
            lengths.device
        )

    def tokens(
        self, waveforms: Tensor, lengths: Tensor | None = None, sample_rate: int | None = None
    ) -> Tensor:
        """The chosen layers' tokens, (b, n, token_dimension); those of padding are zero."""
        self.check_rate(sample_rate)
        found = [
            (rows, self._merged(self._encoded(waveforms[rows, : max(group)], group)))
            for rows, group in self._groups(lengths, *waveforms.shape)
        ]
        return _joined(found, max(each.shape[1] for _, each in found))

    def token_grid(
        self, waveforms: Tensor, lengths: Tensor | None = None, sample_rate: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """Tokens, (b, t, f, token_dimension), and which times are of a clip, (b, t).

        AST's patches are a grid of time and frequency; its class and distillation tokens and the
        patches that reach into its padding are left out. Of other models f is 1. Of a clip longer
        than the model takes they are those of the fewest windows that cover it.
        """
        self.check_rate(sample_rate)
        if lengths is None:
            lengths = torch.full((len(waveforms),), waveforms.shape[1], device=waveforms.device)
        longest = self.front_end.longest or waveforms.shape[1]
        return grid_in_windows(self._grid, waveforms, lengths, longest)

    def _grid(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        grids = []
        order = []
        for rows, group in self._groups(lengths, *waveforms.shape):
            tokens = self._merged(self._encoded(waveforms[rows, : max(group)], group))
            mask = self._valid(group).to(tokens.device)
            grid = tokens[:, :, None]
            if (log_mel := self.front_end.log_mel) is not None and self.network.has_patches:
                grid = self.network.patch_grid(tokens)
                counts = log_mel.frame_counts(torch.tensor(group, device=tokens.device))
                columns = self.network.patch_columns(counts)
                mask = torch.arange(grid.shape[1], device=grid.device) < columns[:, None]
            grids.append((grid, mask))
            order.append(rows)
        tokens, mask = joined_grids(grids)
        back = torch.cat(order).argsort().to(tokens.device)
        return tokens[back], mask[back]

    def embed(
        self, waveforms: Tensor, lengths: Tensor | None = None, sample_rate: int | None = None
    ) -> Tensor:
        """The representation, (b, dimension), in float32.

        Of a clip longer than the model takes it is the mean over the fewest windows that cover it.
        """
        self.check_rate(sample_rate)
        found = [
            (rows, self._embedded(waveforms[rows, : max(group)], group))
            for rows, group in self._groups(lengths, *waveforms.shape)
        ]
        return _joined(found)

    def _embedded(self, waveforms: Tensor, lengths: list[int]) -> Tensor:
        longest = self.front_end.longest
        if longest is not None and max(lengths) > longest:  # then they are of one length
            parts = windows(max(lengths), longest)
            return torch.stack(
                [self._embedded(waveforms[:, a:b], [b - a] * len(lengths)) for a, b in parts]
            ).mean(0)
        output = self._encoded(waveforms, lengths)
        if self.representation != "mean":
            return self._summary(output).float()
        tokens = self._merged(output).float()
        return masked_mean(tokens, self._valid(lengths).to(tokens.device))

    def _groups(
        self, lengths: Tensor | None, clips: int, samples: int
    ) -> list[tuple[Tensor, list[int]]]:
        """Clips that are computed together: their rows, and the samples of each.

        All of them where each is brought to the same number of frames anyway, else those of one
        length: in a longer batch their embeddings would depend on the padding.
        """
        given = [samples] * clips if lengths is None else [int(each) for each in lengths.tolist()]
        longest = self.front_end.longest
        if len(set(given)) == 1 or (longest is not None and max(given) <= longest):
            return [(torch.arange(clips), given)]
        rows: dict[int, list[int]] = {}
        for row, length in enumerate(given):
            rows.setdefault(length, []).append(row)
        return [(torch.tensor(each), [length] * len(each)) for length, each in rows.items()]

    @torch.no_grad()
    def _features(self, waveforms: Tensor, lengths: list[int]) -> Tensor:
        """Frames of a group, (b, t, f), or samples where those go into the network."""
        features: Tensor = self.front_end(waveforms, lengths)
        return self.network.features(features) if self.network.shape else features

    def _encode(self, features: Tensor, lengths: list[int] | None) -> Output:
        """The network's output for a group's features; None where no clip is padded."""
        mask = None
        if not self.front_end.raw:
            mask = None if lengths is None else self._frame_masks(lengths)
            features = self.front_end.model_input(features)
        found: Output = self.network(features, mask, self.layers)
        return found

    def _encoded(self, waveforms: Tensor, lengths: list[int]) -> Output:
        return self._encode(self._features(waveforms, lengths), lengths)

    def _outputs(self, spectrogram: Tensor, lengths: Tensor | None) -> list[tuple[Tensor, Output]]:
        if lengths is None:
            return [(torch.arange(len(spectrogram)), self._encode(spectrogram, None))]
        return [
            (rows, self._encode(spectrogram[rows, : self._frames(max(group))], group))
            for rows, group in self._groups(lengths, len(spectrogram), 0)
        ]

    def _merged(self, output: Output) -> Tensor:
        if len(output.layers) == 1:
            return output.layers[0]
        if self.merge == "concat":
            return torch.cat(output.layers, -1)
        return torch.stack(output.layers).mean(0)

    def _summary(self, output: Output) -> Tensor:
        """The class token, or what the model pools."""
        if self.representation == "pooled" and output.pooled is not None:
            return output.pooled
        return self._merged(output)[:, 0]

    def _frames(self, samples: int) -> int:
        """Frames of a clip."""
        if self.network.shape:
            return self.network.feature_count(samples)
        return samples if self.front_end.raw else len(self.front_end.frame_mask(samples))

    def _frame_masks(self, lengths: list[int]) -> Tensor:
        return torch.stack([self.front_end.frame_mask(length) for length in lengths])

    def _token_count(self, frames: int) -> int:
        """Tokens of so many frames."""
        if self._alike:
            return frames
        if frames not in self._token_counts:
            weight = next(self.network.parameters())
            with torch.no_grad():
                silent = torch.zeros(1, frames, self._bins, device=weight.device)
                found = self._merged(self._encode(silent, None))
            self._token_counts[frames] = found.shape[1]
        return self._token_counts[frames]

    def _valid(self, lengths: list[int]) -> Tensor:
        """Which tokens of a group are of clips: those whose first frame is no padding, (b, n)."""
        if self.front_end.raw:
            count = self._token_count(self._frames(max(lengths)))
            return torch.ones(len(lengths), count, dtype=torch.bool)
        masks = self._frame_masks(lengths)
        frames, count = masks.shape[1], self._token_count(masks.shape[1])
        return masks[:, torch.arange(count) * frames // count]

    def _check_layers(self, kind: Any) -> None:
        if self.layers:
            second = self._features(torch.zeros(1, self.sample_rate), [self.sample_rate])
            raw = self.front_end.raw
            there = self.network.layer_count(second if raw else self.front_end.model_input(second))
            if any(not 1 <= layer <= there for layer in self.layers):
                raise BackboneError(
                    f"layers are {list(self.layers)}; {kind!r} has "
                    + (f"1 to {there}" if there else "none to choose from")
                )

    def _check_representation(
        self, kind: Any, representation: str | None, merge: str, found: Output
    ) -> None:
        check_choice("representation", representation or "mean", Representation)
        check_choice("merge", merge, Merge)
        there = {"cls": self.network.has_class_token, "pooled": found.pooled is not None}
        if representation is not None and not there.get(representation, True):
            others = " or ".join(["mean", *(name for name in there if there[name])])
            raise BackboneError(f"{kind!r} has no representation {representation!r}; take {others}")


def _joined(found: list[tuple[Tensor, Tensor]], total: int | None = None) -> Tensor:
    """Groups in the order of their rows, those with fewer than `total` tokens zero-padded."""
    parts = [part if total is None else _filled(part, total) for _, part in found]
    if len(parts) == 1:
        return parts[0]
    order = torch.cat([rows for rows, _ in found]).argsort()
    return torch.cat(parts)[order.to(parts[0].device)]


def _filled(part: Tensor, total: int) -> Tensor:
    """(b, n) or (b, n, d) with zeros after it up to n = total."""
    missing = total - part.shape[1]
    return pad(part, (0,) * (2 * (part.ndim - 2)) + (0, missing)) if missing else part
