"""Let a model choose, without training it to:  python -m gpt2np.score QUESTIONS --model MODEL"""

if not __package__: raise SystemExit("error: a file of gpt2np, which is run as: python3 -m gpt2np.score")

import argparse
import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

from tqdm import tqdm

from .blas import say_what_to_set
from .checkpoints import loading
from .command import Parser, not_empty, run_command, whole
from .errors import Gpt2npError
from .interrupts import leave
from .memory import keep_freed_memory
from .model_names import load_with_tokenizer
from .models.gpt2 import GPT2
from .questions import (
    TEMPLATES,
    Question,
    Template,
    accuracies,
    examples_for,
    last_words,
    read_hellaswag,
    read_lambada,
    read_questions,
    rounded,
    template_of,
    wilson,
)
from .scoring import Score, score_all
from .sentence_pairs import Difference, Pair, difference, groups_of, marked, profession_pairs, read_sentence_pairs
from .terminal import typed_text, wrapped
from .text.protocol import AnyTokenizer

CHOICES, HELLASWAG, LAMBADA, PAIRS = TASKS = ("choices", "hellaswag", "lambada", "pairs")
NAME = 16                       # columns of a figure's name


def main(arguments: Sequence[str] | None = None) -> int:
    """The command: returns its exit status. Wrong usage ends in SystemExit with status 2."""
    return run_command(show, arguments)


def show(arguments: Sequence[str] | None) -> None:
    """Print what the arguments ask for."""
    options = parse(arguments)
    if options.context is not None:
        show_choices(options)
    elif options.task == PAIRS:
        show_pairs(options, read_sentence_pairs(options.file) if options.file else profession_pairs())
    elif options.task == LAMBADA:
        show_lambada(options, read_lambada(options.file))
    else:
        show_questions(options, (read_hellaswag if options.task == HELLASWAG else read_questions)(options.file))


def scores_of(options: argparse.Namespace, asked: Sequence[tuple[str, Sequence[str]]],
              model: GPT2, tokenizer: AnyTokenizer) -> Iterator[list[Score]]:
    """score_all, watched; at the end, what a reader of the figures should know."""
    cut = joined = n = 0
    with tqdm(score_all(model, tokenizer, asked, options.threads), desc="scoring", total=len(asked),
              unit=" contexts", delay=1, leave=False, disable=None) as bar:
        for some in bar:
            cut, joined, n = cut + any(one.cut for one in some), joined + any(one.joined for one in some), n + 1
            yield some
    if cut and not options.json:
        print(wrapped(f"note: {cut:,} of {n:,} are longer than the {model.n_ctx:,} tokens that the model sees: the "
                      "beginning of the context is left out"))
    if joined and not options.json:
        print(wrapped(f"note: in {joined:,} of {n:,}, a token holds the end of the context and the beginning of a "
                      "choice: it counts as the choice's"))


def load(options: argparse.Namespace) -> tuple[GPT2, AnyTokenizer]:
    """The model that is asked."""
    loaded: tuple[Any, AnyTokenizer] = load_with_tokenizer(options.model, kind=GPT2)
    keep_freed_memory()
    say_what_to_set()
    return loaded


# ---- choices that were typed


def show_choices(options: argparse.Namespace) -> None:
    """A line for each choice, with its scores."""
    template = template_of(options.template) if options.template else Template()
    one = template.asked(Question(options.context, options.choice, 0))
    (scores,) = scores_of(options, [one], *load(options))
    if options.json:
        print(as_json({"context": one[0], "scores": [*map(fields, scores)]}))
        return
    print("     sum   token    char    byte  greedy")
    for score in scores:
        means = "".join(f" {x:7.3f}" for x in (score.per_token, score.per_character, score.per_byte))
        print(wrapped(f"{score.sum:8.3f}{means}  {'yes' if score.greedy else 'no':6}  {score.text.strip()}"))


def fields(one: Score) -> dict[str, Any]:
    """A score for other programs."""
    return {"choice": one.text, "tokens": len(one.tokens), "sum": one.sum, "per_token": one.per_token,
            "per_character": one.per_character, "per_byte": one.per_byte, "greedy": one.greedy}


# ---- questions


