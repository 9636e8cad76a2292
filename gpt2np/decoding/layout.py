"""How the weights lie in memory while a model writes."""

import numpy as np

from ..layers.module import Module


def lay_out_for_decoding(model: Module) -> None:
    """Turn every matrix in memory so that its longer axis is the contiguous one.

    Decoding is bound by how fast the weights are read, and a product with few rows reads long columns faster than
    short rows. The values stay the same; only those that are turned are copied.
    """
    for path, parameter in model.named_parameters():
        n_in, *n_out = parameter.value.shape
        if path.endswith(".w") and n_in >= n_out[0]:
            parameter.value = np.asfortranarray(parameter.value)
