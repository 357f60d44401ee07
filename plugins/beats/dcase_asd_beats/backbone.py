"""BEATs behind the contract of a backbone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, get_args

import torch
from torch import Tensor

from dcase_asd.backbone import Backbone, read_checkpoint
from dcase_asd.backbone.published import WeightsFile, fit_tensors, is_safetensors
from dcase_asd.errors import AudioError, BackboneError, nearest_name
from dcase_asd.registry import find_checkpoint
from dcase_asd_beats.checkpoint import (
    Config,
    draw_weights,
    load_published,
    read_published,
)
from dcase_asd_beats.front_end import SAMPLE_RATE, FrontEnd
from dcase_asd_beats.network import Network

Representation = Literal["mean", "bands", "classes"]
Merge = Literal["mean", "concat"]

NETWORK_PREFIX = "network."


class Beats(Backbone):
    """BEATs (Chen et al., 2023) on clips of 16 kHz: 8 tokens, one for each band, every 160 ms.

    Args:
        network: With its weights.
        representation: What `embed` gives: ``mean`` over all tokens; ``bands``, the mean over time
            of each of the 8 frequency bands, one after the other; ``classes``, the probabilities
            that a checkpoint fine-tuned on AudioSet predicts.
        layers: Layers whose outputs are the tokens, from 1; None for the last.
        merge: What becomes of several layers: ``mean``, or ``concat`` of their features.
        exponent: Of the generalised mean, (mean of sign(x) |x|^p)^(1/p), with which ``mean`` and
            ``bands`` average. 1 is the plain mean; the larger, the more the tokens count that stand
            out.
        gradient_decay: What the gradient is multiplied with on its way down through each layer, so
            that lower layers are fine-tuned less; None for the checkpoint's own value (0.6 in the
            released ones). 1 leaves it alone; `embed` does not depend on it.
        compile: Compile each layer with `torch.compile`.
        checkpoint_activations: Compute layers again for their gradient, to save memory.

    Raises:
        BackboneError: The network has no such layer or representation.
        ValueError: A number is out of range.
    """

    name: ClassVar[str] = "beats"

    def __init__(
        self,
        network: Network,
        *,
        representation: Representation = "mean",
        layers: Sequence[int] | None = None,
        merge: Merge = "mean",
        exponent: float = 1.0,
        gradient_decay: float | None = None,
        compile: bool = False,  # noqa: A002 # the name of torch's own
        checkpoint_activations: bool = False,
    ) -> None:
        super().__init__()
        config, there = network.config, len(network.encoder.layers)
        self.layers = tuple(layers or [there])
        _check_choice("representation", representation, get_args(Representation))
        _check_choice("merge", merge, get_args(Merge))
        if any(not 1 <= layer <= there for layer in self.layers):
            raise BackboneError(f"layers are {list(self.layers)}; choose from 1 to {there}")
        if representation == "classes" and (
            network.predictor is None or self.layers != (config.encoder_layers,) or exponent != 1
        ):
            raise BackboneError(
                "classes need the last layer, the exponent 1 and weights fine-tuned on AudioSet "
                "(BEATs_iter3_plus_AS2M_finetuned_on_AS2M_cpt2.pt); for others choose the "
                "representation mean or bands"
            )
        if not exponent > 0:
            raise ValueError(f"exponent is {exponent}; it must be positive")
        network.cut(max(self.layers), predictor=representation == "classes")
        if gradient_decay is not None:
            network.encoder.gradient_decay = gradient_decay
        network.encoder.recompute = checkpoint_activations
        if compile:
            for layer in network.encoder.layers:
                layer.compile()
        self.representation = representation
        self.merge = merge
        self.exponent = exponent
        self.front_end = FrontEnd(config.input_patch_size)
        self.network = network
        self.sample_rate: int = SAMPLE_RATE
        copies = len(self.layers) if merge == "concat" else 1
        self.token_dimension = config.encoder_embed_dim * copies
        self.dimension = {
            "mean": self.token_dimension,
            "bands": self.token_dimension * self.front_end.bands,
            "classes": config.predictor_class,
        }[representation]
        self.options = {
            "representation": representation,
            "layers": list(self.layers),
            "merge": merge,
            "exponent": float(exponent),
            "gradient_decay": network.encoder.gradient_decay,
            "architecture": asdict(config),
        }

    @classmethod
    def from_checkpoint(
        cls,
        path: str | Path | None = None,
        *,
        representation: Representation | None = None,
        layers: Sequence[int] | None = None,
        merge: Merge | None = None,
        exponent: float | None = None,
        gradient_decay: float | None = None,
        compile: bool = False,  # noqa: A002
        checkpoint_activations: bool = False,
        random_weights: int | None = None,
        architecture: dict[str, Any] | None = None,
    ) -> Self:
        """Make the backbone from a checkpoint as published, or as `save` writes it.

        Args:
            path: The authors' ``.pt``, or a saved file; None for the weights of the cache.
            representation: As in `Beats`, like all that follow unless said otherwise.
            layers: See above.
            merge: See above.
            exponent: See above.
            gradient_decay: See above.
            compile: Never saved, like the next: it does not change what is computed.
            checkpoint_activations: See above.
            random_weights: A seed: weights are drawn instead of read.
            architecture: Switches for random weights that differ from the released models', by
                their names in a checkpoint's ``cfg``.

        Raises:
            BackboneError: The checkpoint is missing or does not fit, or an option is wrong.
        """
        given = {
            "representation": representation,
            "layers": layers,
            "merge": merge,
            "exponent": exponent,
            "gradient_decay": gradient_decay,
        }
        chosen: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        saved: dict[str, Any] = {}
        # Weights that were made in inference mode could never be trained.
        with torch.inference_mode(mode=False):
            if random_weights is not None:
                if path is not None:
                    raise BackboneError(f"{path}: leave out either this file or random_weights")
                network = _drawn(Config.released(**(architecture or {})), random_weights)
            elif architecture is not None:
                raise BackboneError(
                    "a checkpoint has its own architecture: leave that option out, or give "
                    "random_weights in place of the checkpoint"
                )
            else:
                path = find_checkpoint(cls.name) if path is None else path
                read = _saved if is_safetensors(path) else _published
                network, saved = read(path)
            return cls(
                network,
                **(saved | chosen),
                compile=compile,
                checkpoint_activations=checkpoint_activations,
            )

    def spectrogram(
        self, waveforms: Tensor, lengths: Tensor | None = None, sample_rate: int | None = None
    ) -> Tensor:
        """Normalised log-mel frames, (b, t, 128), without gradient."""
        if sample_rate not in (None, self.sample_rate):
            raise AudioError(
                f"clips of {sample_rate} Hz, but this backbone takes {self.sample_rate} Hz"
            )
        frames: Tensor = self.front_end(waveforms, lengths)
        return frames

    def tokens_from_spectrogram(self, spectrogram: Tensor, lengths: Tensor | None = None) -> Tensor:
        """The chosen layers' tokens, (b, n, token_dimension), frequency fastest."""
        valid = None if lengths is None else self._valid(lengths, spectrogram.shape[1])
        outputs: list[Tensor] = self.network(spectrogram, valid, self.layers)
        if len(outputs) == 1:
            return outputs[0]
        if self.merge == "concat":
            return torch.cat(outputs, -1)
        return torch.stack(outputs).mean(0)

    def token_mask(self, lengths: Tensor, samples: int) -> Tensor:
        """Which tokens are of a clip, (b, n), of clips padded to `samples`."""
        frames = self.front_end.log_mel.frame_counts(torch.tensor(samples))
        return self.front_end.token_mask(lengths, int(frames))

    def frame_mask(self, lengths: Tensor, frames: int, sample_rate: int | None = None) -> Tensor:
        """Which frames are of a clip, (b, frames)."""
        del sample_rate
        return self.front_end.log_mel.frame_mask(lengths, frames)

    def tokens(
        self, waveforms: Tensor, lengths: Tensor | None = None, sample_rate: int | None = None
    ) -> Tensor:
        """The chosen layers' tokens, (b, n, token_dimension); those of padding mean nothing."""
        frames = self.spectrogram(waveforms, lengths, sample_rate)
        return self.tokens_from_spectrogram(frames, lengths)

    def embed(
        self, waveforms: Tensor, lengths: Tensor | None = None, sample_rate: int | None = None
    ) -> Tensor:
        """The representation, (b, dimension), in float32."""
        frames = self.spectrogram(waveforms, lengths, sample_rate)
        tokens = self.tokens_from_spectrogram(frames, lengths).float()
        valid = None if lengths is None else self._valid(lengths, frames.shape[1])
        if self.network.predictor is not None:
            return _masked_mean(self.network.predictor(tokens), valid).sigmoid()
        if self.representation == "mean":
            return self._averaged(tokens, valid)
        bands = self.front_end.bands  # one of the tokens of a moment for each: the same mask
        split = tokens.reshape(len(tokens), -1, self.dimension)
        return self._averaged(split, None if valid is None else valid[:, ::bands])

    def _valid(self, lengths: Tensor, frames: int) -> Tensor | None:
        """`token_mask`, or None where all tokens are valid and need no mask."""
        valid = self.front_end.token_mask(lengths, frames)
        return None if bool(valid.all()) else valid

    def _averaged(self, tokens: Tensor, valid: Tensor | None) -> Tensor:
        if self.exponent == 1:
            return _masked_mean(tokens, valid)
        power = _masked_mean(tokens.sign() * tokens.abs() ** self.exponent, valid)
        return power.sign() * power.abs() ** (1 / self.exponent)


