"""The BEATs transformer (Chen et al., ICML 2023): patches of a log-mel spectrogram to tokens.

Parameters are named as in the published files; the table of positions, all layers', stands once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from dcase_asd.backbone.dense import Linear
from dcase_asd_beats.checkpoint import Config

CPU_BLOCK_CLIPS = 2
"""Clips that pass the transformer at once on a CPU while nothing is to be differentiated.

What a layer writes for two clips of 10 s stays in memory that is mapped already; of more it is
mapped anew for every layer, which takes long. For one, weights are read twice."""
LENGTHS_KEPT = 4
"""Sequence lengths whose biases are kept (12 MiB each for 10 s of the base model)."""

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": functional.gelu,
    "gelu_accurate": lambda x: functional.gelu(x, approximate="tanh"),
    "gelu_fast": lambda x: functional.gelu(x, approximate="tanh"),
    "relu": functional.relu,
    "tanh": torch.tanh,
    "linear": lambda x: x,
    "glu": lambda x: x,  # the gate is part of `GatedLinear`
}


class Network(nn.Module):
    """Log-mel spectrogram to the outputs of the transformer's layers.

    Args:
        config: The architecture.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        size, width = config.input_patch_size, config.encoder_embed_dim
        self.patch_embedding = nn.Conv2d(1, config.embed_dim, size, size, bias=config.conv_bias)
        self.layer_norm = nn.LayerNorm(config.embed_dim)
        self.post_extract_proj = (
            nn.Identity() if config.embed_dim == width else Linear(config.embed_dim, width)
        )
        self.dropout_input = nn.Dropout(config.dropout_input)
        self.encoder = Encoder(config)
        self.predictor = Linear(width, config.predictor_class) if config.finetuned_model else None

    def cut(self, layers: int, *, predictor: bool) -> None:
        """Remove the layers after number `layers` and, if asked, the predictor.

        What no output depends on would cost memory, and has no gradient, which training on several
        devices takes for a mistake.
        """
        self.encoder.layers = self.encoder.layers[:layers]
        if not predictor:
            self.predictor = None

    def forward(
        self, spectrogram: Tensor, valid: Tensor | None = None, layers: Sequence[int] = ()
    ) -> list[Tensor]:
        """Compute the outputs of layers.

        Args:
            spectrogram: Normalized log-mel, (b, t, 128).
            valid: Which tokens are no padding, (b, n); None when all are. No token attends to the
                others, and what comes out at their places means nothing.
            layers: Which layers, counted from 1; none means the last.

        Returns:
            A tensor (b, n, d) for each of `layers`; n = bands * (t // patch), frequency fastest.
        """
        wanted = tuple(layers) or (len(self.encoder.layers),)
        in_blocks = spectrogram.device.type == "cpu" and not torch.is_grad_enabled()
        clips = CPU_BLOCK_CLIPS if in_blocks else len(spectrogram)
        blocks = [
            self._outputs(
                spectrogram[start : start + clips],
                None if valid is None else valid[start : start + clips],
                wanted,
            )
            for start in range(0, len(spectrogram), clips)
        ]
        if len(blocks) == 1:
            return blocks[0]
        return [torch.cat(parts) for parts in zip(*blocks, strict=True)]

    def _outputs(
        self, spectrogram: Tensor, valid: Tensor | None, layers: tuple[int, ...]
    ) -> list[Tensor]:
        patches = self.patch_embedding(spectrogram[:, None]).flatten(2).transpose(1, 2)
        x = self.dropout_input(self.post_extract_proj(self.layer_norm(patches)))
        outputs: list[Tensor] = self.encoder(x, valid, layers)
        return outputs


