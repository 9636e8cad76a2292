"""The loop over tokens: run the model, choose the next token, add it to the text, and again.

    for token in generate(model, tokens, 100, Sampler(temperature=0.8, top_p=0.9), np.random.default_rng(1)):
        ...

Every loop here keeps the keys and values of the tokens so far (blocks/kv_cache.py), so a step runs the model on the new
token alone. It does so for several texts of different lengths at once: the shorter ones get padding on the left.

GPT-2 sees n_ctx tokens at most. A text that grows longer is seen through a window that slides on a quarter at a time:
when it is full, the oldest quarter leaves it, and the rest, whose positions are new ones now, is run again as one.
What is written then depends on the tokens in the window, no longer on those before it.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from .device import to_host
from .hints import Array
from .layers.softmax import log_softmax_forward
from .models.config import GPT2Config
from .models.gpt2 import GPT2
from .prefill import prefill
from .sampling import GenerationError, Sampler, check_finite, draw

SAMPLE, GREEDY = Sampler(), Sampler(temperature=0)
Stop = Callable[[Sequence[int]], bool]


def generate(model: GPT2, tokens: Sequence[int], max_new_tokens: int, sampler: Sampler = SAMPLE,
             rng: np.random.Generator | None = None, stop: Stop | None = None) -> Iterator[int]:
    """Continue one text: yields one token after another, as soon as it is chosen.

    tokens           the prompt, from 1 to n_ctx of them
    max_new_tokens   at least 1; fewer are written if the sampler's end_of_text comes, which is the last one then
    rng              the same generator gives the same text; None: another one each time
    stop             stop(written) -> whether a text ends here, given the tokens written so far; for stop strings, it is
                     stops_at(tokenizer, ["The end"]) of gpt2np/text/streaming.py

    raises   ValueError, at once, for a prompt that is empty, too long or has unknown tokens
    """
    rows = generate_batch(model, [tokens], max_new_tokens, sampler, rng, stop=stop)
    return (token for token, in rows if token is not None)


def generate_batch(model: GPT2, prompts: Sequence[Sequence[int]], max_new_tokens: int, sampler: Sampler = SAMPLE,
                   rng: np.random.Generator | None = None, num_return_sequences: int = 1,
                   stop: Stop | None = None) -> Iterator[list[int | None]]:
    """Continue several texts at once, of any lengths, each as if it were alone.

    num_return_sequences   this many continuations of each prompt, one behind the other; the prompt is run once for all

    Yields the next token of every text, in order, and None for those that have ended: these cost nothing more. Text i
    draws from the i-th child of rng: what it becomes does not depend on the texts beside it.
    """
    check_count("max_new_tokens", max_new_tokens)
    check_count("num_return_sequences", num_return_sequences)
    texts = Texts(model, prompts, max_new_tokens)
    return _generate(texts, max_new_tokens, sampler, rng, num_return_sequences, stop)


def _generate(texts: "Texts", max_new_tokens: int, sampler: Sampler, rng: np.random.Generator | None,
              num_return_sequences: int, stop: Stop | None) -> Iterator[list[int | None]]:
    logits = texts.last_logits()
    running = [i for i in range(len(logits)) for _ in range(num_return_sequences)]
    if num_return_sequences > 1:
        texts.select(running)
        logits = logits[running]
    rngs = children(rng, len(running))
    running = list(range(len(running)))                 # which text each row of the model's batch is
    prompted = [len(text) for text in texts.tokens]
    for step in range(max_new_tokens):
        row: list[int | None] = [None] * len(rngs)
        left = []
        for at, (i, z, text) in enumerate(zip(running, logits, texts.tokens)):
            row[i] = token = sampler.sample(z, text, text[prompted[i]:], rngs[i])
            text.append(token)
            if not ends(text[prompted[i]:], sampler.end_of_text, stop):
                left.append(at)
        yield row
        if not left or step + 1 == max_new_tokens:
            return
        if len(left) < len(running):
            texts.select(left)
            running = [running[at] for at in left]
        logits = texts.last_logits()


def ends(written: Sequence[int], end_of_text: int | None, stop: Stop | None) -> bool:
    """Whether a text ends with the last token that was written."""
    return written[-1] == end_of_text or (stop is not None and stop(written))


def columns(rows: Iterable[Sequence[int | None]]) -> list[list[int]]:
    """What each text gets in all, of the rows that generate_batch yields."""
    return [[token for token in column if token is not None] for column in zip(*rows)]


def children(rng: np.random.Generator | None, n: int) -> list[np.random.Generator]:
    """n generators that draw independently of one another; the first ones are the same for every n."""
    return (np.random.default_rng() if rng is None else rng).spawn(n)


class Texts:
    """Texts that grow at the same pace, and the model's past of what it has seen of them.

    tokens           the texts, a list of ids each, to be appended to
    max_new_tokens   how many each may get: the past has room for them, up to the window

        pads      .  .  .  a  b  c  d       columns of the past; all texts end in the same one
                  a  b  c  d  e  f  g
    """

    def __init__(self, model: GPT2, prompts: Sequence[Sequence[int]], max_new_tokens: int):
        self.model = model
        self.tokens = [check_prompt(prompt, model.config) for prompt in prompts]
        if not self.tokens:
            raise GenerationError("prompts: expected at least one, got none")
        self.room = min(model.config.n_ctx, max(map(len, self.tokens)) + max_new_tokens)
        self.past = model.new_past(len(self.tokens), self.room)
        self.starts: list[int] = []                     # of the windows; none before the first call
        self.pads: list[int] = []

    def last_logits(self, last: int = 1) -> Array:
        """Run the tokens that the model has not seen yet.  returns (B, V), or (B, last, V) after the last tokens."""
        starts = [window_start(len(text), self.model.config.n_ctx) for text in self.tokens]
        lengths = [len(text) - start for text, start in zip(self.tokens, starts)]
        if starts != self.starts or self.pads[0] + lengths[0] > self.room:
            self.starts, self.pads = starts, [max(lengths) - n for n in lengths]
            for layer in self.past:                     # the first call, a window has slid, or too much is padding
                layer.forget(0)
        seen, columns = self.past[0].length, self.pads[0] + lengths[0]
        new = [([0] * pad + text[start:])[seen:] if seen == 0 else text[seen - columns:]
               for pad, text, start in zip(self.pads, self.tokens, starts)]
        mask = np.arange(columns) >= np.array(self.pads)[:, None] if any(self.pads) else None
        logits = to_host(prefill(self.model, new, self.past, mask, last))
        return logits[:, 0] if last == 1 else logits

    def rewind(self, length: int) -> None:
        """Of a text that is alone: the model has seen its first tokens at most, as many as `length`."""
        for layer in self.past:
            layer.forget(max(0, min(layer.length, length - self.starts[0])))

    def select(self, rows: Sequence[int]) -> None:
        """Go on with these rows alone, in this order; rows may repeat."""
        self.past = [layer.select(rows) for layer in self.past]
        self.tokens = [list(self.tokens[i]) for i in rows]
        self.starts, self.pads = [self.starts[i] for i in rows], [self.pads[i] for i in rows]


def lay_out_for_decoding(model: GPT2) -> None:
    """Turn every matrix in memory so that its longer axis is the contiguous one.

    Decoding is bound by how fast the weights are read, and a product with few rows reads long columns faster than
    short rows. The values stay the same; only those that are turned are copied.
    """
    for path, parameter in model.named_parameters():
        n_in, *n_out = parameter.value.shape
        if path.endswith(".w") and n_in >= n_out[0]:
            parameter.value = np.asfortranarray(parameter.value)


def window_start(length: int, n_ctx: int) -> int:
    """The first token that the model sees of a text: 0 up to n_ctx tokens, then further on by a quarter at a time."""
    step = max(1, n_ctx // 4)
    return max(0, -(-(length - n_ctx) // step) * step)


# ---- beams

def beam_search(model: GPT2, tokens: Sequence[int], max_new_tokens: int, num_beams: int = 4,
                length_penalty: float = 1.0, end_of_text: int | None = None,
                stop: Stop | None = None) -> list[tuple[float, list[int]]]:
    """Look for the likeliest continuation as a whole: of all texts one token longer, the num_beams likeliest go on.

        score = sum_t log p(token_t | tokens before it) / n^length_penalty        n tokens were written

    length_penalty   from -10 to 10
    stop             as in generate

    returns  up to num_beams of (score, what was written), the best first; each ends in end_of_text, or where stop says
             so, or is of max_new_tokens

    It ends when the beams that go on have no better score than the worst that has ended: as Hugging Face does, so a
    positive penalty, which favours long texts, is not followed to the end.
    Graves 2012, arXiv:1211.3711, section 2.4; the score is that of Wu et al. 2016, arXiv:1609.08144, simplified.
    """
    check_count("max_new_tokens", max_new_tokens)
    check_count("num_beams", num_beams)
    if not -10 <= length_penalty <= 10:                 # beyond, n^length_penalty would not stay a number
        raise GenerationError(f"length_penalty: expected a number from -10 to 10, got {length_penalty}")
    texts, sums = Texts(model, [tokens], max_new_tokens), np.zeros(1)
    ended: list[tuple[float, list[int]]] = []
    for n in range(1, max_new_tokens + 1):
        logits = texts.last_logits()                                        # (beams, V)
        check_finite(logits)
        totals = sums[:, None] + log_softmax_forward(logits)[0].astype(np.float64)
        best = np.argsort(-totals, axis=None, kind="stable")[:2 * num_beams]    # so many that num_beams can go on
        going_on: list[tuple[int, int]] = []
        for rank, (row, token) in enumerate(zip(*map(np.ndarray.tolist, np.unravel_index(best, totals.shape)))):
            written = [*texts.tokens[row][len(tokens):], token]
            if n == max_new_tokens or ends(written, end_of_text, stop):
                if rank < num_beams:
                    ended.append((float(totals[row, token]) / n ** length_penalty, written))
            elif len(going_on) < num_beams:
                going_on.append((row, token))
        ended = sorted(ended, key=lambda scored: -scored[0])[:num_beams]
        if not going_on or (len(ended) == num_beams and totals[going_on[0]] / n ** length_penalty <= ended[-1][0]):
            break
        texts.select([row for row, _ in going_on])
        for text, (_, token) in zip(texts.tokens, going_on):
            text.append(token)
        sums = np.array([totals[choice] for choice in going_on])
    return ended


# ---- speculation: several tokens for one run of the model

def speculate(model: GPT2, tokens: Sequence[int], max_new_tokens: int, draft: "NgramDraft | ModelDraft",
              sampler: Sampler = SAMPLE, rng: np.random.Generator | None = None, k: int = 7,
              stop: Stop | None = None) -> Iterator[int]:
    """The same as generate, in less time where the draft guesses well: one run of the model checks up to k guesses.

    To run the model on 8 tokens takes little longer than on one, since the time goes into reading the weights. A guess
    that is refused costs that little; every one that is taken saves a whole run. What is written has exactly the
    distribution of generate, whatever the draft guesses; at temperature 0 it is the same text.

    stop    as in generate
    Leviathan, Kalman, Matias 2023, arXiv:2211.17192, algorithm 1; Chen et al. 2023, arXiv:2302.01318.
    """
    check_count("max_new_tokens", max_new_tokens)
    check_count("k", k)
    texts = Texts(model, [tokens], max_new_tokens)
    return _speculate(texts, max_new_tokens, draft, sampler, children(rng, 1)[0], k, stop)


def _speculate(texts: Texts, max_new_tokens: int, draft: "NgramDraft | ModelDraft", sampler: Sampler,
               rng: np.random.Generator, k: int, stop: Stop | None) -> Iterator[int]:
    text, n_ctx = texts.tokens[0], texts.model.config.n_ctx
    n_prompt = len(text)
    goal = n_prompt + max_new_tokens
    while len(text) < goal:
        known = len(text)
        room = window_start(known, n_ctx) + n_ctx - known           # a window that slid would not be the guess's own
        guesses = draft.guess(text, min(k, room, goal - known - 1), rng)
        if wrong := [len(q) for _, q in guesses if len(q) != texts.model.config.n_vocab]:
            raise GenerationError(f"draft: expected the model's {texts.model.config.n_vocab} tokens, got {wrong[0]}")
        text += [guess for guess, _ in guesses]
        logits = texts.last_logits(1 + len(guesses)).reshape(1 + len(guesses), -1)
        del text[known:]
        for z, guess in zip(logits, [*guesses, None]):
            p = sampler.probabilities(z, text, text[n_prompt:])
            token = int(draw(p, rng)) if guess is None else check_guess(*guess, p, rng)
            last = guess is None or token != guess[0]               # what was guessed after it is not in this text
            if last:
                texts.rewind(len(text))
            text.append(token)
            yield token
            if ends(text[n_prompt:], sampler.end_of_text, stop):
                return
            if last:
                break


def check_guess(guess: int, q: Array, p: Array, rng: np.random.Generator) -> int:
    """Make a guess drawn from q into a draw from p: it is taken with probability min(1, p / q); if it is not, the token
    is drawn from what p has above q.

        P(token = i) = q_i min(1, p_i / q_i) + (1 - sum_j min(q_j, p_j)) max(p_i - q_i, 0) / sum_j max(p_j - q_j, 0)
                     = min(q_i, p_i)         + max(p_i - q_i, 0)  =  p_i
    """
    take = min(1.0, float(p[guess] / q[guess]))
    if rng.random() < take:
        return guess
    above = np.maximum(p - q, 0)
    return int(draw(above if above.any() else p, rng))  # none is above where p and q differ by rounding alone


class NgramDraft:
    """Guesses that the text goes on as it did the last time its last few tokens came. It needs no second model.

    n_vocab             V
    longest, shortest   how many tokens the tail may have that has come before: without such a tail, no guess

    Saxena 2023, Prompt Lookup Decoding, https://github.com/apoorvumang/prompt-lookup-decoding.
    """

    def __init__(self, n_vocab: int, longest: int = 4, shortest: int = 3):
        self.n_vocab, self.lengths = n_vocab, range(longest, shortest - 1, -1)
        self.known: list[int] = []                      # the text so far
        self.after: dict[tuple[int, ...], int] = {}     # tail -> where in it the token after it is, the last time

    def guess(self, text: Sequence[int], n: int, rng: np.random.Generator) -> list[tuple[int, Array]]:
        """Up to n tokens, each with the distribution (V,) that it was drawn from: certainty."""
        if list(text[:len(self.known)]) != self.known:              # another text
            self.known, self.after = [], {}
        for at in range(len(self.known), len(text)):
            for length in self.lengths:
                if length <= at:
                    self.after[tuple(text[at - length:at])] = at
        self.known += text[len(self.known):]
        found = (self.after.get(tuple(text[len(text) - length:])) for length in self.lengths if length <= len(text))
        place = next((place for place in found if place is not None), None)
        if place is None:
            return []
        period = len(text) - place                      # beyond the end of the text, it repeats its own guesses
        return [(token, self._certain(token)) for token in (text[place + i % period] for i in range(n))]

    def _certain(self, token: int) -> Array:
        q = np.zeros(self.n_vocab)
        q[token] = 1
        return q


class ModelDraft:
    """Guesses what a smaller model with the same vocabulary would write, drawn by a sampler of its own."""

    def __init__(self, model: GPT2, sampler: Sampler = SAMPLE):
        self.model, self.sampler = model, sampler
        self.texts: Texts | None = None                 # until the first text comes

    def guess(self, text: Sequence[int], n: int, rng: np.random.Generator) -> list[tuple[int, Array]]:
        """Up to n tokens, each with the distribution (V,) that it was drawn from."""
        if self.texts is None:
            self.texts = Texts(self.model, [text[:1]], self.model.config.n_ctx)     # all of it may be more than it sees
        own = self.texts.tokens[0]
        if self.texts.starts:                           # of its own guesses, those that were taken are seen already
            same = next((i for i, (a, b) in enumerate(zip(own, text)) if a != b), min(len(own), len(text)))
            self.texts.rewind(min(same, len(text) - 1))
        own[:] = text
        guesses = []
        for _ in range(n):
            q = self.sampler.probabilities(self.texts.last_logits()[0], own, [])
            own.append(int(draw(q, rng)))
            guesses.append((own[-1], q))
        return guesses


# ---- bad input

def check_prompt(tokens: Sequence[int], config: GPT2Config) -> list[int]:
    """The prompt as a list; ValueError where the model cannot take it."""
    ids = np.asarray(to_host(tokens))
    if ids.size == 0:
        raise GenerationError("prompt: expected at least one token, got none; <|endoftext|> is the one to start from")
    if ids.ndim != 1 or ids.dtype.kind not in "iu":
        raise GenerationError(f"prompt: expected token ids in a row, got shape {ids.shape} of {ids.dtype}")
    if len(ids) > config.n_ctx:
        raise GenerationError(f"prompt: expected at most the {config.n_ctx} tokens that the model can see, "
                              f"got {len(ids)}; shorten it, or keep its end")
    if ids.min() < 0 or ids.max() >= config.n_vocab:
        wrong = ids[(ids < 0) | (ids >= config.n_vocab)][0]
        raise GenerationError(f"prompt: expected token ids from 0 to {config.n_vocab - 1}, got {wrong}")
    return ids.tolist()


def check_count(name: str, n: int) -> None:
    """Raise ValueError unless n is a positive integer."""
    if not isinstance(n, (int, np.integer)) or n < 1:
        raise GenerationError(f"{name}: expected an integer from 1, got {n}")
