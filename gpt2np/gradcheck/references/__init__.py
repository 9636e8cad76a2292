"""Every forward once more, slowly: scalar loops and the math module, straight from the formula.

A backward can be the exact gradient of a forward that computes the wrong thing: no gradient check sees that.  These
share no line with the layers; arrays serve as containers of numbers.  They take the same arguments as the forward, but
those of a module, which take its parameters and constants by path, p, after its inputs.
"""
