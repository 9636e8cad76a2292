"""The complementary error function, which NumPy lacks: against the standard library's, and its coefficients again."""

import math

import numpy as np
import pytest

from gpt2np.layers.activations import ERFC, erfc, gelu, gelu_erf


def test_against_the_standard_library():
    z = np.linspace(0, 6, 10001)
    expected = np.array([math.erfc(a) for a in z])
    assert np.abs(erfc(z) / expected - 1).max() < 2e-14


def test_far_out_it_falls_to_0_without_a_warning():
    assert erfc(np.array([30.0, 1e4])).tolist() == [0.0, 0.0]
    assert erfc(np.array([30.0, 1e4], np.float32)).dtype == np.float32


def test_coefficients():
    """Chebyshev coefficients of log(erfc(z) exp(z^2) / t): interpolated once more, in long numbers."""
    mpmath = pytest.importorskip("mpmath", reason="mpmath is not installed: it computes the coefficients to 50 digits")
    with mpmath.workdps(50):
        n = 60
        nodes = [mpmath.cos(mpmath.pi * (k + mpmath.mpf(1) / 2) / n) for k in range(n)]
        values = []
        for s in nodes:
            t = (s + 1) / 2
            z = 2 / t - 2
            values.append(mpmath.log(mpmath.erfc(z) * mpmath.exp(z * z) / t))
        for j, expected in enumerate(ERFC):
            c = 2 / mpmath.mpf(n) * sum(values[k] * mpmath.cos(mpmath.pi * j * (k + mpmath.mpf(1) / 2) / n)
                                        for k in range(n))
            assert abs(c / (2 if j == 0 else 1) - expected) < 1e-19 + 1e-15 * abs(expected), j


def test_the_two_forms_of_gelu_differ_by_what_the_docstring_says():
    x = np.linspace(-6, 6, 100001)[None]
    difference = np.abs(gelu(x) - gelu_erf(x)).max()
    assert 4.7e-4 < difference < 4.8e-4
