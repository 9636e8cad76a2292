"""The scaled complementary error function: against the standard library, and its coefficients once more."""

import math

import numpy as np
import pytest

from gpt2np.layers.activations import ERFCX, erfcx, gelu, gelu_erf


def test_against_the_standard_library():
    z = np.linspace(0, 5, 10001)
    expected = np.array([math.erfc(a) * math.exp(a * a) for a in z])
    assert np.abs(erfcx(z) / expected - 1).max() < 1e-14


def test_far_out_it_falls_like_one_over_z():
    z = np.array([1e4, 1e8])
    np.testing.assert_allclose(erfcx(z) * z * math.sqrt(math.pi), 1, rtol=1e-8)
    assert erfcx(z.astype(np.float32)).dtype == np.float32


def test_coefficients():
    """The Chebyshev series of exp(z^2) erfc(z) / t to degree 23, in powers of s, once more in long numbers."""
    mpmath = pytest.importorskip("mpmath", reason="mpmath is not installed: it computes the coefficients to 60 digits")
    with mpmath.workdps(60):
        n, degree = 80, len(ERFCX) - 1
        angles = [mpmath.pi * (k + mpmath.mpf(1) / 2) / n for k in range(n)]
        values = []
        for angle in angles:
            t = (mpmath.cos(angle) + 1) / 2
            z = 2 / t - 2
            if z < 60:
                scaled = mpmath.erfc(z) * mpmath.exp(z * z)
            else:                                       # the asymptotic series, where exp(z^2) is out of reach
                terms = [mpmath.mpf(1)]
                for k in range(40):
                    terms.append(-terms[-1] * (2 * k + 1) / (2 * z * z))
                scaled = mpmath.fsum(terms) / (z * mpmath.sqrt(mpmath.pi))
            values.append(scaled / t)
        series = [mpmath.mpf(2 if j else 1) / n * mpmath.fsum(v * mpmath.cos(j * a) for v, a in zip(values, angles))
                  for j in range(degree + 1)]
        powers, before, now = [mpmath.mpf(0)] * (degree + 1), [mpmath.mpf(1)], [mpmath.mpf(0), mpmath.mpf(1)]
        for j, c in enumerate(series):                  # T_0 = 1, T_1 = s, T_j+1 = 2 s T_j - T_j-1
            current = before if j == 0 else now
            for i, a in enumerate(current):
                powers[i] += c * a
            if j > 0:
                after = [mpmath.mpf(0)] + [2 * a for a in now]
                for i, a in enumerate(before):
                    after[i] -= a
                before, now = now, after
        for got, expected in zip(ERFCX, powers):
            assert abs(got - expected) <= 1e-15 * abs(expected)


def test_the_two_forms_of_gelu_differ_by_what_the_docstring_says():
    x = np.linspace(-6, 6, 100001)[None]
    difference = np.abs(gelu(x) - gelu_erf(x)).max()
    assert 4.7e-4 < difference < 4.8e-4