def show_questions(options: argparse.Namespace, questions: Sequence[Question]) -> None:
    """Which part of the questions is answered right, by each norm."""
    template = template_of(options.template) if options.template else Template()
    examples = read_questions(options.examples) if options.examples else []
    questions = questions[:options.limit]
    shots = [examples_for(one, examples, options.shots) for one in questions]
    asked = [template.asked(one, some) for one, some in zip(questions, shots)]
    model, tokenizer = load(options)
    scores = []
    for i, some in enumerate(scores_of(options, asked, model, tokenizer)):
        scores.append(some)
        if options.json:
            print(as_json({"question": i + 1, "answer": questions[i].answer, "scores": [*map(fields, some)]}))
    without = None
    if options.mutual_info:
        without = list(score_all(model, tokenizer, [("", choices) for _, choices in asked], options.threads))
    n, found = len(questions), list(accuracies(questions, scores, without))
    if options.json:
        print(as_json({"questions": n, "examples": max(map(len, shots))} | {name: k / n for name, k, _ in found}))
        return
    sizes = sorted({len(one.choices) for one in questions})
    of = f"{sizes[0]} choices" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]} choices"
    behind = f", behind {max(map(len, shots))} examples" if examples else ""
    guessed = sum(1 / len(one.choices) for one in questions) / n
    print(wrapped(f"{options.model} on {options.file}: {n:,} questions of {of}{behind}; who guesses has {guessed:.1%} "
                  "right"))
    for name, k, by in found:
        show_share(name, k, n, by)


def show_share(name: str, k: int, n: int, what: str) -> None:
    """A share with its interval."""
    low, high = wilson(k, n)
    print(wrapped(f"{name:{NAME}}{k / n:6.1%}  ({low:.1%} to {high:.1%})  {what}"))


# ---- last words


def show_lambada(options: argparse.Namespace, passages: Sequence[tuple[str, str]]) -> None:
    """How often the last word is the one that the model would write, and its perplexity."""
    passages = passages[:options.limit]
    scores = []
    for i, (one,) in enumerate(scores_of(options, [(context, [word]) for context, word in passages], *load(options))):
        scores.append(one)
        if options.json:
            print(as_json({"passage": i + 1} | fields(one) | {"last_token": one.likeliest[-1]}))
    n, words, tokens, perplexity = last_words(scores)
    if options.json:
        print(as_json({"passages": n, "last_word": words / n, "last_token": tokens / n, "perplexity": perplexity}))
        return
    print(wrapped(f"{options.model} on {options.file}: {n:,} passages, of which the last word is to be told"))
    show_share("last word", words, n, "all its tokens are the likeliest")
    show_share("last token", tokens, n, "the word's last one is, given those before it")
    print(wrapped(f"{'perplexity':{NAME}}{rounded(perplexity):>6}  of the word"))


# ---- sentences that differ in a word


def show_pairs(options: argparse.Namespace, pairs: Sequence[Pair]) -> None:
    """The difference of each pair, and of all, and of each group."""
    pairs = pairs[:options.limit]
    model, tokenizer = load(options)
    found = []
    if not options.json:
        print("   total     word     rest")
    for pair, (first, second) in zip(pairs, scores_of(options, [("", pair[:2]) for pair in pairs], model, tokenizer)):
        found.append(one := difference(tokenizer, first, second))
        if options.json:
            print(as_json(pair._asdict() | one._asdict()))
        else:
            print(wrapped(" ".join(f"{x:+8.3f}" for x in one) + f"  {marked(pair)}"))
    groups = groups_of(pairs, found)
    if options.json:
        print(as_json({"pairs": len(found), **of_pairs(found), "groups": {
            name: {"pairs": len(some)} | of_pairs(some) for name, some in groups.items()}}))
        return
    print()
    show_group("all pairs", found)
    for name, some in groups.items() if len(groups) > 1 else ():
        show_group(name or "no group", some)


def of_pairs(found: Sequence[Difference]) -> dict[str, float]:
    """The means, and the share of pairs whose first sentence is the likelier one."""
    n = len(found)
    return {"first_is_likelier": sum(one.total > 0 for one in found) / n} | {
        name: math.fsum(getattr(one, name) for one in found) / n for name in Difference._fields}


def show_group(name: str, found: Sequence[Difference]) -> None:
    """What there is to say of several pairs."""
    n, k = len(found), sum(one.total > 0 for one in found)
    low, high = wilson(k, n)
    means = of_pairs(found)
    print(wrapped(f"{name}: the first is likelier in {k:,} of {n:,}, {k / n:.1%} ({low:.1%} to {high:.1%}; 50% where "
                  f"neither is preferred); on average {means['total']:+.3f} nats, of which the word "
                  f"{means['word']:+.3f}, the rest {means['rest']:+.3f}"))


