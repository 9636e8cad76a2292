"""Let a model write:  python -m gpt2np.generate "Once upon a time" --model 124M

Chapter: S000 1.3.
"""

if not __package__: raise SystemExit("error: a file of gpt2np, which is run as: python3 -m gpt2np.generate")

import argparse
import json
import os
import re
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from .adapt.replacing import merge_if_possible
from .blas import say_what_to_set
from .checkpoints.loading import GPT2_NAMES
from .command import Parser, not_empty, option, real, run_command, whole
from .decoding import (
    Beam,
    NgramDraft,
    Stop,
    beam_search,
    columns,
    generate,
    generate_batch,
    lay_out_for_decoding,
    speculate,
)
from .errors import Gpt2npError, sentence
from .hints import Array
from .interpret.lens import maps_of, recorded
from .interrupts import leave
from .layers.softmax import softmax_forward
from .memory import expect_room, keep_freed_memory
from .model_names import load_with_tokenizer, name_of
from .models.gpt2 import GPT2
from .models.protocols import LanguageModel
from .sampling import LARGEST, GenerationError, Sampler
from .terminal import folded, line_of, printable, read_line, read_text, typed_text, wants_colour, width, write_utf8
from .text.columns import columns_of, fitting, padded
from .text.protocol import AnyTokenizer, end_of
from .text.streaming import StoppingDecoder, stops_at, text_before
from .text.vocabulary import END_OF_TEXT, TokenizerError
from .tracing import HEADER, short, steps_of

RUNNERS_UP = 4
SAMPLER_OPTIONS = ("repetition_penalty", "frequency_penalty", "presence_penalty", "min_new_tokens", "temperature",
                   "top_k", "top_p", "openai_top_p", "min_p", "typical_p")
RULES = ("logit_bias", "forbid", *SAMPLER_OPTIONS, "seed")
EXCLUSIVE = (
    ("num_beams", RULES, "beams follow the model's own probabilities, and nothing is drawn"),
    ("num_beams", ("speculate", "interactive", "show_probabilities"), "which beam wins is known in the end only"),
    ("num_return_sequences", ("speculate", "show_probabilities"), "they are for one text"),
    ("speculate", ("show_probabilities",), "one step then chooses several tokens"),
    ("trace", ("num_beams", "num_return_sequences", "speculate", "stop"), "it shows one step, of one text"),
)
LENGTH = "expected --max-new-tokens, which does not count the tokens of the prompt"
# Names in the chapter, in Hugging Face's and in OpenAI's libraries, and slips of the hand.
KNOWN_AS = {
    "-m": "--model", "--model-name": "--model", "--model-name-or-path": "--model", "--max-tokens": "--max-new-tokens",
    "--max-length": LENGTH, "--length": LENGTH, "--n": "--num-return-sequences",
    "--do-sample": "tokens are drawn unless --temperature is 0", "--greedy": "expected --temperature 0",
    "--bad-words": "--forbid", "--prompt": "the prompt stands for itself, as in: generate \"Once upon a time\"",
    "": "words of a prompt stand together: put them in quotes",
}
# What holds where an option is not given.
USUAL = argparse.Namespace(
    prompt=(), model="demo", adapter=None, max_new_tokens=100, num_return_sequences=1, stop=(),
    logit_bias=(), repetition_penalty=1.0, frequency_penalty=0.0, presence_penalty=0.0, forbid=(), min_new_tokens=0,
    temperature=0.8, top_k=None, top_p=0.95, openai_top_p=False, min_p=0.0, typical_p=1.0, seed=None, speculate=False,
    num_beams=1, length_penalty=1.0, json=False, interactive=False, show_probabilities=False, trace=False)
LIKELY, POSSIBLE, UNLIKELY = "32", "33", "31"           # green from 1/2, yellow from 1/10, red


def main(arguments: Sequence[str] | None = None) -> int:
    """The command: returns its exit status. Wrong usage ends in SystemExit with status 2."""
    return run_command(run, arguments)


