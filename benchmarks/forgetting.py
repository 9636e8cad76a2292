"""What a model forgets while it learns something else: full fine-tuning, with a share of the old, and LoRA.

    python -m benchmarks.forgetting [--old FILE] [--steps N]

The demo model learns this package's own pages, docs/*.md in English, in so many steps, three times:

    full            all parameters
    full, replay    all parameters, from a text of which a tenth is of the old kind
    LoRA            rank 8 on c_attn, the rest is frozen

What it has learned is the loss on the last tenth of the pages, and what it has forgotten the loss on an old text, of
which it sees nothing here: the last part of FILE, the rest of which is replayed; or, without one, a text that the
demo has written by itself before anything else, of which it cannot do better than its own entropy.  Losses are in nats
per token, with the same vocabulary for all.

With the defaults it takes some three minutes on two cores that do nothing else.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import gpt2np
from gpt2np import train
from gpt2np.decoding import columns, generate_batch
from gpt2np.memory import cores
from gpt2np.model_names import load_with_tokenizer
from gpt2np.sampling import Sampler
from gpt2np.text.protocol import end_of
from gpt2np.training.evaluation import evaluate
from gpt2np.training.parallel import DataParallel

PAGES = Path(gpt2np.__file__).parents[1] / "docs"
TEXTS, LENGTH = 64, 200            # that the demo writes: half to replay, half to measure by
CONTEXT = 128
METHODS = {"full": [], "full, replay": [], "LoRA": ["--adapt", "lora", "--rank", "8", "--lr", "3e-3"]}


def written_by(model, tokenizer):
    """Texts of the model's own, as it draws them from all its tokens at temperature 1."""
    end = end_of(tokenizer)
    sampler, rng = Sampler(end_of_text=end), np.random.default_rng(0)
    texts = columns(generate_batch(model, [[end]], LENGTH, sampler, rng, TEXTS))
    return ["<|endoftext|>" + tokenizer.decode([token for token in text if token != end]) for text in texts]


def loss_on(path, model, tokenizer):
    """Nats per token, in windows of which each overlaps the last one by a half."""
    tokens = np.array(tokenizer.encode(path.read_text(encoding="utf-8"), ["<|endoftext|>"]))
    with DataParallel(model, cores()) as parallel:
        return evaluate(parallel, tokens, CONTEXT, CONTEXT // 2)


def halves(old, model, tokenizer):
    """The old text: to replay, and to measure by."""
    if old is None:
        texts = written_by(model, tokenizer)
        return "".join(texts[::2]), "".join(texts[1::2])
    text = Path(old).read_text(encoding="utf-8")
    at = text.find("\n", len(text) * 9 // 10) + 1 or len(text) * 9 // 10
    return text[:at], text[at:]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--old", metavar="FILE", help="a text of the kind that the model has learned before")
    parser.add_argument("--steps", type=int, default=100)
    options = parser.parse_args()
    model, tokenizer = load_with_tokenizer("demo")
    pages = "".join(path.read_text(encoding="utf-8") for path in sorted(PAGES.glob("*.md")) if ".zh" not in path.name)
    replayed, measured = halves(options.old, model, tokenizer)
    share = len(pages) * 9 // 10
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        new, old, val, replay = (Path(folder, name) for name in ("new.txt", "old.txt", "val.txt", "replay.txt"))
        tenth = (replayed * (1 + share // 9 // len(replayed)))[:share // 9]     # of what is then learned from
        for path, text in ((new, pages[:share]), (val, pages[share:]), (old, measured), (replay, tenth)):
            path.write_text(text, encoding="utf-8")
        before = [loss_on(path, model, tokenizer) for path in (val, old)]
        rows = [("before", 0, 0.0, *before)]
        for method, asked in METHODS.items():
            out, start = Path(folder, method), time.perf_counter()
            files = [new, replay] if "replay" in method else [new]
            steps = str(options.steps)
            given = [*map(str, files), "--val", str(val), "--out", str(out), "--init-from", "demo", "--steps", steps,
                     "--batch", "8", "--context", str(CONTEXT), "--eval-every", steps, "--sample", "0", "--lr", "1e-3"]
            if status := train.main([*given, *asked]):
                return status
            seconds = time.perf_counter() - start
            adapted = "--adapt" in asked
            model, _ = load_with_tokenizer("demo" if adapted else out / "best", adapter=out if adapted else None)
            trained = sum(p.value.size for _, p in model.named_parameters() if p.trainable)
            rows.append((method, trained, seconds, *(loss_on(path, model, tokenizer) for path in (val, old))))
    print(f"\n{options.steps} steps of 8 windows of {CONTEXT} tokens; the old text: "
          f"{options.old or 'what the demo wrote at temperature 1'}\n")
    print("| method | trained | seconds | new text | old text | forgotten |\n|---|---|---|---|---|---|")
    for method, trained, seconds, of_new, of_old in rows:
        print(f"| {method} | {trained:,} | {seconds:.0f} | {of_new:.3f} | {of_old:.3f} | {of_old - before[1]:+.3f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