class Encoder(nn.Module):
    """Position by convolution, then transformer layers that share one relative position bias.

    Attributes:
        gradient_decay: What the gradient is multiplied with on its way down through each layer.
        recompute: Compute each layer again for its gradient instead of keeping what it computed:
            less memory for a third more time.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        width = config.encoder_embed_dim
        self.config = config
        self.gradient_decay = config.layer_wise_gradient_decay_ratio
        self.recompute = False
        self.pos_conv = nn.Sequential(
            PositionalConvolution(width, config.conv_pos, config.conv_pos_groups), nn.GELU()
        )
        self.relative_attention_bias = (
            RelativePositionBias(
                config.num_buckets, config.max_distance, config.encoder_attention_heads
            )
            if config.relative_position_embedding
            else None
        )
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.encoder_layers))
        self.layer_norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, valid: Tensor | None, layers: tuple[int, ...]) -> list[Tensor]:
        """Outputs of `layers`, counted from 1, of tokens (b, n, d)."""
        config = self.config
        if valid is not None:
            x = x.masked_fill(~valid[..., None], 0)
        x = x + self.pos_conv(x)
        if not config.layer_norm_first:
            x = self.layer_norm(x)
        x = self.dropout(x)
        bias = self.relative_attention_bias and self.relative_attention_bias(x.shape[1])
        if bias is not None and torch.is_autocast_enabled(x.device.type):
            bias = bias.to(torch.get_autocast_dtype(x.device.type))  # once, not in every layer
        found = {}
        for number, layer in enumerate(self.layers[: max(layers)], 1):
            if self.gradient_decay != 1 and x.requires_grad:
                x = _ScaleGradient.apply(x, self.gradient_decay)  # type: ignore[no-untyped-call] # torch's
            if self.recompute and torch.is_grad_enabled():
                y = checkpoint(layer, x, bias, valid, use_reentrant=False)
            else:
                y = layer(x, bias, valid)
            if self.training and config.encoder_layerdrop:
                # A dropped layer is computed all the same, so that each parameter has a gradient.
                dropped = torch.rand((), device=x.device) <= config.encoder_layerdrop
                y = torch.where(dropped, x, y)
            x = y
            if number in layers:
                last = config.layer_norm_first and number == config.encoder_layers
                found[number] = self.layer_norm(x) if last else x
        return [found[number] for number in layers]


class Layer(nn.Module):
    """Self-attention and a feed-forward network, normalized after (or, by a switch, before) each.

    Normalized after, the residual is scaled by ``(2 * layers) ** 0.25`` with `deep_norm`
    (DeepNet, arXiv 2203.00555).
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        width, hidden = config.encoder_embed_dim, config.encoder_ffn_embed_dim
        self.norm_first = config.layer_norm_first
        self.residual_scale = (2 * config.encoder_layers) ** 0.25 if config.deep_norm else 1.0
        self.activation = ACTIVATIONS[config.activation_fn]
        self.self_attn = SelfAttention(config)
        self.self_attn_layer_norm = nn.LayerNorm(width)
        gated = config.activation_fn == "glu"
        self.fc1 = GatedLinear(width, hidden) if gated else Linear(width, hidden)
        self.fc2 = Linear(hidden, width)
        self.final_layer_norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(config.dropout)
        self.activation_dropout = nn.Dropout(config.activation_dropout)

    def forward(self, x: Tensor, bias: Tensor | None, valid: Tensor | None) -> Tensor:
        """Tokens (b, n, d) to tokens."""
        if self.norm_first:
            x = x + self.dropout(self.self_attn(self.self_attn_layer_norm(x), bias, valid))
            y: Tensor = x + self.dropout(self._feed_forward(self.final_layer_norm(x)))
        else:
            attended = self.dropout(self.self_attn(x, bias, valid))
            x = self.self_attn_layer_norm(torch.add(attended, x, alpha=self.residual_scale))
            changed = self.dropout(self._feed_forward(x))
            y = self.final_layer_norm(torch.add(changed, x, alpha=self.residual_scale))
        return y

    def _feed_forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.fc2(self.activation_dropout(self.activation(self.fc1(x))))
        return y


