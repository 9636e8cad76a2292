"""The non-linearity between the two linear layers of the MLP: element by element.

GPT-2 uses GELU in its tanh form, BERT in its exact form (erf), the original Transformer ReLU; BERT's pooler uses tanh.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from .checks import check_shape
from .tiles import tiles

A = 2 * math.sqrt(2 / math.pi)
B = A * 0.044715
LIMIT = 80.0                    # exp(80) = 6e34 is still finite in float32, and x / (1 + 6e34) is 0 for any use


def gelu(x):
    """GELU without a cache, for inference: y of gelu_forward."""
    y = np.empty_like(x, order="C")
    for x_t, y_t in tiles(x, y):
        np.multiply(x_t, x_t, out=y_t)
        one_plus_exp(x_t, y_t, out=y_t)
        np.divide(x_t, y_t, out=y_t)
    return y


def gelu_forward(x):
    """The Gaussian error linear unit in its tanh form, GPT-2's.

        gelu(x) = x/2 (1 + tanh(u/2)) = x s        s = 1 / (1 + exp(-u))        u = A x + B x^3
        A = 2 sqrt(2 / pi)                         B = 0.044715 A

    x        (..., F)   floating
    returns  y (..., F) of x's dtype, and the cache for gelu_backward: the slope

    (1 + tanh(u/2)) / 2 is the sigmoid s of u, and exp takes half the time of tanh.  The slope

        gelu'(x) = s + x s (1 - s) u' = s (1 + (x - y) (A + 3 B x^2))

    is taken here, while x is in the processor's cache, and kept instead of x.
    Hendrycks, Gimpel 2016, arXiv:1606.08415, section 2.
    """
    y, slope = np.empty_like(x, order="C"), np.empty_like(x, order="C")
    for x_t, y_t, slope_t in tiles(x, y, slope):
        xx = x_t * x_t
        inv_s = one_plus_exp(x_t, xx, out=np.empty_like(xx))
        np.divide(x_t, inv_s, out=y_t)
        xx *= 3 * B
        xx += A                                         # u' = A + 3 B x^2
        np.subtract(x_t, y_t, out=slope_t)
        slope_t *= xx
        slope_t += 1
        slope_t /= inv_s
    return y, slope


def gelu_backward(dy, cache):
    """dx = dy gelu'(x)"""
    slope = cache
    check_shape("dy", dy, slope.shape)
    return dy * slope


def one_plus_exp(x, xx, out):
    """out = 1 + exp(-u) = 1 / s for gelu, with xx = x^2.  out may be xx."""
    np.multiply(xx, -B, out=out)
    out -= A
    out *= x                                            # -u = -(A x + B x^3)
    np.minimum(out, LIMIT, out=out)
    np.exp(out, out=out)
    out += 1
    return out


def gelu_erf(x):
    """GELU in its exact form without a cache, for inference: y of gelu_erf_forward."""
    y, _ = gelu_erf_forward(x)
    return y


def gelu_erf_forward(x):
    """The Gaussian error linear unit in its exact form, BERT's.

        gelu(x) = x Phi(x)        Phi(x) = (1 + erf(x / sqrt(2))) / 2, the normal distribution

    x        (..., F)   floating
    returns  y (..., F) of x's dtype, and the cache for gelu_erf_backward: the slope

        gelu'(x) = Phi(x) + x phi(x)        phi(x) = exp(-x^2 / 2) / sqrt(2 pi), its density

    The tanh form is within 4.8e-4 of it, which is enough to change what a model trained with the other one writes.
    Hendrycks, Gimpel 2016, arXiv:1606.08415, section 2.
    """
    y, slope = np.empty_like(x, order="C"), np.empty_like(x, order="C")
    for x_t, y_t, slope_t in tiles(x, y, slope):
        left = x_t.real < 0
        tail = erfc(np.where(left, -x_t, x_t) * (1 / math.sqrt(2))) * 0.5       # Phi(-|x|), small: no cancellation
        slope_t[:] = np.where(left, tail, 1 - tail)     # Phi(x)
        np.multiply(x_t, slope_t, out=y_t)
        slope_t += x_t * np.exp(x_t * x_t * -0.5) * (1 / math.sqrt(2 * math.pi))
    return y, slope


