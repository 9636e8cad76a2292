"""The loop over tokens: run the model, choose the next token, add it to the text, and again.

    for token in generate(model, tokens, 100, Sampler(temperature=0.8, top_p=0.9), np.random.default_rng(1)):
        ...

Every loop here keeps the keys and values of the tokens so far (blocks/kv_cache.py), so a step runs the model on the new
token alone.  It does so for several texts of different lengths at once: the shorter ones get padding on the left.

GPT-2 sees n_ctx tokens at most.  A text that grows longer is seen through a window that slides on a quarter at a time:
when it is full, the oldest quarter leaves it, and the rest, whose positions are new ones now, is run again as one.
What is written then depends on the tokens in the window, no longer on those before it.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from .device import to_host
from .models.gpt2 import GPT2
from .sampling import Sampler

SAMPLE, GREEDY = Sampler(), Sampler(temperature=0)


def generate(model: GPT2, tokens: Sequence[int], max_new_tokens: int, sampler: Sampler = SAMPLE,
             rng: np.random.Generator | None = None) -> Iterator[int]:
    """Continue one text: yields one token after another, as soon as it is chosen.

    tokens           the prompt, from 1 to n_ctx of them
    max_new_tokens   at least 1; fewer are written if the sampler's end_of_text comes, which is the last one then
    rng              the same generator gives the same text; None: another one each time

    raises   ValueError, at once, for a prompt that is empty, too long or has unknown tokens
    """
    return (row[0] for row in generate_batch(model, [tokens], max_new_tokens, sampler, rng))


def generate_batch(model: GPT2, prompts: Sequence[Sequence[int]], max_new_tokens: int, sampler: Sampler = SAMPLE,
                   rng: np.random.Generator | None = None, num_return_sequences: int = 1) -> Iterator[list[int | None]]:
    """Continue several texts at once, of any lengths, each as if it were alone.

    num_return_sequences   so many continuations of each prompt, one behind the other; the prompt is run once for all

    Yields the next token of every text, in order, and None for those that have ended.  Text i draws from the i-th child
    of rng: what it becomes does not depend on the texts beside it.
    """
    check_count("max_new_tokens", max_new_tokens)
    check_count("num_return_sequences", num_return_sequences)
    texts = Texts(model, prompts, max_new_tokens)
    return _generate(texts, max_new_tokens, sampler, rng, num_return_sequences)


def _generate(texts, max_new_tokens, sampler, rng, num_return_sequences):
    logits = texts.last_logits()
    running = [i for i in range(len(logits)) for _ in range(num_return_sequences)]
    if num_return_sequences > 1:
        texts.select(running)
        logits = logits[running]
    rngs = children(rng, len(running))
    running = list(range(len(running)))                 # which text each row of the model's batch is
    prompted = [len(text) for text in texts.tokens]
    for step in range(max_new_tokens):
        row = [None] * len(rngs)
        for i, z, text in zip(running, logits, texts.tokens):
            row[i] = sampler.sample(z, text, text[prompted[i]:], rngs[i])
            text.append(row[i])
        yield row
        left = [at for at, i in enumerate(running) if row[i] != sampler.end_of_text]
        if not left or step + 1 == max_new_tokens:
            return
        if len(left) < len(running):
            texts.select(left)
            running = [running[at] for at in left]
        logits = texts.last_logits()


def children(rng: np.random.Generator | None, n: int) -> list[np.random.Generator]:
    """n generators that draw independently of one another; the first ones are the same for every n."""
    return (np.random.default_rng() if rng is None else rng).spawn(n)


class Texts:
    """Texts that grow at the same pace, and the model's past of what it has seen of them.

    tokens   the texts, a list of ids each, to be appended to
    most     how many tokens each may get: so much room is made in the past, up to the window

        pads      .  .  .  a  b  c  d       columns of the past; all texts end in the same one
                  a  b  c  d  e  f  g
    """

    def __init__(self, model: GPT2, prompts: Sequence[Sequence[int]], most: int):
        self.model = model
        self.tokens = [check_prompt(prompt, model.config) for prompt in prompts]
        if not self.tokens:
            raise ValueError("prompts: expected at least one, got none")
        self.room = min(model.config.n_ctx, max(map(len, self.tokens)) + most)
        self.past = model.new_past(len(self.tokens), self.room)
        self.starts, self.pads = None, None

    def last_logits(self, last: int = 1) -> np.ndarray:
        """Run the tokens that the model has not seen yet.  returns (B, V), or (B, last, V) after the last tokens."""
        starts = [window_start(len(text), self.model.config.n_ctx) for text in self.tokens]
        lengths = [len(text) - start for text, start in zip(self.tokens, starts)]
        if starts != self.starts or self.pads[0] + lengths[0] > self.room:
            self.starts, self.pads = starts, [max(lengths) - n for n in lengths]
            self.forget()                               # the first call, a window has slid, or too much is padding
        seen, columns = self.past[0].length, self.pads[0] + lengths[0]
        new = [([0] * pad + text[start:])[seen:] if seen == 0 else text[seen - columns:]
               for pad, text, start in zip(self.pads, self.tokens, starts)]
        mask = np.arange(columns) >= np.array(self.pads)[:, None] if any(self.pads) else None
        logits = to_host(self.model.next_logits(new, self.past, mask, last))
        return logits[:, 0] if last == 1 else logits

    def forget(self, tokens: int | None = None) -> None:
        """Take back the last tokens of the texts, as far as the model has seen them; None: it has seen nothing."""
        for layer in self.past:
            layer.forget(0 if tokens is None else layer.length - tokens)

    def select(self, rows: Sequence[int]) -> None:
        """Go on with these rows alone, in this order, also several times."""
        self.past = [layer.select(rows) for layer in self.past]
        self.tokens = [list(self.tokens[i]) for i in rows]
        self.starts, self.pads = [self.starts[i] for i in rows], [self.pads[i] for i in rows]


def window_start(length: int, n_ctx: int) -> int:
    """The first token that the model sees of a text: 0 up to n_ctx tokens, then further on by a quarter at a time."""
    step = max(1, n_ctx // 4)
    return max(0, -(-(length - n_ctx) // step) * step)


# ---- bad input


def check_prompt(tokens: Sequence[int], config) -> list[int]:
    """The prompt as a list; ValueError where the model cannot take it."""
    tokens = np.asarray(to_host(tokens))
    if tokens.size == 0:
        raise ValueError("prompt: expected at least one token, got none; <|endoftext|> is the one to start from")
    if tokens.ndim != 1 or tokens.dtype.kind not in "iu":
        raise ValueError(f"prompt: expected token ids in a row, got shape {tokens.shape} of {tokens.dtype}")
    if len(tokens) > config.n_ctx:
        raise ValueError(f"prompt: expected at most the {config.n_ctx} tokens that the model can see, "
                         f"got {len(tokens)}; shorten it, or keep its end")
    if tokens.min() < 0 or tokens.max() >= config.n_vocab:
        wrong = tokens[(tokens < 0) | (tokens >= config.n_vocab)][0]
        raise ValueError(f"prompt: expected token ids from 0 to {config.n_vocab - 1}, got {wrong}")
    return tokens.tolist()


def check_count(name: str, n: int) -> None:
    """Raise ValueError unless n is a positive integer."""
    if not isinstance(n, (int, np.integer)) or n < 1:
        raise ValueError(f"{name}: expected an integer from 1, got {n}")