class SelfAttention(nn.Module):
    """Attention with a relative position bias that every query gates by itself (Chi et al., 2022).

    The gate of a query q of one head: (a, b) = sigmoid of two sums of four outputs of
    `grep_linear`(q), gate = a (b grep_a - 1) + 2.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        width = config.encoder_embed_dim
        self.heads = config.encoder_attention_heads
        self.attention_dropout = config.attention_dropout
        self.gated = config.gru_rel_pos
        self.k_proj = Linear(width, width)
        self.v_proj = Linear(width, width)
        self.q_proj = Linear(width, width)
        self.out_proj = Linear(width, width)
        if self.gated:
            self.grep_linear = Linear(width // self.heads, 8)
            self.grep_a = nn.Parameter(torch.ones(1, self.heads, 1, 1))

    def forward(self, x: Tensor, bias: Tensor | None, valid: Tensor | None) -> Tensor:
        """Attend.

        Args:
            x: Tokens, (b, n, d).
            bias: Of every head, query and key before gating, (h, n, n).
            valid: Which tokens may be attended to, (b, n).

        Returns:
            (b, n, d).
        """
        shape = (*x.shape[:2], self.heads, x.shape[2] // self.heads)
        query, key, value = (
            each(x).view(shape) for each in (self.q_proj, self.k_proj, self.v_proj)
        )
        attended = functional.scaled_dot_product_attention(
            query.transpose(1, 2),
            key.transpose(1, 2),
            value.transpose(1, 2),
            self._mask(query, bias, valid),
            self.attention_dropout if self.training else 0.0,
        )
        y: Tensor = self.out_proj(attended.transpose(1, 2).reshape(x.shape))
        return y

    def _mask(self, query: Tensor, bias: Tensor | None, valid: Tensor | None) -> Tensor | None:
        """What is added to the logits, (b, h, n, n), or which keys are seen, (b, 1, 1, n)."""
        if bias is None:
            return None if valid is None else valid[:, None, None]
        mask = bias.to(query.dtype).expand(len(query), -1, -1, -1)
        if self.gated:
            scores = self.grep_linear(query).view(*query.shape[:3], 2, 4).sum(-1)
            inner, outer = scores.sigmoid().unbind(-1)
            gate = inner * (outer * self.grep_a.view(-1) - 1) + 2
            # In one piece, because the product is laid out like the gate and would be copied.
            mask = gate.to(query.dtype).transpose(1, 2).contiguous()[..., None] * mask
        if valid is None:
            return mask
        return mask.masked_fill(~valid[:, None, None], -math.inf)


class GatedLinear(nn.Module):
    """Linear unit gated by swish: the first half of the outputs times silu of the second."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.linear = Linear(width, 2 * hidden)

    def forward(self, x: Tensor) -> Tensor:
        """(..., width) -> (..., hidden)."""
        value, gate = self.linear(x).chunk(2, dim=-1)
        y: Tensor = value * functional.silu(gate)
        return y