def parse(arguments: Sequence[str] | None) -> tuple[argparse.Namespace, Sampler]:
    """The options by their names, and the sampler that they ask for, without what needs the tokenizer."""
    parser = Parser(
        "generate", usage="%(prog)s [PROMPT] [OPTIONS]", argument_default=argparse.SUPPRESS, known_as=KNOWN_AS,
        description="Continue a text with GPT-2. Without a prompt, on the command line or from a pipe, a new text is "
                    "begun, as after <|endoftext|>. In brackets: what holds where nothing is said.",
        epilog="A text may grow longer than the model can see: its window then slides on a quarter at a time. "
               "The same seed gives the same text on the same machine.",
        examples=('python -m gpt2np.generate "ROMEO." --seed 1',
                  'echo Once | python -m gpt2np.generate --num-beams 4',
                  'python -m gpt2np.generate "To be" --show-probabilities'))
    parser.add_argument("prompt", nargs="*", help="the text to continue")
    what = parser.add_argument_group("what is written, and where it ends")
    what.add_argument("--model", type=not_empty,
                      help=f"one of {', '.join(GPT2_NAMES)}; or the path of a model's folder ({USUAL.model})")
    what.add_argument("--adapter", type=not_empty, metavar="DIR",
                      help="what was trained beside a model: the folder of train or finetune --adapt, or of "
                           "peft's; without --model, the model is the one that it names")
    what.add_argument("--max-new-tokens", type=whole(1), metavar="N",
                      help=f"it ends after this many tokens ({USUAL.max_new_tokens})")
    what.add_argument("--num-return-sequences", type=whole(1), metavar="N",
                      help=f"this many continuations ({USUAL.num_return_sequences})")
    what.add_argument("--stop", type=text_option, action="append", metavar="TEXT",
                      help=r"it ends before this text, in which \n is a new line and \\n a backslash and an n; "
                           "may be given several times")
    how = parser.add_argument_group("how each token is chosen", "The rules are applied in this order.")
    how.add_argument("--logit-bias", type=bias_option, action="append", metavar="TOKEN=X",
                     help="X is added to the logit of a token, named by its text or number; "
                          "may be given several times")
    how.add_argument("--repetition-penalty", type=real, metavar="X",
                     help=f"above 1, what is in the text becomes rarer ({USUAL.repetition_penalty})")
    how.add_argument("--frequency-penalty", type=real, metavar="X",
                     help=f"taken off the logit of a token for each time it was written ({USUAL.frequency_penalty})")
    how.add_argument("--presence-penalty", type=real, metavar="X",
                     help=f"taken off the logit of a token that was written at all ({USUAL.presence_penalty})")
    how.add_argument("--forbid", type=text_option, action="append", metavar="TEXT",
                     help="this text is never written, as the tokenizer splits it, with a space before it or not; "
                          "may be given several times")
    how.add_argument("--min-new-tokens", type=whole(0), metavar="N",
                     help=f"it does not end before this many tokens ({USUAL.min_new_tokens})")
    how.add_argument("--temperature", type=real, metavar="T",
                     help=f"at 0, always the likeliest token ({USUAL.temperature})")
    how.add_argument("--top-k", type=whole(1), metavar="K", help="only the K likeliest tokens (all)")
    how.add_argument("--top-p", type=real, metavar="P",
                     help=f"only the likeliest tokens, up to the mass P ({USUAL.top_p})")
    how.add_argument("--openai-top-p", action="store_true",
                     help="OpenAI's rule for --top-p, which keeps one token fewer")
    how.add_argument("--min-p", type=real, metavar="P",
                     help=f"only tokens at least P times as likely as the best ({USUAL.min_p})")
    how.add_argument("--typical-p", type=real, metavar="P",
                     help=f"only tokens whose surprise is nearest to the mean, up to the mass P ({USUAL.typical_p})")
    how.add_argument("--seed", type=whole(0), metavar="N",
                     help="the seed of the random numbers (another one each time)")
    how.add_argument("--speculate", action="store_true",
                     help="faster where the text repeats itself: guess what came before, and check several at once")
    beams = parser.add_argument_group("instead of these rules", "The likeliest text as a whole is looked for.")
    beams.add_argument("--num-beams", type=whole(1), metavar="N",
                       help=f"this many texts are followed side by side ({USUAL.num_beams}: the rules above hold)")
    beams.add_argument("--length-penalty", type=real, metavar="X",
                       help=f"the largest log p / length^X wins: the larger X, the longer ({USUAL.length_penalty})")
    shown = parser.add_argument_group("how it is shown")
    one = shown.add_mutually_exclusive_group()
    one.add_argument("--json", action="store_true", help="one line of JSON for each continuation")
    one.add_argument("--interactive", action="store_true", help="every line that is typed is a prompt")
    one.add_argument("--show-probabilities", action="store_true",
                     help="each token with its probability, by the model alone, and the runners-up")
    one.add_argument("--trace", action="store_true",
                     help="no text, but every array of the first step: how it is made, what it costs, where the heads "
                          "look, and which token is chosen")
    given = vars(parser.parse_args(arguments))
    options = argparse.Namespace(**vars(USUAL) | given)
    check(parser, options, set(given))
    options.model = name_of(given.get("model"), options.adapter, USUAL.model)
    try:
        return options, Sampler(**{name: getattr(options, name) for name in SAMPLER_OPTIONS})
    except GenerationError as error:
        parser.error(option(str(error)))


