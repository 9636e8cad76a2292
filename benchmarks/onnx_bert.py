"""A BERT of ours as a graph for onnxruntime, a peer of bert.py: the encoder, without its pooler."""

from typing import Any

import numpy as np

from benchmarks.onnx_graph import FUSED, Graph


class Peer:
    """The same model in onnxruntime."""

    def __init__(self, model: Any):
        config, graph = model.config, Graph(model)
        add, eps = graph.add, {"domain": FUSED, "epsilon": config.eps}
        x = add("EmbedLayerNormalization", "ids", "segments", "wte", "wpe", "wse", "ln.g", "ln.b", name="ln",
                also=["lengths"], **eps)
        for block in (f"h.{i}" for i in range(config.n_layer)):
            attn, mlp = f"{block}.attn", f"{block}.mlp"
            y = add("Attention", x, f"{attn}.c_attn.w", f"{attn}.c_attn.b", name=attn, domain=FUSED,
                    num_heads=config.n_head)
            y = add("MatMul", y, f"{attn}.c_proj.w", name=f"{attn}.c_proj")
            x = add("SkipLayerNormalization", y, x, f"{block}.ln_1.g", f"{block}.ln_1.b", f"{attn}.c_proj.b",
                    name=f"{block}.ln_1", **eps)
            y = add("MatMul", x, f"{mlp}.c_fc.w", name=f"{mlp}.c_fc")
            y = add("BiasGelu", y, f"{mlp}.c_fc.b", name=f"{mlp}.gelu", domain=FUSED)
            y = add("MatMul", y, f"{mlp}.c_proj.w", name=f"{mlp}.c_proj")
            x = add("SkipLayerNormalization", y, x, f"{block}.ln_2.g", f"{block}.ln_2.b", f"{mlp}.c_proj.b",
                    name=f"{block}.ln_2", **eps)
        self.session = graph.session([("int32", name, ["B", "T"]) for name in ("ids", "segments")],
                                     [("float", x, ["B", "T", config.n_embd])])

    def read(self, ids: np.ndarray) -> np.ndarray:
        """ids (B, T) -> x (B, T, C)"""
        x, = self.session.run(None, {"ids": ids.astype(np.int32), "segments": np.zeros_like(ids, np.int32)})
        return x
