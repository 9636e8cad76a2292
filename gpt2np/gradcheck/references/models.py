"""GPT-2 by scalar loops."""

import numpy as np

from ...hints import Array, Rng
from .blocks import below, dropped, norm, stack
from .layers import embedding, lm_head


def gpt2(tokens: Array, H: int, L: int, p: dict[str, Array], rate: float = 0.0, rng: Rng | None = None) -> Array:
    positions = np.array([range(tokens.shape[1])] * len(tokens))
    x = dropped(embedding(tokens, p["wte"]) + embedding(positions, p["wpe"]), rate, rng)
    x = stack(x, H, L, p, rate=rate, rng=rng)
    return lm_head(norm(x, below(p, "ln_f")), p["wte"])
