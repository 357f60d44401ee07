"""A dense layer whose products are computed, while nothing is learnt, by the faster library."""

from __future__ import annotations

import platform
import time
from functools import cache

import torch
from torch import Tensor, nn

_ONEDNN = bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]
_X86 = platform.machine() in ("x86_64", "AMD64")

GAIN = 1.2
"""How many times as fast oneDNN must be: other rounding than PyTorch's own should be worth it."""
MEASURED = (128, 768)
"""Rows, and inputs and outputs of the layer that is measured: of a large network, but short."""
ROUNDS = 16
"""Products of each kind; the fastest counts, which other programs have disturbed least."""


class Linear(nn.Linear):
    """`nn.Linear`, on some x86 processors twice as fast where nothing is learnt.

    PyTorch multiplies float32 matrices by MKL, which leaves half of some processors unused, such
    as AMD's with AVX-512. oneDNN, which PyTorch brings too, does not. So in evaluation mode,
    without gradients, in float32 on a processor, it is taken where that pays. In all other cases
    this is `nn.Linear`. Nothing is kept from one product to the next, so that changed weights count
    at once, however they were changed.

    Results differ from those of `nn.Linear` by the rounding of float32.
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the name that nn.Linear gives it
        """(…, in) -> (…, out)."""
        if self._only_computes(input) and onednn_pays():
            return _by_onednn(input, self.weight, self.bias)
        return super().forward(input)

    def _only_computes(self, values: Tensor) -> bool:
        return (
            not self.training
            and not torch.is_grad_enabled()
            and values.dtype == self.weight.dtype == torch.float32
            and values.device.type == self.weight.device.type == "cpu"
            and values.numel() > 0
            and not torch.is_autocast_enabled("cpu")
            and not torch.compiler.is_compiling()
        )


def exchange_linear_layers(network: nn.Module) -> None:
    """Make each plain `nn.Linear` of a network that somebody else wrote one of the above."""
    for layer in network.modules():
        if type(layer) is nn.Linear:
            layer.__class__ = Linear


@cache
def onednn_pays() -> bool:
    """Whether oneDNN is there and multiplies `GAIN` times as fast; measured once, in some 50 ms.

    On one thread, as several wait for one another where other programs compute, too.
    """
    if not (_X86 and _ONEDNN):
        return False
    rows, size = MEASURED
    values, weight = torch.ones(rows, size), torch.ones(size, size)
    seconds: dict[bool, list[float]] = {True: [], False: []}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.no_grad():
            for _ in range(ROUNDS):
                for onednn, times in seconds.items():  # turn and turn about
                    started = time.perf_counter()
                    (_by_onednn if onednn else nn.functional.linear)(values, weight, None)
                    times.append(time.perf_counter() - started)
    except (AttributeError, NotImplementedError, RuntimeError):  # an operator that PyTorch lacks
        return False
    finally:
        torch.set_num_threads(threads)
    return min(seconds[False]) >= GAIN * min(seconds[True])


def _by_onednn(values: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    # An operator of torch.compile's; nothing public takes weights as they are.
    product: Tensor = torch.ops.mkldnn._linear_pointwise(values, weight, bias, "none", [], "")  # noqa: SLF001
    return product
