"""As much of PyTorch as the listings call, in NumPy, so that they run as they are printed.

A tensor is an array. The weights and biases of a Linear begin as PyTorch's do: uniform in +-1/sqrt(inputs).
"""

import math
from types import SimpleNamespace

import numpy as np


class Tensor(np.ndarray):
    def size(self):
        return self.shape

    def view(self, *shape):
        return self.reshape(shape)

    def permute(self, *axes):
        return self.transpose(axes)

    def contiguous(self):
        return self.copy()

    def argmax(self, dim):
        return tensor(np.asarray(self).argmax(axis=dim))

    def to(self, device):
        return self


def tensor(a):
    return np.ndarray.view(np.array(a), Tensor)


class Module:
    def __call__(self, *arguments):
        return self.forward(*arguments)

    def parameters(self):
        """path -> array."""
        found = {}
        for name, value in vars(self).items():
            below = enumerate(value) if isinstance(value, list) else [(None, value)]
            for i, child in below:
                path = name if i is None else f"{name}.{i}"
                if isinstance(child, Module):
                    found |= {f"{path}.{rest}": a for rest, a in child.parameters().items()}
                elif isinstance(child, Tensor):
                    found[path] = child
        return found

    def modules(self):
        yield self
        for value in vars(self).values():
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, Module):
                    yield from child.modules()


class Sequential(Module):
    def __init__(self, *layers):
        self.layers = list(layers)

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


class LayerNorm(Module):
    def __init__(self, n):
        self.weight, self.bias = tensor(np.ones(n)), tensor(np.zeros(n))

    def forward(self, x):
        mean = x.mean(axis=-1, keepdims=True)
        var = ((x - mean) ** 2).mean(axis=-1, keepdims=True)
        return (x - mean) / np.sqrt(var + 1e-5) * self.weight + self.bias


class ReLU(Module):
    def forward(self, x):
        return np.maximum(x, 0)


class LogSoftmax(Module):
    def __init__(self, dim):
        self.dim = dim

    def forward(self, x):
        x = x - x.max(axis=self.dim, keepdims=True)
        return x - np.log(np.exp(x).sum(axis=self.dim, keepdims=True))


def softmax(x, dim):
    return np.exp(x) / np.exp(x).sum(axis=dim, keepdims=True)


def torch_like(rng):
    """module name -> module. Weights and dropout draw from rng; dropout always does, as in training."""

    class Linear(Module):
        def __init__(self, n_in, n_out):
            bound = 1 / math.sqrt(n_in)
            self.weight = tensor(rng.uniform(-bound, bound, (n_out, n_in)))
            self.bias = tensor(rng.uniform(-bound, bound, n_out))

        def forward(self, x):
            return x @ self.weight.T + self.bias

    class Dropout(Module):
        def __init__(self, rate):
            self.rate = rate

        def forward(self, x):
            return x * (rng.random(x.shape) >= self.rate) / (1 - self.rate)

    nn = SimpleNamespace(Module=Module, Linear=Linear, Sequential=Sequential, ModuleList=list, LayerNorm=LayerNorm,
                         ReLU=ReLU, Dropout=Dropout, LogSoftmax=LogSoftmax, functional=SimpleNamespace(softmax=softmax))
    torch = SimpleNamespace(nn=nn, matmul=np.matmul, sqrt=np.sqrt, tensor=tensor)
    transformers = SimpleNamespace(BertTokenizer=None, BertForSequenceClassification=None, AdamW=None)
    return {"torch": torch, "torch.nn": nn, "torch.nn.functional": nn.functional, "transformers": transformers}
