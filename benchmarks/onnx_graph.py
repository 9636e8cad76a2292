"""What onnx_gpt2.py and onnx_bert.py share, which write a model of ours down as a graph for onnxruntime, node by node.

The operators are those into which onnxruntime's own tools fuse such a model: a norm with the addition before it, GELU
with its bias, attention with all that it needs.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from gpt2np.memory import cores

try:
    import onnx
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper
except ImportError:
    onnx = onnxruntime = None

FUSED = "com.microsoft"
Described = Iterable[tuple[str, str, list[Any]]]        # what goes in or comes out: types, names, shapes


class Graph:
    """Nodes, one after another, and the arrays that they read: a model's parameters, by their paths."""

    def __init__(self, model: Any) -> None:
        self.nodes: list[Any] = []
        self.arrays = {path: np.ascontiguousarray(p.value) for path, p in model.named_parameters()}

    def add(self, operator: str, *inputs: str, name: str, also: Sequence[str] = (), domain: str = "",
            **attributes: Any) -> str:
        """A node; its name, which is that of its first output.

        inputs, also   the names of what goes in and of further outputs, "" for one that is left out
        """
        self.nodes.append(helper.make_node(operator, list(inputs), [name, *also], name=name, domain=domain,
                                           **attributes))
        return name

    def session(self, inputs: Described, outputs: Described) -> Any:
        """What runs it on all cores."""
        def described(values: Described) -> list[Any]:
            return [helper.make_tensor_value_info(name, getattr(TensorProto, kind.upper()), shape)
                    for kind, name, shape in values]

        arrays = [numpy_helper.from_array(array, name) for name, array in self.arrays.items()]
        model = helper.make_model(
            helper.make_graph(self.nodes, "graph", described(inputs), described(outputs), arrays), ir_version=10,
            opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid(FUSED, 1)])
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = cores()
        return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
