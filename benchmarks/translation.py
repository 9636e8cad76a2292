"""Trains a Transformer and torch.nn.Transformer from the same weights on the same batches, and compares their BLEU.

    python -m benchmarks.translation TRAIN.tsv TEST.tsv --out DIR [--steps 1600]     begin, or go on with, a comparison

Width 256, 4 heads, 3 + 3 blocks, inner width 1,024, post-norm, one table of 4,096 tokens for source, target and head,
learned from both sides of the training pairs; dropout 0.1, label smoothing 0.1, 2,400 positions a batch; Adam
(0.9, 0.98, 1e-9), a gradient's norm of at most 1, and a rate that rises to 1e-3 in 300 steps and falls linearly to 0.
PyTorch's layers drop attention weights and the MLP's inner values, too, as they come; ours drop what the paper drops;
so PyTorch's are trained once more, with these two left out.

What is compared is written by one decoder: the weights that PyTorch has learned are put into a model of gpt2np, which
translates greedily.  Both are saved every 100 steps, so that a run that is stopped goes on.
"""

import argparse
import io
import json
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from gpt2np.checkpoints.files import replace_text
from gpt2np.decoding import translate
from gpt2np.memory import cores, keep_freed_memory
from gpt2np.models.config import TransformerConfig
from gpt2np.models.transformer import Transformer
from gpt2np.text.bleu import corpus_bleu
from gpt2np.text.bpe import Tokenizer
from gpt2np.training.adam import Adam
from gpt2np.training.clipping import clip_scale
from gpt2np.training.pairs import PairBatches, read_pairs
from gpt2np.training.parallel import DataParallel
from gpt2np.training.translation import encoded, learn

V, C, H, L, F, CONTEXT = 4096, 256, 4, 3, 1024, 64
DROPOUT, SMOOTHING, POSITIONS = 0.1, 0.1, 2400
BETAS, EPS, PEAK, WARMUP = (0.9, 0.98), 1e-9, 1e-3, 300
SAVE_EVERY, SEED = 100, 1


def rate(step, steps):
    """The learning rate of a step, counted from 0."""
    return PEAK * min((step + 1) / WARMUP, (steps - step) / (steps - WARMUP))


class Ours:
    """A model of gpt2np."""

    name = "gpt2np"

    def __init__(self, initial, seed):
        self.seed, self.model = seed, new_model(DROPOUT, initial)
        self.optimizer = Adam(self.model, *BETAS, EPS)
        self.parallel = DataParallel(self.model, cores())

    def step(self, batch, lr, step):
        loss, norm = self.parallel.loss_and_gradients(tuple(batch), 1, [self.seed, step])
        self.optimizer.step(lr, clip_scale(norm, 1.0), self.parallel.run)
        return loss

    def state(self):
        arrays = {f"value {path}": p.value for path, p in self.model.named_parameters()}
        return arrays | {f"{name} {path}": array for name, moments in self.optimizer.moments.items()
                         for path, array in moments.items()}

    def restore(self, state, step):
        for path, p in self.model.named_parameters():
            p.value[...] = state[f"value {path}"]          # in place: the threads' replicas have the same array
            self.optimizer.t[path] = step
            for name, moments in self.optimizer.moments.items():
                moments[path] = state[f"{name} {path}"]

    def weights(self):
        return {path: p.value for path, p in self.model.named_parameters()}


class Theirs(nn.Module):
    """torch.nn.Transformer."""

    name = "PyTorch"

    def __init__(self, initial, seed):
        super().__init__()
        self.seed = seed
        torch.set_num_threads(cores())
        self.wte = nn.Parameter(torch.zeros(V, C))
        self.layers = nn.Transformer(C, H, L, L, F, DROPOUT, batch_first=True)
        self.layers.encoder.norm = self.layers.decoder.norm = None
        angles = torch.arange(CONTEXT)[:, None] / 10000 ** (torch.arange(0, C, 2) / C)
        self.positions = torch.stack([angles.sin(), angles.cos()], -1).flatten(1)
        self.dropout = nn.Dropout(DROPOUT)
        with torch.no_grad():
            for path, part, transposed in self.table():
                value = torch.from_numpy(initial[path])
                part.copy_(value.T if transposed else value)
        self.optimizer = torch.optim.Adam(self.parameters(), PEAK, BETAS, EPS)

    def embed(self, ids):
        return self.dropout(self.wte[ids] * C ** 0.5 + self.positions[:ids.shape[1]])

    def step(self, batch, lr, step):
        source, source_mask, tokens, targets = map(torch.from_numpy, batch)
        torch.manual_seed(100_000 * (self.seed - 1) + 1 + step)
        future = torch.triu(torch.ones(tokens.shape[1], tokens.shape[1], dtype=torch.bool), 1)
        x = self.layers(self.embed(source), self.embed(tokens), tgt_mask=future, src_key_padding_mask=~source_mask,
                        memory_key_padding_mask=~source_mask, tgt_is_causal=True)
        loss = functional.cross_entropy((x @ self.wte.T).flatten(0, 1), targets.flatten(), label_smoothing=SMOOTHING)
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters(), 1.0)
        self.optimizer.param_groups[0]["lr"] = lr
        self.optimizer.step()
        return loss.item()

    def state(self):
        return {"all": np.frombuffer(pickled([self.state_dict(), self.optimizer.state_dict()]), np.uint8)}

    def restore(self, state, step):
        model, optimizer = unpickled(state["all"].tobytes())
        self.load_state_dict(model)
        self.optimizer.load_state_dict(optimizer)

    def weights(self):
        return {path: np.ascontiguousarray((part.T if transposed else part).detach().numpy())
                for path, part, transposed in self.table()}

    def table(self):
        """(path in gpt2np, the tensor that it is here, whether that is transposed)"""
        yield "wte", self.wte, False
        for stack, layers in (("encoder", self.layers.encoder.layers), ("decoder", self.layers.decoder.layers)):
            for i, layer in enumerate(layers):
                linear = {"attn.c_attn": (layer.self_attn.in_proj_weight, layer.self_attn.in_proj_bias),
                          "attn.c_proj": (layer.self_attn.out_proj.weight, layer.self_attn.out_proj.bias),
                          "mlp.c_fc": (layer.linear1.weight, layer.linear1.bias),
                          "mlp.c_proj": (layer.linear2.weight, layer.linear2.bias)}
                norms = [layer.norm1, layer.norm2]
                if stack == "decoder":
                    cross = layer.multihead_attn
                    linear |= {"cross_attn.c_q": (cross.in_proj_weight[:C], cross.in_proj_bias[:C]),
                               "cross_attn.c_kv": (cross.in_proj_weight[C:], cross.in_proj_bias[C:]),
                               "cross_attn.c_proj": (cross.out_proj.weight, cross.out_proj.bias)}
                    norms.append(layer.norm3)
                for name, (w, b) in linear.items():
                    yield f"{stack}.{i}.{name}.w", w, True
                    yield f"{stack}.{i}.{name}.b", b, False
                for n, norm in enumerate(norms, 1):
                    yield f"{stack}.{i}.ln_{n}.g", norm.weight, False
                    yield f"{stack}.{i}.ln_{n}.b", norm.bias, False


