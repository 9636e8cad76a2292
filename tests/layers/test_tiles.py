"""The product: the same numbers, however many rows there are and however the matrix lies in memory."""

import numpy as np
import pytest

from gpt2np.layers import tiles
from gpt2np.layers.tiles import product


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", [(12, 5), (5, 12), (6, 6), (1, 4), (4, 1)])
@pytest.mark.parametrize("n", [0, 1, 2, tiles.FEW - 1, tiles.FEW, tiles.SEVERAL, tiles.SEVERAL + 1])
def test_it_is_the_product_for_any_rows_and_any_layout(order, shape, n):
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((n, shape[0])), np.asarray(rng.standard_normal(shape), order=order)
    y = product(x, w)
    assert y.shape == (n, shape[1])
    np.testing.assert_allclose(y, np.einsum("ni,io->no", x, w), rtol=1e-12, atol=1e-12)


def test_rows_of_logits_lie_together():
    """They are read row by row: a table of V rows, turned, is not multiplied by columns."""
    rng = np.random.default_rng(0)
    assert product(rng.standard_normal((8, 5)), rng.standard_normal((40, 5)).T).flags.c_contiguous
