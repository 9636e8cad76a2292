"""The non-linearity between the two linear layers of the MLP: element by element.

GPT-2 uses GELU in its tanh form, BERT in its exact form (erf), the original Transformer ReLU; BERT's pooler uses tanh.

Chapter: S000 4.2; S001 4.2; S002 4.3; S003 4.2.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ..hints import Array, Cache
from .checks import check_shape
from .tiles import tiles

A1 = 2 * math.sqrt(2 / math.pi)
A3 = A1 * 0.044715
LIMIT = 80.0                    # exp(80) = 6e34 is finite in float32, and far above the terms of a slope (|x| < 10^9)


def gelu(x: Array) -> Array:
    """GELU without a cache, for inference: y of gelu_forward."""
    y = np.empty_like(x, order="C")
    for x_t, y_t in tiles(x, y):
        np.multiply(x_t, x_t, out=y_t)
        exp_minus_u(x_t, y_t, out=y_t)
        y_t += 1
        np.divide(x_t, y_t, out=y_t)
    return y


def gelu_forward(x: Array) -> tuple[Array, Cache]:
    """The Gaussian error linear unit in its tanh form, GPT-2's.

        gelu(x) = x/2 (1 + tanh(u/2)) = x s        s = 1 / (1 + exp(-u))        u = A1 x + A3 x^3
        A1 = 2 sqrt(2 / pi)                        A3 = 0.044715 A1

    x        (..., F)   floating
    returns  y (..., F) of x's dtype, and the cache for gelu_backward: the slope

    (1 + tanh(u/2)) / 2 is the sigmoid s of u, and exp takes half the time of tanh.  The slope

        gelu'(x) = s + x s (1 - s) u' = s (1 + y e u')        e = exp(-u)        u' = A1 + 3 A3 x^2

    is taken here, while x is in the processor's cache, and kept instead of x.  x (1 - s) is y e, which keeps its digits
    where s is near 1; x - y would not.
    Hendrycks, Gimpel 2016, arXiv:1606.08415, section 2.
    """
    y, slope = np.empty_like(x, order="C"), np.empty_like(x, order="C")
    for x_t, y_t, slope_t in tiles(x, y, slope):
        xx = x_t * x_t
        e = exp_minus_u(x_t, xx, out=slope_t)
        inv_s = e + 1
        np.divide(x_t, inv_s, out=y_t)
        xx *= 3 * A3
        xx += A1                                        # u'
        slope_t *= y_t                                  # e y, at most |x|: e alone times u' could overflow
        slope_t *= xx
        slope_t += 1
        slope_t /= inv_s
    return y, slope


def gelu_backward(dy: Array, cache: Cache) -> Array:
    """dx = dy gelu'(x)"""
    slope = cache
    check_shape("dy", dy, slope.shape)
    return dy * slope


def exp_minus_u(x: Array, xx: Array, out: Array) -> Array:
    """out = exp(-u) of gelu, with xx = x^2.  out may be xx."""
    np.multiply(xx, -A3, out=out)
    out -= A1
    out *= x                                            # -u = -(A1 x + A3 x^3)
    np.minimum(out, LIMIT, out=out)
    np.exp(out, out=out)
    return out


def gelu_erf(x: Array) -> Array:
    """GELU in its exact form without a cache, for inference: y of gelu_erf_forward, to the bit."""
    y = np.empty_like(x, order="C")
    for x_t, y_t in tiles(x, y):
        normal_tail(x_t, phi=np.empty_like(x_t), out=y_t)
        np.maximum(y_t, np.minimum(1 - y_t, x_t + 0.5), out=y_t)
        y_t *= x_t
    return y


def gelu_erf_forward(x: Array) -> tuple[Array, Cache]:
    """The Gaussian error linear unit in its exact form, BERT's.

        gelu(x) = x Phi(x)        Phi(x) = (1 + erf(x / sqrt(2))) / 2, the normal distribution

    x        (..., F)   floating
    returns  y (..., F) of x's dtype, and the cache for gelu_erf_backward: the slope

        gelu'(x) = Phi(x) + x phi(x)        phi(x) = exp(-x^2 / 2) / sqrt(2 pi), its density

    The tanh form is within 4.8e-4 of this one: enough to change what a model writes that was trained with the other.
    Hendrycks, Gimpel 2016, arXiv:1606.08415, section 2.
    """
    y, slope = np.empty_like(x, order="C"), np.empty_like(x, order="C")
    for x_t, y_t, slope_t in tiles(x, y, slope):
        normal_tail(x_t, phi=slope_t, out=y_t)
        np.maximum(y_t, np.minimum(1 - y_t, x_t + 0.5), out=y_t)        # Phi(x): it lies between 1/2 and 1/2 + x
        slope_t *= x_t
        slope_t += y_t
        y_t *= x_t
    return y, slope


def gelu_erf_backward(dy: Array, cache: Cache) -> Array:
    """dx = dy gelu'(x)"""
    slope = cache
    check_shape("dy", dy, slope.shape)
    return dy * slope


def normal_tail(x: Array, phi: Array, out: Array) -> None:
    """out = t, the normal distribution's tail beyond |x|, and the density phi(x).

        t = phi(x) M(|x|)        Phi(x) = t where x < 0, 1 - t elsewhere

    M is mills_ratio: the tail shares its exp with phi, and keeps its digits however small it is.  The callers choose
    between t and 1 - t by minima and maxima: np.where, on signs that nobody can predict, takes as long as all the rest.
    """
    np.multiply(x, -0.5, out=phi)
    phi *= x
    np.exp(phi, out=phi)
    phi *= 1 / math.sqrt(2 * math.pi)
    size = -x
    np.maximum(size, x, out=size)                       # |x|; np.abs would drop what the checks make complex
    mills_ratio(size, out=out)
    out *= phi


# NumPy has no erf.  For float32: the c and b of a continued fraction, from its inner end; it is M at 8 points, and as
# near between them as rounding allows.  For float64: powers of s in M(a) / t, the Chebyshev series over -1 <= s <= 1
# to degree 23, multiplied out.  tests/layers/test_normal_distribution.py computes both again.
FRACTION_C = (17.672496, -10.0112641, 1.21451612, 0.999722005)
FRACTION_B = (1.11239536, 4.31699775, 1.99632327, -0.0115768725)
SERIES = (
    0.6401820234584208, 0.43061410019161367, 0.17513316229272663, 0.022836781971266693, -0.013479808319747927,
    -0.0040602271163980635, 0.0019367538007799751, 0.000524697420695532, -0.000415518773016903,
    -2.1538522005131123e-05, 9.052811538710097e-05, -2.1402392005049365e-05, -1.357519207533927e-05,
    1.0110618261747996e-05, -7.583249370210013e-07, -2.2999298783919556e-06, 1.346027384651343e-06,
    1.9702775111947877e-08, -4.657772412717803e-07, 1.8763911467541403e-07, 8.28463599435234e-08,
    -6.44909011546731e-08, -6.199653433910711e-09, 8.268573709787946e-09,
)


def mills_ratio(a: Array, out: Array) -> None:
    """out = (1 - Phi(a)) / phi(a) for a >= 0: what is left of the normal distribution's tail without its fall.

        M(a) = c1 / (a + b1 + c2 / (a + b2 + c3 / (a + b3 + c4 / (a + b4))))      float32
        M(a) = t P(s)        t = 1 / (1 + a / sqrt(8))        s = 2 t - 1         float64; P of degree 23

    With c = 1, 1, 2, 3, ... and b = 0 the fraction is Laplace's, which has no end and is slow near a = 0.
    """
    if a.real.dtype.itemsize <= 4:
        np.add(a, FRACTION_B[0], out=out)
        for c, b in zip(FRACTION_C, FRACTION_B[1:]):
            np.divide(c, out, out=out)
            out += a
            out += b
        np.divide(FRACTION_C[-1], out, out=out)
        return
    t = 1 / (1 + a * math.sqrt(1 / 8))
    s = 2 * t
    s -= 1
    out[:] = SERIES[-1]
    for c in SERIES[-2::-1]:                            # Horner
        out *= s
        out += c
    out *= t


def relu(x: Array) -> Array:
    """ReLU without a cache, for inference."""
    return np.maximum(x, 0)


def relu_forward(x: Array) -> tuple[Array, Cache]:
    """The rectifier: y = max(x, 0).

    x        (..., F)   floating
    returns  y (..., F) of x's dtype, and the cache for relu_backward: y itself

    Its slope at 0 is taken as 0.  Vaswani et al. 2017, arXiv:1706.03762, section 3.3.
    """
    y = np.maximum(x, 0)
    return y, y


def relu_backward(dy: Array, cache: Cache) -> Array:
    """dx = dy where y > 0, else 0"""
    y = cache
    check_shape("dy", dy, y.shape)
    return dy * (y > 0)


def tanh(x: Array) -> Array:
    """tanh without a cache, for inference."""
    return np.tanh(x)


def tanh_forward(x: Array) -> tuple[Array, Cache]:
    """The hyperbolic tangent: y = tanh(x).

    x        (..., F)   floating
    returns  y (..., F) of x's dtype, and the cache for tanh_backward: y itself
    """
    y = np.tanh(x)
    return y, y


def tanh_backward(dy: Array, cache: Cache) -> Array:
    """dx = dy (1 - y^2)"""
    y = cache
    check_shape("dy", dy, y.shape)
    dx = y * y
    np.subtract(1, dx, out=dx)
    dx *= dy
    return dx


class Activation(NamedTuple):
    """A pair, and its form without a cache, under one name: what an MLP is told to use."""

    forward: Callable[[Array], tuple[Array, Cache]]
    backward: Callable[[Array, Cache], Array]
    inference: Callable[[Array], Array]


GELU = Activation(gelu_forward, gelu_backward, gelu)
GELU_ERF = Activation(gelu_erf_forward, gelu_erf_backward, gelu_erf)
RELU = Activation(relu_forward, relu_backward, relu)
TANH = Activation(tanh_forward, tanh_backward, tanh)
