"""Let a model write:  python -m gpt2np.generate "Once upon a time" --model 124M"""

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from .checkpoints.loading import NAMES, load
from .decoding import NgramDraft, generate, generate_batch, lay_out_for_decoding, speculate
from .layers.softmax import softmax_forward
from .sampling import Sampler
from .text.streaming import StoppingDecoder
from .text.terminal import printable, read_text, run_command, wants_colour
from .tracing import trace

RUNNERS_UP = 4
LIKELY, POSSIBLE, UNLIKELY = "32", "33", "31"           # green from 1/2, yellow from 1/10, red


def main(arguments: Sequence[str] | None = None) -> int:
    """The command: returns its exit status. Wrong usage ends in SystemExit with status 2."""
    return run_command(run, *parse(arguments))


def parse(arguments: Sequence[str] | None) -> tuple[argparse.Namespace, Sampler]:
    """The options by their names, and the sampler that they ask for."""
    parser = argparse.ArgumentParser(
        prog="python -m gpt2np.generate",
        description="Continue a text with GPT-2. Without a prompt, on the command line or from a pipe, a new text is "
                    "begun, as after <|endoftext|>.",
        epilog="A text may grow longer than the model can see: its window then slides on a quarter at a time. "
               "The same seed gives the same text on the same machine. In brackets: what holds where nothing is said.")
    parser.add_argument("prompt", nargs="?", help="the text to continue")
    what = parser.add_argument_group("what is written, and where it ends")
    what.add_argument("--model", default="demo",
                      help=f"one of {', '.join(NAMES)}; or the path of a model's folder (%(default)s)")
    what.add_argument("--max-new-tokens", type=int, default=100, metavar="N",
                      help="it ends after so many (%(default)s)")
    what.add_argument("--num-return-sequences", type=int, default=1, metavar="N",
                      help="so many continuations (%(default)s)")
    what.add_argument("--stop", action="append", default=[], metavar="TEXT",
                      help=r"it ends before this text; \n is a new line; may be given several times")
    how = parser.add_argument_group("how each token is chosen, in the order in which the rules are applied")
    how.add_argument("--repetition-penalty", type=float, default=1.0, metavar="X",
                     help="above 1: fewer repetitions (%(default)s)")
    how.add_argument("--frequency-penalty", type=float, default=0.0, metavar="X",
                     help="for each time it was written (%(default)s)")
    how.add_argument("--presence-penalty", type=float, default=0.0, metavar="X",
                     help="once it was written at all (%(default)s)")
    how.add_argument("--min-new-tokens", type=int, default=0, metavar="N",
                     help="it does not end before so many (%(default)s)")
    how.add_argument("--temperature", type=float, default=0.8, metavar="T",
                     help="0: always the likeliest token (%(default)s)")
    how.add_argument("--top-k", type=int, metavar="K", help="only the K likeliest (all)")
    how.add_argument("--top-p", type=float, default=0.95, metavar="P",
                     help="only the likeliest, up to the mass P (%(default)s)")
    how.add_argument("--openai-top-p", action="store_true", help="OpenAI's rule for it, which keeps one token fewer")
    how.add_argument("--min-p", type=float, default=0.0, metavar="P",
                     help="only those P times as likely as the best (%(default)s)")
    how.add_argument("--typical-p", type=float, default=1.0, metavar="P",
                     help="only the least surprising, to mass P (%(default)s)")
    how.add_argument("--seed", type=int, metavar="N", help="a number from 0 (another one each time)")
    how.add_argument("--speculate", action="store_true",
                     help="faster where the text repeats itself: guess what came before, and check several at once")
    shown = parser.add_argument_group("how it is shown")
    one = shown.add_mutually_exclusive_group()
    one.add_argument("--json", action="store_true", help="one line of JSON for each continuation")
    one.add_argument("--interactive", action="store_true", help="every line that is typed is a prompt")
    one.add_argument("--show-probabilities", action="store_true",
                     help="each token with its probability, by the model alone, and the runners-up")
    one.add_argument("--trace", action="store_true", help="the first step alone: every operation with its shapes")
    options = parser.parse_args(arguments)
    options.stop = [stop.replace(r"\n", "\n") for stop in options.stop]
    if options.prompt == "":
        parser.error("prompt: expected a text, got an empty one; leave it out to begin a new text")
    for name in ("max_new_tokens", "num_return_sequences"):
        if getattr(options, name) < 1:
            parser.error(f"--{name.replace('_', '-')}: expected an integer from 1, got {getattr(options, name)}")
    if options.seed is not None and options.seed < 0:
        parser.error(f"--seed: expected an integer from 0, got {options.seed}")
    if "" in options.stop:
        parser.error("--stop: expected a text, got an empty one")
    if options.num_return_sequences > 1 and (options.show_probabilities or options.speculate):
        parser.error("--num-return-sequences: expected 1 with --show-probabilities and with --speculate")
    try:
        return options, Sampler(**{name: getattr(options, name) for name in (
            "temperature", "top_k", "top_p", "openai_top_p", "min_p", "typical_p", "repetition_penalty",
            "frequency_penalty", "presence_penalty", "min_new_tokens")})
    except ValueError as error:
        return parser.error(f"--{str(error).replace('_', '-')}")


