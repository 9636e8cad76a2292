"""The normal distribution in GELU's exact form: to its last digits, tails too, and its coefficients once more."""

import math

import numpy as np
import pytest

from gpt2np.layers.activations import FRACTION_B, FRACTION_C, SERIES, gelu, gelu_erf, gelu_erf_forward, mills_ratio

# Where the fraction is M: so that its largest errors between them, in units of what rounding a costs, are the same.
POINTS = "0.02 0.19 0.53 1.09 1.97 3.44 6.23 11.8".split()


def mills(a):
    """M(a) in the standard library's numbers, for a where erfc is not yet 0."""
    return np.array([math.sqrt(math.pi / 2) * math.erfc(z / math.sqrt(2)) * math.exp(z * z / 2) for z in a.tolist()])


def gelu_and_slope(x):
    """x Phi(x) and its derivative in the standard library's numbers."""
    Phi = np.array([math.erfc(-a / math.sqrt(2)) / 2 for a in x.tolist()])
    phi = np.array([math.exp(-a * a / 2) / math.sqrt(2 * math.pi) for a in x.tolist()])
    return x * Phi, Phi + x * phi


def ratio(a):
    out = np.empty_like(a)
    mills_ratio(a, out)
    return out


@pytest.mark.parametrize("dtype, limit", [(np.float32, 4), (np.float64, 8)])
def test_ratio_against_the_standard_library(dtype, limit):
    """Units in the last place; more of them far out, where rounding a changes phi(a) by a^2 / 2 of them."""
    a = np.linspace(0, 12, 20001).astype(dtype)
    error = np.abs(ratio(a) / mills(a.astype(np.float64)) - 1) / np.finfo(dtype).eps
    assert (error / (1 + a * a / 4)).max() < limit


@pytest.mark.parametrize("dtype, limit", [(np.float32, 4), (np.float64, 8)])
def test_gelu_keeps_its_digits_on_the_whole_line(dtype, limit):
    """Tails relative to themselves.  Near -0.75, where the slope is 0, relative to the terms that cancel there."""
    x = np.concatenate([np.linspace(-13, 13, 20001), np.geomspace(1e-20, 1, 500), -np.geomspace(1e-20, 1, 500)])
    x = x.astype(dtype)
    y, slope = gelu_erf_forward(x[None])
    expected_y, expected_slope = gelu_and_slope(x.astype(np.float64))
    unit = np.finfo(dtype).eps * (1 + x.astype(np.float64)**2 / 2)
    assert (np.abs(y[0] - expected_y) <= limit * unit * np.abs(expected_y)).all()
    term = np.abs(expected_y) * (1 + np.abs(x)) + np.abs(expected_slope)
    assert (np.abs(slope[0] - expected_slope) <= limit * unit * term).all()


def test_far_out_the_ratio_falls_like_one_over_a():
    a = np.array([1e4, 1e8])
    np.testing.assert_allclose(ratio(a) * a, 1, rtol=1.1e-8)
    a = np.array([1e4, 1e8, 1e30, np.inf], np.float32)
    assert ratio(a).dtype == np.float32
    np.testing.assert_allclose(ratio(a)[:3] * a[:3], 1, rtol=4e-4)
    assert ratio(a)[3] == 0


def test_no_denominator_of_the_fraction_is_0():
    """Each level is positive for a >= 0, but the third's share, -10 / (4.3 + ...), which is taken from more."""
    a = np.linspace(0, 20, 20001)
    level = a + FRACTION_B[0]
    for c, b in zip(FRACTION_C, FRACTION_B[1:]):
        assert level.min() > 0.5
        level = a + b + c / level
    assert level.min() > 0.5


def long_mills(mpmath, a):
    """M(a) to 60 digits."""
    if a < 60:
        return mpmath.sqrt(mpmath.pi / 2) * mpmath.erfc(a / mpmath.sqrt(2)) * mpmath.exp(a * a / 2)
    terms = [mpmath.mpf(1)]                             # the asymptotic series, where exp is out of reach
    for k in range(40):
        terms.append(-terms[-1] * (2 * k + 1) / (a * a))
    return mpmath.fsum(terms) / a


def test_fraction():
    """The fraction of four levels through M at eight points: first as P / Q with Q = a^4 + ..., then level by level."""
    mpmath = pytest.importorskip("mpmath", reason="mpmath is not installed: it computes the coefficients to 60 digits")
    with mpmath.workdps(60):
        points = [mpmath.mpf(a) for a in POINTS]
        n = len(points) // 2
        matrix, right = mpmath.matrix(2 * n, 2 * n), mpmath.matrix(2 * n, 1)
        for i, a in enumerate(points):                  # P(a) - M Q(a) = 0
            for j in range(n):
                matrix[i, j], matrix[i, n + j] = a**j, -long_mills(mpmath, a) * a**j
            right[i] = long_mills(mpmath, a) * a**n
        solution = list(mpmath.lu_solve(matrix, right))
        p, q = solution[:n], solution[n:] + [mpmath.mpf(1)]
        levels = []
        while p:                                        # P / Q = c / (a + b + R / P'), P' = P / c
            c = p[-1]
            p = [a / c for a in p]
            rest = [a - before for a, before in zip(q, [0, *p])]        # Q - a P'
            b = rest[len(p) - 1]
            rest = [a - b * other for a, other in zip(rest, p)][:-1]    # Q - (a + b) P'
            levels.append((c, b))
            p, q = rest, p
        for got, (c, b) in zip(zip(FRACTION_C, FRACTION_B, strict=True), reversed(levels), strict=True):
            assert abs(got[0] - c) <= 1e-8 * abs(c)
            assert abs(got[1] - b) <= 1e-8 * abs(b)


def test_series():
    """The Chebyshev series of M(a) / t to degree 23, in powers of s, once more in long numbers."""
    mpmath = pytest.importorskip("mpmath", reason="mpmath is not installed: it computes the coefficients to 60 digits")
    with mpmath.workdps(60):
        n, degree = 80, len(SERIES) - 1
        angles = [mpmath.pi * (k + mpmath.mpf(1) / 2) / n for k in range(n)]
        values = []
        for angle in angles:
            t = (mpmath.cos(angle) + 1) / 2
            values.append(long_mills(mpmath, (1 / t - 1) * mpmath.sqrt(8)) / t)
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
        for got, expected in zip(SERIES, powers):
            assert abs(got - expected) <= 1e-15 * abs(expected)


def test_the_two_forms_of_gelu_differ_by_what_the_docstring_says():
    x = np.linspace(-6, 6, 100001)[None]
    difference = np.abs(gelu(x) - gelu_erf(x)).max()
    assert 4.7e-4 < difference < 4.8e-4
