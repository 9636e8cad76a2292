"""A GPT-2 of ours as a graph for onnxruntime, the peer that generate.py has in PyTorch.

Keys and values stay in place: the memory of a past that is handed in is that of a present, too.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np

from benchmarks.onnx_graph import FUSED, Graph, onnxruntime
from benchmarks.timing import seconds

PROMPT = 16


def session_of(model: Any) -> Any:
    """The graph, with the weights in it: ids, lengths -> logits behind the last token, keys and values."""
    config, graph = model.config, Graph(model)
    graph.arrays["end"] = np.array(-1)
    add, H, D = graph.add, config.n_head, config.n_embd // config.n_head

    def linear(x: str, path: str) -> str:
        return add("Add", add("MatMul", x, f"{path}.w", name=f"{path}.product"), f"{path}.b", name=path)

    def norm_of_sum(x: str, dx: str, path: str) -> tuple[str, str]:
        """norm(x + dx), x + dx"""
        y = add("SkipLayerNormalization", x, dx, f"{path}.g", f"{path}.b", name=path, also=["", "", f"{path}.x"],
                domain=FUSED, epsilon=1e-5)
        return y, f"{path}.x"

    embedded = add("Gather", "wte", "ids", name="tokens")
    x = add("Add", embedded, add("Gather", "wpe", "places", name="positions"), name="embedded")
    y = add("LayerNormalization", x, "h.0.ln_1.g", "h.0.ln_1.b", name="h.0.ln_1", epsilon=1e-5)
    for i in range(config.n_layer):
        qkv = linear(y, f"h.{i}.attn.c_attn")
        a = add("GroupQueryAttention", qkv, "", "", f"past_keys.{i}", f"past_values.{i}", "last", "length",
                name=f"h.{i}.attn", also=[f"keys.{i}", f"values.{i}"], domain=FUSED, num_heads=H, kv_num_heads=H)
        y, x = norm_of_sum(x, linear(a, f"h.{i}.attn.c_proj"), f"h.{i}.ln_2")
        y = add("MatMul", y, f"h.{i}.mlp.c_fc.w", name=f"h.{i}.mlp.c_fc")
        y = add("FastGelu", y, f"h.{i}.mlp.c_fc.b", name=f"h.{i}.mlp.gelu", domain=FUSED)
        following = f"h.{i + 1}.ln_1" if i + 1 < config.n_layer else "ln_f"
        y, x = norm_of_sum(x, linear(y, f"h.{i}.mlp.c_proj"), following)
    add("Gemm", add("Gather", y, "end", name="last_row", axis=1), "wte", name="logits", transB=1)

    cache = [("float", f"{what}.{i}", ["B", H, "S", D]) for i in range(config.n_layer) for what in ("keys", "values")]
    return graph.session(
        [("int64", "ids", ["B", "T"]), ("int64", "places", ["T"]), ("int32", "last", ["B"]), ("int32", "length", []),
         *((kind, f"past_{name}", shape) for kind, name, shape in cache)],
        [("float", "logits", ["B", config.n_vocab]), *cache])


class Peer:
    """The same model in onnxruntime."""

    def __init__(self, model: Any):
        self.config, self.session = model.config, session_of(model)

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