class TheirsAsThePaper(Theirs):
    """torch.nn.Transformer with dropout where the paper has it: on what is added to the residual stream, and on the
    embeddings."""

    name = "PyTorch, dropout as in the paper"

    def __init__(self, initial, seed):
        super().__init__(initial, seed)
        for layer in [*self.layers.encoder.layers, *self.layers.decoder.layers]:
            layer.dropout.p = layer.self_attn.dropout = 0.0
        for layer in self.layers.decoder.layers:
            layer.multihead_attn.dropout = 0.0


def pickled(value):
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def unpickled(data):
    return torch.load(io.BytesIO(data))


def new_model(dropout, weights=None):
    model = Transformer(TransformerConfig(V, CONTEXT, C, H, L, F), np.random.default_rng(SEED), dropout=dropout,
                        label_smoothing=SMOOTHING if dropout else 0.0)
    if weights is not None:
        parameters = dict(model.named_parameters())
        assert parameters.keys() == weights.keys()
        for path, value in weights.items():
            assert parameters[path].value.shape == value.shape, path
            parameters[path].value = value.astype(np.float32)
    return model


def train(side, batches, steps, out):
    """All steps of one side, going on from where its file is; returns the seconds that they took, over all runs."""
    file, step, seconds, losses = out / f"{side.name}, {side.seed}.npz", 0, 0.0, []
    if file.exists():
        saved = dict(np.load(file))
        step, seconds, losses = int(saved.pop("step")), float(saved.pop("seconds")), saved.pop("losses").tolist()
        side.restore(saved, step)
    while step < steps:
        start = time.perf_counter()
        losses.append(side.step(batches.batch(step), rate(step, steps), step))
        seconds += time.perf_counter() - start
        step += 1
        if step % SAVE_EVERY == 0 or step == steps:
            print(f"{side.name}: step {step:,}, loss {np.mean(losses[-SAVE_EVERY:]):.4f}, {seconds:.0f} s", flush=True)
            part = file.with_suffix(".part.npz")
            np.savez(part, step=step, seconds=seconds, losses=losses, **side.state())
            part.replace(file)
    return seconds, float(np.mean(losses[-SAVE_EVERY:]))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("train", metavar="TRAIN.tsv")
    parser.add_argument("test", metavar="TEST.tsv")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--steps", type=int, default=1600)
    parser.add_argument("--seed", type=int, default=1, help="of dropout: weights and batches are the same with any")
    parser.add_argument("--side", action="append", help="a part of the name of a side; others are then left out")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    keep_freed_memory()
    pairs = list(read_pairs([options.train]))
    if not (options.out / "vocab").exists():
        learn(pairs, V, at_most=False).save(options.out / "vocab")
    tokenizer = Tokenizer.load(options.out / "vocab")
    ids, _ = encoded(pairs, tokenizer, CONTEXT)
    batches = PairBatches(ids, POSITIONS, tokenizer.end_of_text, SEED)
    initial = {path: p.value.copy() for path, p in new_model(DROPOUT).named_parameters()}
    test = list(read_pairs([options.test]))
    result = options.out / "result.json"
    rows = json.loads(result.read_text(encoding="utf-8")) if result.exists() else {}
    for kind in (Theirs, TheirsAsThePaper, Ours):
        if options.side and not any(name in kind.name for name in options.side):
            continue
        side = kind(initial, options.seed)
        seconds, loss = train(side, batches, options.steps, options.out)
        texts = translate(new_model(0.0, side.weights()), tokenizer, [source for source, _ in test])
        bleu = corpus_bleu(texts, [target for _, target in test]).score
        rows[f"{side.name}, {side.seed}"] = {"steps": options.steps, "loss": loss, "bleu": bleu, "seconds": seconds}
        replace_text(result, json.dumps(rows, indent=2) + "\n")
        print(f"{side.name}: {options.steps:,} steps, loss of the last {SAVE_EVERY} {loss:.4f}, BLEU {bleu:.2f} "
              f"(13a, greedy, {len(test):,} sentences), {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()
