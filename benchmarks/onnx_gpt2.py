"""A GPT-2 of ours as a graph for onnxruntime, the peer that generate.py has in PyTorch.

The graph is written down node by node, with the operators into which onnxruntime's own tools fuse a GPT-2: a norm with
the addition before it, GELU with its bias, and attention that keeps keys and values in place, as the memory of a past
that is handed in for a present is the same.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np

from benchmarks.timing import seconds
from gpt2np.memory import cores

try:
    import onnx
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper
except ImportError:
    onnx = onnxruntime = None

PROMPT = 16
FUSED = "com.microsoft"


class Graph:
    """Nodes of a graph, one after another."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []

    def add(self, operator: str, *inputs: str, name: str, outputs: int = 1, domain: str = "", **attributes: Any) -> Any:
        """A node; the name of its output, or the names of several."""
        names = [name, *(f"{name}:{i}" for i in range(1, outputs))]
        self.nodes.append(helper.make_node(operator, list(inputs), names, name=name, domain=domain, **attributes))
        return name if outputs == 1 else names

    def linear(self, x: str, path: str) -> str:
        product = self.add("MatMul", x, f"{path}.w", name=f"{path}.product")
        return self.add("Add", product, f"{path}.b", name=path)

    def norm_of_sum(self, x: str, dx: str, path: str) -> list[str]:
        """[norm(x + dx), x + dx]"""
        y, _, _, both = self.add("SkipLayerNormalization", x, dx, f"{path}.g", f"{path}.b", name=path, outputs=4,
                                 domain=FUSED, epsilon=1e-5)
        return [y, both]


def model_of(model: Any) -> Any:
    """The graph, with the weights in it: ids, lengths -> logits behind the last token, keys and values."""
    config, graph = model.config, Graph()
    add, H, D = graph.add, config.n_head, config.n_embd // config.n_head
    embedded = add("Gather", "wte", "ids", name="tokens")
    x = add("Add", embedded, add("Gather", "wpe", "places", name="positions"), name="embedded")
    y = add("LayerNormalization", x, "h.0.ln_1.g", "h.0.ln_1.b", name="h.0.ln_1", epsilon=1e-5)
    for i in range(config.n_layer):
        qkv = graph.linear(y, f"h.{i}.attn.c_attn")
        names = [f"h.{i}.attn", f"keys.{i}", f"values.{i}"]
        graph.nodes.append(helper.make_node(
            "GroupQueryAttention", [qkv, "", "", f"past_keys.{i}", f"past_values.{i}", "last", "length"], names,
            name=names[0], domain=FUSED, num_heads=H, kv_num_heads=H))
        y, x = graph.norm_of_sum(x, graph.linear(names[0], f"h.{i}.attn.c_proj"), f"h.{i}.ln_2")
        y = add("MatMul", y, f"h.{i}.mlp.c_fc.w", name=f"h.{i}.mlp.c_fc")
        y = add("FastGelu", y, f"h.{i}.mlp.c_fc.b", name=f"h.{i}.mlp.gelu", domain=FUSED)
        following = f"h.{i + 1}.ln_1" if i + 1 < config.n_layer else "ln_f"
        y, x = graph.norm_of_sum(x, graph.linear(y, f"h.{i}.mlp.c_proj"), following)
    add("Gemm", add("Gather", y, "end", name="last_row", axis=1), "wte", name="logits", transB=1)

    cache = [("float", f"{what}.{i}", ["B", H, "S", D]) for i in range(config.n_layer) for what in ("keys", "values")]
    weights = [numpy_helper.from_array(np.ascontiguousarray(p.value), path) for path, p in model.named_parameters()]
    weights.append(numpy_helper.from_array(np.array(-1), "end"))
    inputs = [("int64", "ids", ["B", "T"]), ("int64", "places", ["T"]), ("int32", "last", ["B"]),
              ("int32", "length", []), *((kind, f"past_{name}", shape) for kind, name, shape in cache)]

    def described(names: list) -> list:
        kinds = {"float": TensorProto.FLOAT, "int64": TensorProto.INT64, "int32": TensorProto.INT32}
        return [helper.make_tensor_value_info(name, kinds[kind], shape) for kind, name, shape in names]

    outputs = described([("float", "logits", ["B", config.n_vocab]), *cache])
    return helper.make_model(
        helper.make_graph(graph.nodes, "GPT-2", described(inputs), outputs, weights), ir_version=10,
        opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid(FUSED, 1)])


class Peer:
    """The same model in onnxruntime."""

    def __init__(self, model: Any):
        self.config = model.config
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = cores()
        self.session = onnxruntime.InferenceSession(model_of(model).SerializeToString(), options,
                                                    providers=["CPUExecutionProvider"])

    def new_cache(self, B: int, room: int) -> dict[str, Any]:
        """Keys and values of so many positions."""
        shape = (B, self.config.n_head, room, self.config.n_embd // self.config.n_head)
        return {f"{what}.{i}": onnxruntime.OrtValue.ortvalue_from_numpy(np.zeros(shape, np.float32))
                for i in range(self.config.n_layer) for what in ("keys", "values")}

    def logits(self, tokens: np.ndarray, cache: dict[str, Any], seen: int) -> np.ndarray:
        """Those behind the last token, (B, V); the cache has then seen all."""
        (B, T), binding = tokens.shape, self.session.io_binding()
        binding.bind_cpu_input("ids", tokens)
        binding.bind_cpu_input("places", np.arange(seen, seen + T))
        binding.bind_cpu_input("last", np.full(B, seen + T - 1, np.int32))
        binding.bind_cpu_input("length", np.array(seen + T, np.int32))
        for name, kept in cache.items():
            binding.bind_ortvalue_input(f"past_{name}", kept)
            binding.bind_ortvalue_output(name, kept)
        binding.bind_output("logits")
        self.session.run_with_iobinding(binding)
        return binding.get_outputs()[-1].numpy()

    def steps(self, B: int, n_prompt: int, n: int) -> Iterator[np.ndarray]:
        """Yield after the prompt's run, and after each of n steps."""
        cache = self.new_cache(B, n_prompt + n)
        tokens, seen = np.tile(np.arange(n_prompt), (B, 1)), 0
        for _ in range(n + 1):
            best = self.logits(tokens, cache, seen).argmax(-1)
            seen, tokens = seen + tokens.shape[1], best[:, None]
            yield best

    def decode(self, B: int, n: int, n_prompt: int = PROMPT) -> float:
        """Tokens a second of a batch, without the prompt's run."""
        steps = self.steps(B, n_prompt, n)
        next(steps)
        return B * n / seconds(lambda: list(islice(steps, n)))

    def prefill(self, n: int) -> float:
        """Tokens a second of a prompt's run."""
        return n / seconds(lambda: list(self.steps(1, n, 0)))
