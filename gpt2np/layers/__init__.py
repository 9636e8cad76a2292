"""The layers of the Transformer, one concept a file: the equation, the pair, and the class where there are parameters.

A layer is a pair of pure functions,

    y, cache = layer_forward(x, ...)         cache: what the backward pass needs, and nothing else
    dx, ...  = layer_backward(dy, cache)     the gradients of the loss by the arguments of forward, in their order

where dy is the gradient of the loss by y.  A forward never writes into its arguments, a backward never writes into dy
or the cache, and what a backward returns is fresh memory that the caller may add into (but for dropout that drops
nothing: x and dy pass through).  y may be part of the cache: do not write into it before the backward pass.

Floating means float32 or float64, and complex128 where the checks differentiate; float16 is too coarse for the sums.

Shape letters, the same in every file:

    B  batch                T  query positions     S  key positions     N  rows: all leading axes as one
    C  width (n_embd)       H  heads               D  width of a head, C / H
    F  inner width          V  vocabulary          L  layers
"""