def text_option(argument: str) -> str:
    r"""An option that is a text, in which \n stands for a new line, and \\n for \n itself."""
    if not (text := typed_text(argument)):
        raise argparse.ArgumentTypeError("expected a text, got an empty one")
    return re.sub(r"\\?\\n", lambda found: "\n" if found[0] == r"\n" else r"\n", text)


def bias_option(argument: str) -> tuple[str, float]:
    """--logit-bias TOKEN=X"""
    token, _, x = text_option(argument).rpartition("=")
    try:
        if token and abs(float(x)) <= LARGEST:
            return token, float(x)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"expected TOKEN=X with X from -1e9 to 1e9, as in \" cat=-2.5\", got {argument!r}")


def check(parser: argparse.ArgumentParser, options: argparse.Namespace, given: set[str]) -> None:
    """End with status 2 where options are out of range, or make no sense beside others that were given too."""
    if options.prompt == [""]:
        parser.error("prompt: expected a text, got an empty one; leave it out to begin a new text")
    if not -10 <= options.length_penalty <= 10:
        parser.error(f"--length-penalty: expected a number from -10 to 10, got {options.length_penalty}")
    given = given - {name for name in ("num_beams", "num_return_sequences") if getattr(options, name) == 1}
    for one, others, why in EXCLUSIVE:
        for other in others:
            if {one, other} <= given:
                parser.error(f"{option(one)} and {option(other)} exclude each other: {why}")
    if "length_penalty" in given and "num_beams" not in given:
        parser.error("--length-penalty: expected only with --num-beams of 2 or more")
    if options.min_new_tokens > options.max_new_tokens:
        parser.error(f"--min-new-tokens: expected at most the {options.max_new_tokens} of --max-new-tokens, got "
                     f"{options.min_new_tokens}")
    if 1 < options.num_beams < options.num_return_sequences:
        parser.error(f"--num-return-sequences: expected at most the {options.num_beams} of --num-beams, "
                     f"got {options.num_return_sequences}")
    if options.num_beams == 1 < options.num_return_sequences and options.temperature == 0:
        parser.error("--num-return-sequences: expected 1 at --temperature 0, where all would be the same")


@dataclass(frozen=True)
class Task:
    """A prompt, and what it takes to continue it."""

    model: GPT2
    tokenizer: AnyTokenizer
    prompt: str
    tokens: list[int]                                   # the prompt's; <|endoftext|> to begin a new text
    options: argparse.Namespace
    sampler: Sampler
    rng: np.random.Generator


