"""The fixed table of positions, against its formula and its geometry."""

import math

import numpy as np

from gpt2np.layers.positional import sinusoidal_positions


def test_formula():
    for n_embd in (6, 7, 1):
        table = sinusoidal_positions(5, n_embd, np.float64)
        for t in range(5):
            for j in range(n_embd):
                angle = t / 10000 ** ((j - j % 2) / n_embd)
                assert math.isclose(table[t, j], math.cos(angle) if j % 2 else math.sin(angle), abs_tol=1e-14)


def test_products_depend_on_the_distance_only():
    table = sinusoidal_positions(20, 8, np.float64)
    products = table @ table.T
    for distance in range(20):
        np.testing.assert_allclose(np.diagonal(products, distance), products[0, distance], rtol=1e-12)


def test_dtype():
    assert sinusoidal_positions(3, 4).dtype == np.float32