# ---- options


def as_json(document: object) -> str:
    """A line for other programs; a number that JSON has no name for is null."""
    return json.dumps(without_infinities(document), ensure_ascii=False)


def without_infinities(document: object) -> object:
    """The same with None for every number that is not finite."""
    if isinstance(document, dict):
        return {key: without_infinities(value) for key, value in document.items()}
    if isinstance(document, list):
        return [*map(without_infinities, document)]
    return None if isinstance(document, float) and not math.isfinite(document) else document


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The arguments by their names."""
    parser = Parser(
        "score", usage="%(prog)s FILE --model MODEL [OPTIONS]",
        description="Let a model choose: of the choices of a question, the one that it holds likeliest to go on. With "
                    "--context and --choice, score what is typed. In brackets: what holds where nothing is said.",
        known_as={"-m": "--model", "--tasks": "--task", "--num-fewshot": "--shots", "--prompt": "--context",
                  "--continuation": "--choice",
                  "": "the model goes behind --model, what is typed behind --context and --choice"},
        examples=("python -m gpt2np.score questions.tsv --model 124M",
                  "python -m gpt2np.score --task pairs --model 124M",
                  'python -m gpt2np.score --model demo --context "To be" --choice or --choice a'))
    parser.add_argument("file", nargs="?", type=not_empty, metavar="FILE",
                        help="questions: in each line the question, a tab, the right choice, a tab, a wrong one, and "
                             "more; or an object of JSON with context, choices and answer. For the other tasks see "
                             "--task")
    parser.add_argument("--model", required=True, type=not_empty, metavar="MODEL",
                        help=f"one of {', '.join(loading.NAMES)}; or the path of a model's folder")
    parser.add_argument("--task", choices=TASKS, default=CHOICES,
                        help="what FILE holds: choices; hellaswag and lambada, those data sets' own files; pairs, two "
                             "sentences with a tab between them that differ in one word, and if you like a tab and a "
                             "group: without FILE, professions with he and she (%(default)s)")
    parser.add_argument("--context", type=typed_text, metavar="TEXT", help="score what may follow this text")
    parser.add_argument("--choice", action="append", type=typed_text, metavar="TEXT",
                        help="what may follow; to be given once for each")
    parser.add_argument("--template", type=typed_text, metavar="TEXT",
                        help=f"how a question is put, with {{context}} and {{choice}} in it, \\n for a new line; one "
                             f"of {', '.join(TEMPLATES)} (the context, a space unless it is Chinese, the choice)")
    parser.add_argument("--examples", type=not_empty, metavar="FILE",
                        help="questions that stand before each one, with their right choices")
    parser.add_argument("--shots", type=whole(1), metavar="N", help="how many of them, from the first on (all)")
    parser.add_argument("--mutual-info", action="store_true",
                        help="go also by how much the context adds to each choice: it takes up to twice as long")
    parser.add_argument("--limit", type=whole(1), metavar="N", help="the first lines alone (all)")
    parser.add_argument("--json", action="store_true", help="lines of JSON, for other programs")
    parser.add_threads("how many questions are worked out at once (all cores)")
    options = parser.parse_args(arguments)
    check(parser, options)
    return options


def check(parser: Parser, options: argparse.Namespace) -> None:
    """End with a sentence where options do not go together."""
    typed = options.context is not None
    if typed and not options.choice:
        parser.error("--context: expected --choice with it, what may follow")
    if options.choice and not typed:
        parser.error("--choice: expected --context with it, what comes before")
    if typed and options.file:
        parser.error("expected either FILE or --context, got both")
    if not typed and not options.file and options.task != PAIRS:
        parser.error("expected FILE, or --context and --choice")
    if options.shots and not options.examples:
        parser.error("--shots: expected --examples with it, where they are")
    asks = not typed and options.task in (CHOICES, HELLASWAG)
    for name, good in (("task", not typed or options.task == CHOICES), ("limit", not typed), ("examples", asks),
                       ("mutual_info", asks), ("template", asks or typed)):
        if getattr(options, name) and not good:
            what = "--context" if typed else f"--task {options.task}"
            parser.error(f"--{name.replace('_', '-')}: not expected with {what}")
    if options.template is not None:
        options.template = options.template.replace("\\n", "\n")
        try:
            template_of(options.template)
        except Gpt2npError as error:
            parser.error(f"--{error}")


if __name__ == "__main__":
    leave(main())