def run(arguments: Sequence[str] | None) -> None:
    """Load the model, and write what the arguments ask for."""
    options, sampler = parse(arguments)
    model, tokenizer = load_with_tokenizer(options.model, adapter=options.adapter)
    merge_if_possible(model)
    lay_out_for_decoding(model)
    keep_freed_memory()
    say_what_to_set()
    sampler = replace(sampler, end_of_text=tokenizer.end_of_text, logit_bias=biases(tokenizer, options.logit_bias),
                      forbidden=[tokenizer.encode(space + word) for word in options.forbid for space in ("", " ")])
    sampler.filter(np.zeros(model.n_vocab), [], [])     # what it cannot do is said before all else
    write = write_probabilities if options.show_probabilities else \
        write_whole if options.json or options.num_return_sequences > 1 or options.num_beams > 1 else write_stream
    seed = int(np.random.default_rng().integers(2**32)) if options.seed is None else options.seed
    rng, n, seconds = np.random.default_rng(seed), 0, 0.0
    if options.trace:
        for prompt in prompts(options):
            show_trace(Task(model, tokenizer, prompt, tokenizer.encode(prompt) or [end_of(tokenizer)], options,
                            sampler, rng), seed)
        return
    if options.json:
        write_utf8()
    try:
        for prompt in prompts(options):
            tokens = tokenizer.encode(prompt) or [end_of(tokenizer)]
            expect_room_for_texts(model, len(tokens), options)
            start = time.perf_counter()
            try:
                for written in write(Task(model, tokenizer, prompt, tokens, options, sampler, rng)):
                    n, seconds, start = n + written, seconds + time.perf_counter() - start, time.perf_counter()
            except Gpt2npError as error:
                if not options.interactive:
                    raise
                print(f"error: {sentence(error)}", file=sys.stderr)     # of this line: the next one may do
    finally:
        drawn = f", seed {seed}" if options.num_beams == 1 and sampler.temperature > 0 else ""
        if n:
            print(f"{n} tokens in {seconds:.2f} s, {n / seconds:.1f} tokens/s{drawn}", file=sys.stderr)


def show_trace(task: Task, seed: int) -> None:
    """Print every array of the first step with what it costs, where the heads look, and the token that is chosen.

    Equations stand where they come first, for all blocks have the same; sums of the stream everywhere.  In 80 columns,
    for a pipe too, or as many as the terminal has.
    """
    model, tokenizer, tokens = task.model, task.tokenizer, task.tokens[-task.model.n_ctx:]
    seen, logits = recorded(model, [tokens])
    steps, maps, shown, room = steps_of(model, seen), maps_of(model, seen), set[str](), min(width(), 80)

    def tell(line: str, indent: str = "    ") -> None:
        print(folded(line, room, indent))

    def row(line: str) -> None:                         # in two, where there is no room: what, and its numbers
        print(line if len(line) <= room else f"{folded(line[:36].rstrip(), room)}\n{folded(line[36:], room)}")

    row(HEADER)
    for step in steps:
        row(step.line())
        if step.formula not in shown:
            tell(step.formula)
        if step.name.endswith(".p"):
            p = maps[step.name.removesuffix(".p")][0, :, -1].mean(axis=0)
            tell("the last token looks at (mean of the heads) " + listed(tokenizer, tokens, p, 3))
        shown.add(step.formula)
    tell(f"{short(sum(step.flops for step in steps))}FLOP in all: each addition, multiplication, root, exponential "
         "or comparison of two numbers is one, and attention is counted as if it skipped no key.", "")
    z = logits[0, -1]
    tell("The likeliest next tokens: " + listed(tokenizer, range(len(z)), softmax_forward(z)[0], RUNNERS_UP + 1), "")
    token = next(generate(model, tokens, 1, task.sampler, task.rng))    # by the loop that writes
    p = task.sampler.probabilities(z, tokens, [])
    left = int(np.count_nonzero(p))
    name = printable(tokenizer.decode_bytes([token]))
    tell(f"Chosen, for the temperature is 0: {name}" if task.sampler.temperature == 0 else
         f"Chosen, the only one that the rules leave: {name}" if left == 1 else
         f"Chosen, of the {left:,} that the rules leave: {name} {p[token]:.1%} (seed {seed})", "")


def listed(tokenizer: AnyTokenizer, tokens: Sequence[int], p: Array, n: int) -> str:
    """The n likeliest of these tokens."""
    best = np.argsort(-p, kind="stable")[:n].tolist()
    return "  ".join(f"{printable(tokenizer.decode_bytes([tokens[i]]))} {p[i]:.1%}" for i in best)


def expect_room_for_texts(model: GPT2, n_prompt: int, options: argparse.Namespace) -> None:
    """MemoryError where this many texts side by side cannot be had: a slip of the hand, 10000000 for 10.

    Each needs its keys and values, twice while rows of them are chosen, and its logits.
    """
    config, texts = model.config, max(options.num_beams, options.num_return_sequences)
    seen = min(config.n_ctx, n_prompt + options.max_new_tokens)
    expect_room(4 * texts * (4 * config.n_layer * seen * config.n_embd + config.n_vocab),
                f"{option('num_beams' if options.num_beams > 1 else 'num_return_sequences')} {texts:,}")


