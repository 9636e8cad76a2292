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
    """GELU in its exact form without a cache, for inference: y of gelu_erf_forward."""
    y = np.empty_like(x, order="C")
    for x_t, y_t in tiles(x, y):
        Phi, _ = normal_distribution(x_t)
        np.multiply(x_t, Phi, out=y_t)
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
        Phi, phi = normal_distribution(x_t)
        np.multiply(x_t, Phi, out=y_t)
        np.multiply(x_t, phi, out=slope_t)
        slope_t += Phi
    return y, slope


def gelu_erf_backward(dy: Array, cache: Cache) -> Array:
    """dx = dy gelu'(x)"""
    slope = cache
    check_shape("dy", dy, slope.shape)
    return dy * slope


def normal_distribution(x: Array) -> tuple[Array, Array]:
    """Phi(x), the distribution, and phi(x), its density, of the normal distribution: two new arrays.

        Phi(-|x|) = exp(-x^2 / 2) erfcx(|x| / sqrt(2)) / 2        phi(x) = exp(-x^2 / 2) / sqrt(2 pi)

    The tail Phi(-|x|) shares its exp with phi, and keeps its digits however small it is.
    """
    left = x.real < 0                                   # its real part: the checks make x complex
    tail = erfcx(np.where(left, -x, x) * math.sqrt(0.5))
    phi = x * x
    phi *= -0.5
    np.exp(phi, out=phi)
    tail *= phi
    tail *= 0.5
    phi *= 1 / math.sqrt(2 * math.pi)
    return np.where(left, tail, 1 - tail), phi


# NumPy has no erf.  Powers of s in exp(z^2) erfc(z) / t over -1 <= s <= 1: its Chebyshev series to degree 23, computed
# to 60 digits and multiplied out.  tests/layers/test_erfcx.py computes it again.
ERFCX = (
    0.5107913526210117, 0.3435803422069067, 0.13973604627794914, 0.01822111575329492, -0.010755330940908886,
    -0.0032395925295271534, 0.0015453059557186107, 0.0004186479710660508, -0.00033153601371393716,
    -1.71852541704069e-05, 7.223098558594817e-05, -1.7076638145079572e-05, -1.0831436166846611e-05,
    8.06710621122023e-06, -6.050557593208622e-07, -1.835078540898153e-06, 1.0739744686311663e-06,
    1.5720540066794157e-08, -3.7163646958410467e-07, 1.497143526022312e-07, 6.610183151765426e-08,
    -5.145629434357736e-08, -4.946607757245824e-09, 6.597367302900275e-09,
)


def erfcx(z: Array) -> Array:
    """exp(z^2) erfc(z) for z >= 0: what is left of 1 - erf(z) when its fall to 0 is taken out.

        erfcx(z) = t P(s)        t = 2 / (2 + z)        s = 2 t - 1        P a polynomial of degree 23

    z        (...)      floating, not negative
    returns  (...)      of z's dtype, to a few units in the last place
    """
    t = 2 / (2 + z)
    s = 2 * t
    s -= 1
    p = np.full_like(s, ERFCX[-1])
    for c in ERFCX[-2::-1]:                             # Horner
        p *= s
        p += c
    p *= t
    return p


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