def run(options: argparse.Namespace, sampler: Sampler) -> None:
    """Load the model, and write what the options ask for."""
    model, tokenizer = load(options.model)
    lay_out_for_decoding(model)
    if options.trace:
        for prompt in prompts(options):
            print(*trace(model, [tokenizer.encode(prompt) or [tokenizer.end_of_text]]), sep="\n")
        return
    sampler = replace(sampler, end_of_text=tokenizer.end_of_text)
    write = write_probabilities if options.show_probabilities else \
        write_several if options.json or options.num_return_sequences > 1 else write_stream
    seed = np.random.SeedSequence().entropy % 2**32 if options.seed is None else options.seed
    rng, n, seconds = np.random.default_rng(seed), 0, 0.0
    try:
        for prompt in prompts(options):
            tokens = tokenizer.encode(prompt) or [tokenizer.end_of_text]
            start = time.perf_counter()
            for written in write(model, tokenizer, prompt, tokens, options, sampler, rng):
                n, seconds, start = n + written, seconds + time.perf_counter() - start, time.perf_counter()
    finally:
        rate = f", {n / seconds:.1f} tokens/s" if n else ""
        print(f"{n} tokens in {seconds:.2f} s{rate}, seed {seed}", file=sys.stderr)


def prompts(options: argparse.Namespace) -> Iterator[str]:
    """The prompt of the command line, or of the pipe, or none, ""; with --interactive, one line after another."""
    if options.prompt is not None:
        yield read_text([options.prompt])
    if options.interactive:
        while line := read_line():
            yield line
    elif options.prompt is None:
        no_pipe = sys.stdin is None or sys.stdin.isatty()
        yield "" if no_pipe else read_text([]).removesuffix("\n")       # what `echo` adds is no part of a prompt


def read_line() -> str:
    """A line that is typed, "" at the end; empty lines are asked for again."""
    while True:
        print("> ", end="", file=sys.stderr, flush=True)
        line = sys.stdin.buffer.readline()
        if not line:
            print(file=sys.stderr)
            return ""
        if text := line.decode("utf-8").rstrip("\r\n"):
            return text


def write_stream(model, tokenizer, prompt, tokens, options, sampler, rng) -> Iterator[int]:
    """Print a continuation as it comes. Yields 1 for each token."""
    decoder = StoppingDecoder(tokenizer, options.stop)
    chosen = one_text(model, tokens, options, sampler, rng)
    print(prompt, end="", flush=True)
    try:
        for token in chosen:
            yield 1
            if token == sampler.end_of_text:
                break
            print(decoder.feed(token), end="", flush=True)
            if decoder.stopped:
                break
        print(decoder.finish(), end="")
    finally:
        print(flush=True)


def one_text(model, tokens, options, sampler, rng) -> Iterator[int]:
    """The tokens of one continuation."""
    if options.speculate:
        draft = NgramDraft(model.config.n_vocab)
        return speculate(model, tokens, options.max_new_tokens, draft, sampler, rng)
    return generate(model, tokens, options.max_new_tokens, sampler, rng)


def write_several(model, tokenizer, prompt, tokens, options, sampler, rng) -> Iterator[int]:
    """Print whole continuations when all of them have ended. Yields how many tokens each step has made."""
    n = options.num_return_sequences
    if n == 1:
        rows = ([token] for token in one_text(model, tokens, options, sampler, rng))
    else:
        rows = generate_batch(model, [tokens], options.max_new_tokens, sampler, rng, n)
    decoders = [StoppingDecoder(tokenizer, options.stop) for _ in range(n)]
    texts, ends = [""] * n, ["max_new_tokens"] * n
    for row in rows:
        yield sum(token is not None for token in row)
        for i, (token, decoder) in enumerate(zip(row, decoders)):
            if token is None or decoder.stopped:
                continue
            if token == sampler.end_of_text:
                ends[i] = "end_of_text"
            else:
                texts[i] += decoder.feed(token)
                ends[i] = "stop" if decoder.stopped else ends[i]
        if "max_new_tokens" not in ends:
            break
    for i, (text, decoder) in enumerate(zip(texts, decoders)):
        text += decoder.finish()
        if options.json:
            print(json.dumps({"prompt": prompt, "text": text, "ended_by": ends[i]}))
        else:
            print(f"--- {i + 1} of {n} ---\n{prompt}{text}")


def write_probabilities(model, tokenizer, prompt, tokens, options, sampler, rng) -> Iterator[int]:
    """Print a continuation one token a line, with its probability and the runners-up. Yields 1 for each token."""
    colour, noting, decoder = wants_colour(), Noting(sampler), StoppingDecoder(tokenizer, options.stop)
    print(prompt)
    for token in generate(model, tokens, options.max_new_tokens, noting, rng):
        yield 1
        p = noting.probability
        code = LIKELY if p[token] >= 0.5 else POSSIBLE if p[token] >= 0.1 else UNLIKELY
        name = printable(tokenizer.decode_bytes([token])).ljust(16)
        best = [i for i in np.argsort(-p, kind="stable")[:RUNNERS_UP + 1].tolist() if i != token][:RUNNERS_UP]
        others = "  ".join(f"{printable(tokenizer.decode_bytes([i]))} {p[i]:.1%}" for i in best)
        print(f"{p[token]:6.1%}  " + (f"\x1b[{code}m{name}\x1b[0m" if colour else name) + f"  {others}", flush=True)
        decoder.feed(token)
        if decoder.stopped:
            break


class Noting:
    """A sampler that notes the probabilities that the model gave, before the rules of the sampler."""

    def __init__(self, sampler: Sampler):
        self.sampler, self.end_of_text, self.probability = sampler, sampler.end_of_text, None

    def sample(self, logits: np.ndarray, tokens: Sequence[int], written: Sequence[int],
               rng: np.random.Generator) -> int:
        """The token that the sampler chooses."""
        self.probability, _ = softmax_forward(logits)
        return self.sampler.sample(logits, tokens, written, rng)


if __name__ == "__main__":
    sys.exit(main())