def gelu_erf_backward(dy, cache):
    """dx = dy gelu'(x)"""
    slope = cache
    check_shape("dy", dy, slope.shape)
    return dy * slope


# NumPy has no erf.  The Chebyshev coefficients of log(erfc(z) exp(z^2) / t), t = 2 / (2 + z), over 0 <= t <= 1,
# computed to 50 digits; tests/layers/test_erfc.py computes them again.
ERFC = (
    -0.6513268598908547, 0.6419697923564903, 0.019476473204185836, -0.009561514786808632, -0.0009465953444820369,
    0.00036683949785276145, 4.2523324806907414e-05, -2.0278578112534256e-05, -1.624290004647015e-06,
    1.3036558355805132e-06, 1.5626441722075487e-08, -8.523809591491352e-08, 6.5290544391066195e-09,
    5.059343495544564e-09, -9.91364156487033e-10, -2.2736512229824112e-10, 9.646791102423924e-11,
    2.3940380799538943e-12, -6.8860275244301044e-12, 8.944879262721407e-13, 3.130921399343172e-13,
    -1.1270822257678352e-13, 3.810884581123593e-16, 7.106100698786989e-15, -1.523032285384786e-15,
)


def erfc(z):
    """1 - erf(z) = 2 / sqrt(pi) times the integral of exp(-t^2) from z on, for z >= 0, with a small relative error.

        erfc(z) = t exp(P(2 t - 1) - z^2)        t = 2 / (2 + z)        P a Chebyshev series

    z        (...)      floating, not negative (its real part: the checks make it complex)
    returns  (...)      of z's dtype
    """
    t = 2 / (2 + z)
    s2 = 4 * t - 2                                      # twice the argument of P
    p, q = np.zeros_like(z), np.zeros_like(z)
    for c in ERFC[:0:-1]:                               # Clenshaw: p, q = c + 2 s p - q, p
        p, q = s2 * p - q + c, p
    return t * np.exp(s2 * 0.5 * p - q + ERFC[0] - z * z)


def relu(x):
    """ReLU without a cache, for inference."""
    return np.maximum(x, 0)


def relu_forward(x):
    """The rectifier: y = max(x, 0).

    x        (..., F)   floating
    returns  y (..., F) of x's dtype, and the cache for relu_backward: y itself

    Its slope at 0 is taken as 0.  Vaswani et al. 2017, arXiv:1706.03762, section 3.3.
    """
    y = np.maximum(x, 0)
    return y, y


def relu_backward(dy, cache):
    """dx = dy where y > 0, else 0"""
    y = cache
    check_shape("dy", dy, y.shape)
    return dy * (y > 0)


def tanh(x):
    """tanh without a cache, for inference."""
    return np.tanh(x)


def tanh_forward(x):
    """The hyperbolic tangent: y = tanh(x).

    x        (..., F)   floating
    returns  y (..., F) of x's dtype, and the cache for tanh_backward: y itself
    """
    y = np.tanh(x)
    return y, y


def tanh_backward(dy, cache):
    """dx = dy (1 - y^2)"""
    y = cache
    check_shape("dy", dy, y.shape)
    dx = y * y
    np.subtract(1, dx, out=dx)
    dx *= dy
    return dx


class Activation(NamedTuple):
    """A pair, and its form without a cache, under one name: what an MLP is told to use."""

    forward: Callable
    backward: Callable
    inference: Callable


GELU = Activation(gelu_forward, gelu_backward, gelu)
GELU_ERF = Activation(gelu_erf_forward, gelu_erf_backward, gelu_erf)
RELU = Activation(relu_forward, relu_backward, relu)
TANH = Activation(tanh_forward, tanh_backward, tanh)
