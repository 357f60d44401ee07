"""BEATs behind the contract of a backbone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor

from dcase_asd.backbone import Backbone, check_choice, given_options, masked_mean, read_checkpoint
from dcase_asd.backbone.published import WeightsFile, check_source, fit_tensors, is_safetensors
from dcase_asd.errors import BackboneError
from dcase_asd.registry import find_checkpoint
from dcase_asd_beats.checkpoint import Config, draw_weights, load_published, read_published
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
        exponent: Of the generalized mean, (mean of sign(x) |x|^p)^(1/p), with which ``mean`` and
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
    passes_options: ClassVar[bool] = True

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
        check_choice("representation", representation, Representation)
        check_choice("merge", merge, Merge)
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
        self.token_bands = self.front_end.bands
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
        random_weights: int | None = None,
        architecture: dict[str, Any] | None = None,
        **options: Any,
    ) -> Self:
        """Make the backbone from a checkpoint as published, or as `save` writes it.

        Args:
            path: The authors' ``.pt``, or a saved file; None for the weights of the cache.
            random_weights: A seed: weights are drawn instead of read.
            architecture: Switches for random weights that differ from the released models', by
                their names in a checkpoint's ``cfg``.
            options: Those of the class, which go before saved ones.

        Raises:
            BackboneError: The checkpoint is missing or does not fit, or an option is wrong.
        """
        check_source(path, random_weights, architecture)
        saved: dict[str, Any] = {}
        # Weights that were made in inference mode could never be trained.
        with torch.inference_mode(mode=False):
            if random_weights is not None:
                config = Config.released(**(architecture or {}))
                network = _empty(config).to_empty(device="cpu")
                draw_weights(network, config, torch.Generator().manual_seed(random_weights))
            elif is_safetensors(path := find_checkpoint(cls.name) if path is None else path):
                network, saved = _saved(path)
            else:
                config, weights = read_published(path)
                network = _empty(config)
                load_published(network, weights)
            return cls(network, **(saved | given_options(**options)))

    def spectrogram(
        self, waveforms: Tensor, lengths: Tensor | None = None, sample_rate: int | None = None
    ) -> Tensor:
        """Normalized log-mel frames, (b, t, 128), without gradient."""
        self.check_rate(sample_rate)
        frames: Tensor = self.front_end(waveforms, lengths)
        return frames

    def tokens_from_spectrogram(self, spectrogram: Tensor, lengths: Tensor | None = None) -> Tensor:
        """The chosen layers' tokens, (b, n, token_dimension), frequency fastest.

        Those of padding mean nothing.
        """
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

    def embed(
        self, waveforms: Tensor, lengths: Tensor | None = None, sample_rate: int | None = None
    ) -> Tensor:
        """The representation, (b, dimension), in float32."""
        frames = self.spectrogram(waveforms, lengths, sample_rate)
        tokens = self.tokens_from_spectrogram(frames, lengths).float()
        valid = None if lengths is None else self._valid(lengths, frames.shape[1])
        if self.network.predictor is not None:
            return masked_mean(self.network.predictor(tokens), valid).sigmoid()
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
            return masked_mean(tokens, valid)
        power = masked_mean(tokens.sign() * tokens.abs() ** self.exponent, valid)
        return power.sign() * power.abs() ** (1 / self.exponent)


def _empty(config: Config) -> Network:
    """A network without memory for its weights, which are put in their place."""
    with torch.device("meta"):
        return Network(config)


def _saved(path: str | Path) -> tuple[Network, dict[str, Any]]:
    tensors, options = read_checkpoint(path, Beats.name)
    network = _empty(Config(**options.pop("architecture")))
    network.cut(max(options["layers"]), predictor=options["representation"] == "classes")
    found = {name.removeprefix(NETWORK_PREFIX): value for name, value in tensors.items()}
    expected = {name: value.shape for name, value in network.state_dict().items()}
    fitted = fit_tensors(WeightsFile(Path(path), {}, found), expected, lambda key: key)
    network.load_state_dict(fitted, assign=True)
    return network, options