def _masked_mean(x: Tensor, valid: Tensor | None) -> Tensor:
    """Mean over the tokens that are no padding, (b, n, d) -> (b, d)."""
    if valid is None:
        return x.mean(1)
    return x.masked_fill(~valid[..., None], 0).sum(1) / valid.sum(1, keepdim=True)


def _check_choice(option: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise BackboneError(f"no {option} is called {value!r}; {nearest_name(value, choices)}")


def _empty(config: Config) -> Network:
    """A network without memory for its weights, which are put in their place."""
    with torch.device("meta"):
        return Network(config)


def _drawn(config: Config, seed: int) -> Network:
    network: Network = _empty(config).to_empty(device="cpu")
    draw_weights(network, config, torch.Generator().manual_seed(seed))
    return network


def _published(path: str | Path) -> tuple[Network, dict[str, Any]]:
    config, weights = read_published(path)
    network = _empty(config)
    load_published(network, weights)
    return network, {}


def _saved(path: str | Path) -> tuple[Network, dict[str, Any]]:
    tensors, options = read_checkpoint(path, Beats.name)
    network = _empty(Config(**options.pop("architecture")))
    network.cut(max(options["layers"]), predictor=options["representation"] == "classes")
    found = {name.removeprefix(NETWORK_PREFIX): value for name, value in tensors.items()}
    expected = {name: value.shape for name, value in network.state_dict().items()}
    fitted = fit_tensors(WeightsFile(Path(path), {}, found), expected, lambda key: key)
    network.load_state_dict(fitted, assign=True)
    return network, options
