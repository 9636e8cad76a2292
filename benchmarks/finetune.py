"""Times a step of fine-tuning for named entities beside PyTorch: all of the model trained, and the head alone.

    python -m benchmarks.finetune [--rounds 7]

Both on the same cores, interleaved in one run (ours, theirs, ours, ...), medians of the rounds, in float32: a BERT of 6
blocks, width 384, 12 heads, inner width 1,536 and 8,000 tokens, with a head for 9 labels; 16 sentences of 32 tokens, a
quarter of them padding.

    step   forward, backward, norm of the gradient and AdamW; PyTorch of its own nn.TransformerEncoder, with
           torch.optim.AdamW as it comes, and in brackets with fused=True
    head   the same with a frozen body, and its share of our step in which all is trained
"""

import argparse
import statistics
from functools import partial

import numpy as np

from benchmarks.timing import interleaved
from gpt2np.memory import cores, keep_freed_memory
from gpt2np.models.bert import BERT
from gpt2np.models.config import BertConfig
from gpt2np.models.heads import TokenClassifier
from gpt2np.training.adamw import AdamW
from gpt2np.training.clipping import clip_scale
from gpt2np.training.parallel import DataParallel

try:
    import torch
    from torch import nn
    from torch.nn import functional
except ImportError:
    torch = None

V, C, H, L, F, K, B, T = 8000, 384, 12, 6, 1536, 9, 16, 32


class Ours:
    """A model of gpt2np and its optimizer."""

    def __init__(self, dropout, frozen=False):
        rng = np.random.default_rng(0)
        body = BERT(BertConfig(V, 128, C, H, L, F), rng, dropout, pooler=False)
        self.model = TokenClassifier(body, map(str, range(K)), rng, dropout=dropout)
        if frozen:
            body.freeze()
        self.optimizer = AdamW(self.model)
        self.parallel = DataParallel(self.model, cores())

    def step(self, tokens, mask, targets):
        _, norm = self.parallel.loss_and_gradients((tokens, np.zeros_like(tokens), mask, targets), 1, [0])
        self.optimizer.step(1e-4, clip_scale(norm, 1.0), self.parallel.run)


if torch:
    class Theirs(nn.Module):
        """The same of PyTorch's own layers."""

        def __init__(self, dropout, frozen=False, fused=False):
            super().__init__()
            self.wte, self.wpe, self.wse = nn.Embedding(V, C), nn.Embedding(128, C), nn.Embedding(2, C)
            self.ln, self.dropout, self.head = nn.LayerNorm(C), nn.Dropout(dropout), nn.Linear(C, K)
            block = nn.TransformerEncoderLayer(C, H, F, dropout, "gelu", batch_first=True)
            self.blocks = nn.TransformerEncoder(block, L)
            for name, p in self.named_parameters():
                p.requires_grad = not frozen or name.startswith("head.")
            trained = [p for p in self.parameters() if p.requires_grad]
            self.optimizer = torch.optim.AdamW(trained, 1e-4, weight_decay=0.1, fused=fused)

        def step(self, tokens, mask, targets):
            tokens, mask, targets = map(torch.from_numpy, (tokens, mask, targets))
            x = self.wte(tokens) + self.wpe(torch.arange(T)) + self.wse(torch.zeros_like(tokens))
            x = self.blocks(self.dropout(self.ln(x)), src_key_padding_mask=~mask)
            loss = functional.cross_entropy(self.head(self.dropout(x)).flatten(0, 1), targets.flatten())
            loss.backward()
            nn.utils.clip_grad_norm_(self.parameters(), 1.0)
            self.optimizer.step()
            self.optimizer.zero_grad()


def batch():
    rng = np.random.default_rng(1)
    mask = np.arange(T) < rng.integers(T // 2, T + 1, B)[:, None]
    mask[0] = True
    return rng.integers(1, V, (B, T)) * mask, mask, np.where(mask, rng.integers(0, K, (B, T)), -100)


def step_times(rounds, dropout):
    """The seconds of each side's steps, by its name and by whether all but the head is frozen."""
    sides = {("ours", frozen): Ours(dropout, frozen) for frozen in (False, True)}
    if torch:
        sides |= {(name, frozen): Theirs(dropout, frozen, name == "fused")
                  for frozen in (False, True) for name in ("torch", "fused")}
    return dict(zip(sides, interleaved(rounds, [partial(side.step, *batch()) for side in sides.values()])))


def lines(rounds, dropout):
    """The two lines of a rate of dropout: all trained, and the head alone."""
    full, head, *theirs = map(statistics.median, step_times(rounds, dropout).values())
    for name, ours, peers in ((f"step, dropout {dropout}", full, theirs[:2]),
                              (f"head alone, dropout {dropout}", head, theirs[2:])):
        text = f"{name:33}{ours * 1e3:11.1f}"
        if peers:
            text += f"{peers[0] * 1e3:9.1f}{peers[0] / ours:7.2f} ({peers[1] / ours:.2f})"
        yield text + (f"   {ours / full:.2f} of the step" if ours is head else "")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    keep_freed_memory()
    if torch:
        torch.set_num_threads(cores())
    print(f"{'milliseconds':33}{'gpt2np':>11}{'PyTorch':>9}{'ratio':>7}")
    for dropout in (0.1, 0.0):
        for line in lines(options.rounds, dropout):
            print(line, flush=True)


if __name__ == "__main__":
    main()
