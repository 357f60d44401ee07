"""An ONNX graph as it grows: nodes and constants, named by their numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

INT8 = 127

Precision = Literal["float32", "fp16", "int8"]


class Graph:
    """Nodes and constants as they are added, each named by its number."""

    def __init__(self, precision: Precision) -> None:
        self.precision = precision
        self.nodes: list[onnx.NodeProto] = []
        self.values: list[onnx.TensorProto] = []

    def __call__(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add a node of one output, and return the output's name."""
        name = f"{kind.lower()}_{len(self.nodes)}"
        self.add(kind, inputs, [name], **attributes)
        return name

    def add(
        self, kind: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any
    ) -> None:
        """Add a node with such outputs."""
        self.nodes.append(helper.make_node(kind, inputs, outputs, **attributes))

    def value(self, array: NDArray[Any] | np.generic) -> str:
        """Add a constant."""
        name = f"value_{len(self.values)}"
        self.values.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def matrix(self, array: NDArray[np.float64], *, coarse: bool = True) -> str:
        """Add a matrix as float32, stored in the graph's precision; int8 has a scale a column.

        One that may not be `coarse` is stored as fp16 at least.
        """
        if self.precision == "float32":
            return self.value(array.astype(np.float32))
        if self.precision == "fp16" or not coarse:
            stored = self.value(array.astype(np.float16))
            return self("Cast", stored, to=TensorProto.FLOAT)
        scale = np.maximum(np.abs(array).max(axis=0), np.finfo(np.float32).tiny) / INT8
        stored = self.value(np.rint(array / scale).astype(np.int8))
        return self("DequantizeLinear", stored, self.value(scale.astype(np.float32)), axis=1)
