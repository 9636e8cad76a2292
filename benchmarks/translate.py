"""Times a Transformer beside torch.nn.Transformer: steps of training, greedy decoding, and how it grows with length.

    python -m benchmarks.translate [--rounds 5] [--only NAME] [--pairs PAIRS.tsv]

Both on the same cores, interleaved in one run (ours, theirs, ours, ...), medians of the rounds, in float32: width 256,
8 heads, 3 + 3 blocks, inner width 1,024, one table of 4,096 tokens for source, target and head, post-norm.

    step     forward, backward, norm of the gradient and AdamW, on sources and targets of 32 tokens each; PyTorch with
             torch.optim.AdamW as it comes, and in brackets with fused=True
    decode   8 sources, the encoder once on both sides.  PyTorch's decoder has no cache: it reads all of the text again
             for each token
    padding  with --pairs: the share of padding in batches of 2,500 positions
"""

import argparse
import statistics
from functools import partial

import numpy as np

from benchmarks.timing import interleaved
from gpt2np.decoding import GREEDY, columns, generate_batch, lay_out_for_decoding
from gpt2np.memory import cores, keep_freed_memory
from gpt2np.models.config import TransformerConfig
from gpt2np.models.transformer import Transformer
from gpt2np.training.adamw import AdamW
from gpt2np.training.clipping import clip_scale
from gpt2np.training.pairs import PairBatches, read_pairs
from gpt2np.training.parallel import DataParallel
from gpt2np.training.translation import encoded, learn

try:
    import torch
    from torch import nn
    from torch.nn import functional
except ImportError:
    torch = None

V, C, H, L, F, T = 4096, 256, 8, 3, 1024, 32
SOURCES, LENGTHS = 8, (16, 32, 64, 128)


class Ours:
    """A model of gpt2np and its optimizer."""

    def __init__(self, dropout):
        self.model = Transformer(TransformerConfig(V, 256, C, H, L, F), np.random.default_rng(0), dropout=dropout)
        self.optimizer = AdamW(self.model)
        self.parallel = DataParallel(self.model, cores())

    def step(self, source, tokens, targets):
        mask = np.ones_like(source, dtype=bool)
        _, norm = self.parallel.loss_and_gradients((source, mask, tokens, targets), 1, [0])
        self.optimizer.step(1e-4, clip_scale(norm, 1.0), self.parallel.run)

    def decode(self, source, n):
        """The likeliest token each time, n times; whatever it is, the text goes on."""
        rows = generate_batch(self.model.given(source), [[0]] * len(source), n, GREEDY)
        return columns(rows)


if torch:
    class Theirs(nn.Module):
        """The same of PyTorch's own layers."""

        def __init__(self, dropout, fused=False):
            super().__init__()
            self.wte = nn.Embedding(V, C)
            nn.init.normal_(self.wte.weight, std=C ** -0.5)
            self.layers = nn.Transformer(C, H, L, L, F, dropout, batch_first=True)
            self.layers.encoder.norm = self.layers.decoder.norm = None
            angles = torch.arange(256)[:, None] / 10000 ** (torch.arange(0, C, 2) / C)
            self.positions = torch.stack([angles.sin(), angles.cos()], -1).flatten(1)
            self.dropout = nn.Dropout(dropout)
            self.optimizer = torch.optim.AdamW(self.parameters(), 1e-4, weight_decay=0.1, fused=fused)

        def embed(self, ids):
            return self.dropout(self.wte(ids) * C ** 0.5 + self.positions[:ids.shape[1]])

        def step(self, source, tokens, targets):
            source, tokens, targets = map(torch.from_numpy, (source, tokens, targets))
            mask = nn.Transformer.generate_square_subsequent_mask(tokens.shape[1])
            x = self.layers(self.embed(source), self.embed(tokens), tgt_mask=mask, tgt_is_causal=True)
            loss = functional.cross_entropy((x @ self.wte.weight.T).flatten(0, 1), targets.flatten())
            loss.backward()
            nn.utils.clip_grad_norm_(self.parameters(), 1.0)
            self.optimizer.step()
            self.optimizer.zero_grad()

        def decode(self, source, n):
            self.eval()
            with torch.no_grad():
                memory = self.layers.encoder(self.embed(torch.from_numpy(source)))
                tokens = torch.zeros(len(source), 1, dtype=torch.long)
                for _ in range(n):
                    mask = nn.Transformer.generate_square_subsequent_mask(tokens.shape[1])
                    x = self.layers.decoder(self.embed(tokens), memory, tgt_mask=mask, tgt_is_causal=True)
                    best = (x[:, -1] @ self.wte.weight.T).argmax(-1)
                    tokens = torch.cat([tokens, best[:, None]], 1)
            self.train()
            return tokens[:, 1:].tolist()


def step_times(rounds, B, dropout):
    """The seconds of each side's steps, by its name."""
    rng = np.random.default_rng(1)
    batch = [rng.integers(1, V, (B, T)) for _ in range(3)]
    sides = {"ours": Ours(dropout)}
    if torch:
        sides |= {"torch": Theirs(dropout), "fused": Theirs(dropout, True)}
    return dict(zip(sides, interleaved(rounds, [partial(side.step, *batch) for side in sides.values()])))


def decode_times(rounds, n):
    """The seconds of each side, by its name, for n tokens of each source."""
    source = np.random.default_rng(1).integers(1, V, (SOURCES, T))
    sides = {"ours": Ours(0.0)} | ({"torch": Theirs(0.0)} if torch else {})
    lay_out_for_decoding(sides["ours"].model)
    return dict(zip(sides, interleaved(rounds, [partial(side.decode, source, n) for side in sides.values()])))


def step_line(rounds, B, dropout):
    ours, *theirs = map(statistics.median, step_times(rounds, B, dropout).values())
    text = f"step, batch {B}, dropout {dropout:<4}{ours * 1e3:17.0f}"
    return text + (f"{theirs[0] * 1e3:9.0f}{theirs[0] / ours:7.2f} ({theirs[1] / ours:.2f})" if torch else "")


def decode_line(rounds, n):
    mine, *theirs = map(statistics.median, decode_times(rounds, n).values())
    text = f"decode {n} tokens of {SOURCES} sources"
    return f"{text:33}{mine * 1e3:11.0f}" + (f"{theirs[0] * 1e3:9.0f}{theirs[0] / mine:7.2f}" if torch else "")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", metavar="NAME", default="", help="only the lines that begin with NAME")
    parser.add_argument("--pairs", metavar="FILE", help="measure the padding of its batches, too")
    options = parser.parse_args()
    keep_freed_memory()
    if torch:
        torch.set_num_threads(cores())
    print(f"{'milliseconds':33}{'gpt2np':>11}{'PyTorch':>9}{'ratio':>7}")
    lines = {f"step {B} {dropout}": partial(step_line, options.rounds, B, dropout)
             for B in (32, 64) for dropout in (0.1, 0.0)}
    lines |= {f"decode {n}": partial(decode_line, options.rounds, n) for n in LENGTHS}
    for name, line in lines.items():
        if name.startswith(options.only):
            print(line(), flush=True)
    if options.pairs:
        pairs = list(read_pairs([options.pairs]))
        tokenizer = learn(pairs[:20_000], V, at_most=True)
        ids, _ = encoded(pairs, tokenizer, 128)
        batches = PairBatches(ids, 2500, tokenizer.end_of_text, 0)
        print(f"padding {batches.padding:.2%} of {len(pairs):,} pairs in {len(batches):,} batches of 2,500 positions")


if __name__ == "__main__":
    main()
