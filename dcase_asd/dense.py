"""A dense layer that keeps its weights packed for the processor while it only computes."""

from __future__ import annotations

import platform
from typing import Any

import torch
from torch import Tensor, nn

_ONEDNN = bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]
_X86 = platform.machine() in ("x86_64", "AMD64")


class Linear(nn.Linear):
    """`nn.Linear`, on x86 processors up to twice as fast where nothing is learnt.

    PyTorch multiplies float32 matrices by MKL, which leaves half of some processors unused, such
    as AMD's with AVX-512. oneDNN, which PyTorch brings too, does not, if the weights are packed for
    it once. So in evaluation mode, without gradients, in float32 on a processor, they are packed at
    the first product, and this second copy is kept until training goes on or they change. In all
    other cases this is `nn.Linear`.

    Results differ from those of `nn.Linear` by the rounding of float32.
    """

    _packed: Tensor | None = None
    _packed_from: tuple[int, int, int] | None = None

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the name that nn.Linear gives it
        """(…, in) -> (…, out)."""
        if not self._only_computes(input):
            return super().forward(input)
        weight = self.weight
        made_from = (id(weight), weight.data_ptr(), weight._version)  # noqa: SLF001
        if self._packed is None or self._packed_from != made_from:
            # The operators of torch.compile's packing; nothing public packs for several calls.
            packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), None)  # noqa: SLF001
            self._packed, self._packed_from = packed, made_from
        product: Tensor = torch.ops.mkldnn._linear_pointwise(  # noqa: SLF001
            input, self._packed, self.bias, "none", [], ""
        )
        return product

    def train(self, mode: bool = True) -> Linear:
        """As `nn.Module.train`; packed weights are given up, as what follows may change them."""
        self._packed = self._packed_from = None
        return super().train(mode)

    def __getstate__(self) -> dict[str, Any]:
        """Without the packed weights, which cannot be copied or pickled."""
        return {name: value for name, value in vars(self).items() if not name.startswith("_packed")}

    def _only_computes(self, values: Tensor) -> bool:
        return (
            _X86
            and not self.training
            and not torch.is_grad_enabled()
            and values.dtype == self.weight.dtype == torch.float32
            and values.device.type == self.weight.device.type == "cpu"
            and values.numel() > 0
            and not self.weight.is_inference()  # whose changes could not be noticed
            and not torch.is_autocast_enabled("cpu")
            and not torch.compiler.is_compiling()
            and _ONEDNN
        )


def pack_linear_layers(network: nn.Module) -> None:
    """Make each plain `nn.Linear` of a network that somebody else wrote one of the above."""
    for layer in network.modules():
        if type(layer) is nn.Linear:
            layer.__class__ = Linear
