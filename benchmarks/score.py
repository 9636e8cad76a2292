"""Times the scoring of several continuations of one context, with random weights in the shape of a GPT-2.

    python -m benchmarks.score [--model 124M] [--context 200] [--continuations 5] [--tokens 10] [--rounds 7]

Interleaved in one run (score, its parts, each alone, score, ...), medians of the rounds, on all cores, in float32.

    score    what gpt2np.scoring takes: texts to tokens, the context once, the continuations as a batch, log p of each
    parts    the run of the context alone, and the run of as many tokens as the continuations have, with its past: the
             least that any order of work needs
    alone    each continuation with a run of the context for itself
"""

import argparse
import statistics

import numpy as np

from benchmarks.timing import in_turn, seconds
from gpt2np.memory import keep_freed_memory
from gpt2np.models.config import SIZES
from gpt2np.models.gpt2 import GPT2
from gpt2np.scoring import score
from gpt2np.text.bpe import Tokenizer


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="124M", choices=SIZES)
    for name, n in (("context", 200), ("continuations", 5), ("tokens", 10), ("rounds", 7)):
        parser.add_argument(f"--{name}", type=int, default=n)
    options = parser.parse_args()
    keep_freed_memory()
    model, tokenizer, B = GPT2(SIZES[options.model], np.random.default_rng(0)), Tokenizer.gpt2(), options.continuations
    rng = np.random.default_rng(1)
    words = [" the", " of", " and", " to", " in", " is", " that", " for"]     # a token each

    def text(n):
        return "".join(rng.choice(words, n))

    context, continuations = text(options.context), [text(options.tokens) for _ in range(B)]
    ids = np.array([tokenizer.encode(context)])
    rows = np.array([tokenizer.encode(one)[:-1] for one in continuations])
    assert ids.shape == (1, options.context) and rows.shape == (B, options.tokens - 1)
    room = options.context + options.tokens

    def parts():
        past = model.new_past(1, room)
        many = [layer.select([0] * B) for layer in context_past]
        return seconds(lambda: (model.next_logits(ids, past),
                                model.next_logits(rows, many, None, options.tokens - 1)))

    context_past = model.new_past(1, room)
    model.next_logits(ids, context_past)
    ways = {"score": lambda: seconds(lambda: score(model, tokenizer, context, continuations)), "parts": parts,
            "alone": lambda: seconds(lambda: [score(model, tokenizer, context, [one]) for one in continuations])}
    times = dict(zip(ways, in_turn(options.rounds, list(ways.values()))))
    print(f"{B} continuations of {options.tokens} tokens, a context of {options.context}, {options.model}")
    for name, found in times.items():
        ratio = statistics.median(a / b for a, b in zip(found, times["parts"]))
        print(f"{name:6} {1000 * statistics.median(found):8.0f} ms   {ratio:.2f} times parts")


if __name__ == "__main__":
    main()