class PositionalConvolution(nn.Module):
    """Grouped convolution over the tokens, its weight normalized per kernel position.

    Computed by Fourier transforms of overlapping blocks, the first `kernel` - 1 results of each
    discarded (overlap-save): a quarter of the time of a direct convolution with the 128 taps.
    """

    def __init__(self, width: int, kernel: int, groups: int) -> None:
        super().__init__()
        self.kernel = kernel
        self.groups = groups
        self.block = 2 ** math.ceil(math.log2(2 * kernel))
        self.weight_g = nn.Parameter(torch.empty(1, 1, kernel))
        self.weight_v = nn.Parameter(torch.empty(width, width // groups, kernel))
        self.bias = nn.Parameter(torch.empty(width))
        self._kept = Kept()

    def forward(self, x: Tensor) -> Tensor:
        """(b, n, d) -> (b, n, d) in float32, which the transforms need."""
        with torch.autocast(x.device.type, enabled=False):
            weights = (self.weight_g, self.weight_v)
            transfer = self._kept.get(None, weights, self._transfer_function)
            batch, tokens, width = x.shape
            step = self.block - self.kernel + 1
            blocks = math.ceil(tokens / step)
            # Half a kernel before the first token; an even kernel looks one token less ahead.
            before = self.kernel // 2
            after = blocks * step + self.kernel - 1 - before - tokens
            padded = functional.pad(x.float().transpose(1, 2), (before, after))
            spectrum = torch.fft.rfft(padded.unfold(2, self.block, step))
            grouped = spectrum.view(batch, self.groups, -1, blocks, spectrum.shape[-1])
            rows = grouped.permute(1, 4, 0, 3, 2).flatten(2, 3)  # group, frequency, block, feature
            product = (rows @ transfer).view(*rows.shape[:2], batch, blocks, -1)
            y = torch.fft.irfft(product.permute(2, 0, 4, 3, 1), n=self.block)
            kept: Tensor = y[..., self.kernel - 1 :].reshape(batch, width, -1)[..., :tokens]
            return kept.transpose(1, 2) + self.bias

    def _transfer_function(self) -> Tensor:
        """Of each group and frequency the matrix from inputs to outputs, (g, f, d / g, d / g)."""
        norm = torch.linalg.vector_norm(self.weight_v, dim=(0, 1), keepdim=True)
        weight = self.weight_v * (self.weight_g / norm)
        # A network's convolution does not turn its kernel around, a product of transforms does.
        spectrum: Tensor = torch.fft.rfft(weight.float().flip(-1), n=self.block)
        kernels = spectrum.view(self.groups, -1, *spectrum.shape[1:])
        return kernels.permute(0, 3, 2, 1).contiguous()


class RelativePositionBias(nn.Module):
    """A learned bias per head for each bucket of distances (T5's buckets, both directions).

    Half of the buckets are for keys after the query. Of each half, one half is for single
    distances; the rest grow geometrically up to `max_distance`, the last one takes all beyond.
    """

    def __init__(self, buckets: int, max_distance: int, heads: int) -> None:
        super().__init__()
        self.max_distance = max_distance
        self.weight = nn.Parameter(torch.empty(buckets, heads))
        self._kept = Kept(LENGTHS_KEPT)

    def forward(self, tokens: int) -> Tensor:
        """Bias of every head, query and key, (h, n, n), for n tokens."""
        return self._kept.get(tokens, (self.weight,), lambda: self._table(tokens))

    def buckets(self, distances: Tensor) -> Tensor:
        """Bucket of each distance of a key from its query, both counted in tokens."""
        half = self.weight.shape[0] // 2
        single = half // 2
        near = distances.abs()
        far = torch.log(near.float() / single) / math.log(self.max_distance / single)
        far = (single + (far * (half - single)).clamp(max=half).long()).clamp(max=half - 1)
        return torch.where(near < single, near, far) + half * (distances > 0)

    def _table(self, tokens: int) -> Tensor:
        # A bias depends on the distance only: look up 2n - 1 of them, then slide along.
        distances = torch.arange(1 - tokens, tokens, device=self.weight.device)
        rows = self.weight[self.buckets(distances)].T.unfold(1, tokens, 1)
        return rows.flip(1)  # the first window, of the largest negative distances: last query


class Kept:
    """Results computed from weights, kept for as long as the weights stay as they are."""

    def __init__(self, size: int = 1) -> None:
        self._size = size
        self._weights: tuple[Tensor, ...] = ()  # held, so that no other takes their identity
        self._state: list[tuple[int, int, int]] = []
        self._results: dict[Any, Tensor] = {}

    def get(self, key: Any, weights: tuple[Tensor, ...], compute: Callable[[], Tensor]) -> Tensor:
        """The result for `key`; computed anew where gradients must flow through it."""
        if torch.is_grad_enabled() and any(weight.requires_grad for weight in weights):
            return compute()
        # A version counts the changes in place, an address tells of memory put in their stead.
        state = [(id(each), each.data_ptr(), each._version) for each in weights]  # noqa: SLF001 # no public name
        if state != self._state:
            self._weights, self._state, self._results = weights, state, {}
        if key not in self._results:
            if len(self._results) == self._size:
                self._results.pop(next(iter(self._results)))
            # Made in inference mode, it could not be used for a later gradient.
            with torch.inference_mode(mode=False), torch.no_grad():
                self._results[key] = compute()
        return self._results[key]


class _ScaleGradient(torch.autograd.Function):
    """The identity, whose gradient is multiplied by a factor."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient * ctx.factor, None