def biases(tokenizer: AnyTokenizer, given: Sequence[tuple[str, float]]) -> dict[int, float]:
    """--logit-bias by the numbers of the tokens."""
    logit_bias: dict[int, float] = {}
    for token, x in given:
        ids = [int(token)] if token.isdecimal() else tokenizer.encode(token, [END_OF_TEXT])
        if len(ids) != 1:
            parts = ", ".join(printable(tokenizer.decode_bytes([i])) for i in ids)
            raise GenerationError(f"--logit-bias: expected one token, got {token!r}, which is {len(ids)}: {parts}")
        logit_bias[ids[0]] = logit_bias.get(ids[0], 0) + x
    return logit_bias


def prompts(options: argparse.Namespace) -> Iterator[str]:
    """The prompt of the command line, or of the pipe, or none, ""; with --interactive, one line after another."""
    if options.prompt:
        yield read_text(options.prompt, "prompt")
    if options.interactive:
        if sys.stdin and sys.stdin.isatty():
            end = "Ctrl-Z and Enter" if os.name == "nt" else "Ctrl-D"
            print(f"Each line is a prompt; {end} ends.", file=sys.stderr)
        while line := next_line():
            yield line
    elif not options.prompt:
        no_pipe = sys.stdin is None or sys.stdin.isatty()
        yield "" if no_pipe else read_text([], "").removesuffix("\n")       # what `echo` adds is no part of a prompt


def next_line() -> str:
    """A line that is typed, "" at the end; empty lines, and those that are no text, are asked for again."""
    while line := read_line("> "):
        try:
            if text := line_of(line, "prompt"):
                return text
        except TokenizerError as error:
            print(f"error: {error}", file=sys.stderr)
    print(file=sys.stderr)
    return ""


def steps(task: Task) -> Iterator[list[int | None]]:
    """What each step writes: a token of each continuation, None of those that have ended."""
    options, n = task.options, task.options.max_new_tokens
    stop = stops_at(task.tokenizer, options.stop, task.tokens)
    if options.speculate:
        draft = NgramDraft(task.model.n_vocab)
        written = speculate(task.model, task.tokens, n, draft, task.sampler, task.rng, stop=stop)
        return ([token] for token in written)
    return generate_batch(task.model, [task.tokens], n, task.sampler, task.rng, options.num_return_sequences, stop)


def write_stream(task: Task) -> Iterator[int]:
    """Print a continuation as it comes. Yields 1 for each token."""
    decoder, rows = StoppingDecoder(task.tokenizer, task.options.stop, task.tokens), steps(task)
    print(task.prompt, end="", flush=True)
    try:
        for token, in rows:
            assert token is not None                    # a text that is alone ends with its rows
            yield 1
            print(decoder.feed(token), end="", flush=True)
        print(decoder.finish(), end="")
    finally:
        print(flush=True)


def write_whole(task: Task) -> Iterator[int]:
    """Print whole continuations when all of them have ended. Yields how many tokens each step has made."""
    tokenizer, options, n = task.tokenizer, task.options, task.options.num_return_sequences
    rows, stop, interrupt = [], stops_at(tokenizer, options.stop, task.tokens), None
    if options.num_beams > 1:
        found, interrupt = follow_beams(task, stop)
        texts = [beam.written for beam in found[:n]]
        yield sum(map(len, texts))
    else:
        for row in steps(task):
            rows.append(row)
            yield len(row) - row.count(None)
        texts = columns(rows)
    for i, written in enumerate(texts):
        text = text_before(tokenizer, written, options.stop, task.tokens)
        if options.json:
            ended_by = "end_of_text" if written[-1] == tokenizer.end_of_text else \
                "stop" if stop(written) else "interrupt" if interrupt else "max_new_tokens"
            print(json.dumps({"prompt": task.prompt, "text": text, "ended_by": ended_by}, ensure_ascii=False))
        else:
            print((f"--- {i + 1} of {n} ---\n" if n > 1 else "") + task.prompt + text)
    if interrupt:
        raise interrupt


def follow_beams(task: Task, stop: Stop) -> tuple[list[Beam], KeyboardInterrupt | None]:
    """The beams, with a bar that shows how far they are; where Ctrl-C has ended it, the best so far, and that."""
    from tqdm import tqdm  # only now: whoever wants a text waits for its first token, and tqdm takes a tenth of that

    options, best, interrupt = task.options, list[Beam](), None
    with tqdm(total=options.max_new_tokens, desc="beams", unit=" tokens", delay=1, leave=False, disable=None) as bar:
        def watch(n: int, found: list[list[Beam]]) -> None:
            best[:] = found[0]
            bar.update()

        try:
            best = beam_search(task.model, task.tokens, options.max_new_tokens, options.num_beams,
                               options.length_penalty, task.tokenizer.end_of_text, stop, watch)
        except KeyboardInterrupt as error:
            if not best:
                raise
            interrupt = error
    if interrupt:
        print("\n" * sys.stderr.isatty() + "the best so far:", file=sys.stderr)
    return best, interrupt


def write_probabilities(task: Task) -> Iterator[int]:
    """Print a continuation one token a line, with its probability and the runners-up. Yields 1 for each token."""
    def name(token: int) -> str:
        return printable(task.tokenizer.decode_bytes([token]))

    colour, recording = wants_colour(), RecordingSampler(**vars(task.sampler))
    rows = steps(replace(task, sampler=recording))
    print(task.prompt)
    for token, in rows:
        assert token is not None                        # as in write_stream
        yield 1
        p, = recording.recorded
        code = LIKELY if p[token] >= 0.5 else POSSIBLE if p[token] >= 0.1 else UNLIKELY
        chosen = padded(name(token), 16)
        room = max(0, width() - 10 - columns_of(chosen))
        best = [i for i in np.argsort(-p, kind="stable")[:RUNNERS_UP + 1].tolist() if i != token][:RUNNERS_UP]
        others = "  ".join(f"{name(i)} {p[i]:.1%}" for i in best)
        if columns_of(others) > room:
            others = fitting(others, room).rpartition("  ")[0]
        print(f"{p[token]:6.1%}  " + (f"\x1b[{code}m{chosen}\x1b[0m" if colour else chosen) + f"  {others}", flush=True)


@dataclass(frozen=True)
class RecordingSampler(Sampler):
    """A sampler that records the probabilities that the model gave last, before the rules of the sampler."""

    recorded: list[Array] = field(default_factory=list)

    def sample(self, logits: Array, tokens: Sequence[int], written: Sequence[int], rng: np.random.Generator) -> int:
        """The token that the sampler chooses."""
        self.recorded[:] = [softmax_forward(logits)[0]]
        return super().sample(logits, tokens, written, rng)


class CallableModule(ModuleType):
    """This module, so that gpt2np.generate("Once") works, whoever has imported gpt2np.generate, and when."""

    def __call__(self, prompt: str = "", model: str | Path | tuple[LanguageModel, AnyTokenizer] = USUAL.model,
                 max_new_tokens: int = USUAL.max_new_tokens, seed: int | None = None, stop: str | Sequence[str] = (),
                 **rules: Any) -> str:
        """A text that begins with the prompt, as the command writes it.

            print(gpt2np.generate("Once upon a time", temperature=0.8, seed=1))

        prompt   "" for a text of the model's own
        model    what gpt2np.load takes; or what it returns, to read the model once for many texts
        seed     the same gives the same text; None: another one each time
        stop     one text or several: it ends before one of these, or where the model ends it
        rules    of Sampler (sampling.py); where nothing is said, the command's: temperature 0.8, top_p 0.95
        """
        if isinstance(model, tuple):
            writer, tokenizer = model
        else:
            writer, tokenizer = loaded = load_with_tokenizer(model)
            lay_out_for_decoding(loaded[0])
        usual = {name: getattr(USUAL, name) for name in SAMPLER_OPTIONS}
        sampler = Sampler(**usual | {"end_of_text": tokenizer.end_of_text} | rules)
        tokens = tokenizer.encode(prompt) or [end_of(tokenizer)]
        written = generate(writer, tokens, max_new_tokens, sampler, np.random.default_rng(seed),
                           stops_at(tokenizer, stop, tokens))
        return prompt + text_before(tokenizer, list(written), stop, tokens)


sys.modules[__name__].__class__ = CallableModule

if __name__ == "__main__":
    leave(main())
