"""Look inside a run:  python -m gpt2np.interpret "text" --out page.html"""

if not __package__: raise SystemExit("error: a file of gpt2np, which is run as: python3 -m gpt2np.interpret")

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..checkpoints.files import replace_text
from ..checkpoints.loading import NAMES
from ..command import Parser, not_empty, run_command
from ..interrupts import leave
from ..layers.module import Module
from ..memory import keep_freed_memory
from ..model_names import load_with_tokenizer
from ..models.bert import BERT, BertForPreTraining
from ..models.gpt2 import GPT2
from ..models.transformer import Transformer
from ..terminal import read_text, wrapped
from ..text.protocol import AnyTokenizer
from ..text.wordpiece import WordPiece
from .report import Progress, look, look_maps, look_translation, page
from .taps import InterpretError


def main(arguments: Sequence[str] | None = None) -> int:
    """The command: returns its exit status. Wrong usage ends in SystemExit with status 2."""
    return run_command(run, arguments, "interrupted: nothing was written")


def run(arguments: Sequence[str] | None) -> None:
    """Write the page that the arguments ask for."""
    parser = Parser(
        "interpret", usage='%(prog)s "TEXT" [OPTIONS]',
        description="Write one HTML page about what a GPT-2 does with a text: its tokens and what surprised it, what "
                    "it expects next, where each head looks, what each layer would say, and what each part "
                    "contributed. Of a model that translates: its translation, and where it looked to write each "
                    "token of it; of a BERT: where each head looks. Any browser opens it, and nothing is fetched. In "
                    "brackets: what holds where nothing is said.",
        known_as={"-m": "--model", "-o": "--out", "--output": "--out", "--compare": "--against",
                  "--text": "the text stands for itself, as in: interpret \"To be\"",
                  "": "words of a text stand together: put them in quotes"},
        examples=('python -m gpt2np.interpret "To be, or not to be" --out page.html',
                  'python -m gpt2np.interpret "My lord" --against "My lady"'))
    parser.add_argument("text", nargs="*", metavar="TEXT", help="the text; without it, standard input is read")
    parser.add_argument("--out", type=not_empty, default="interpret.html", metavar="FILE",
                        help="the page to write; one that is there is replaced (%(default)s)")
    parser.add_argument("--model", type=not_empty, default="demo",
                        help=f"one of {', '.join(NAMES)}; or the path of a model's folder (%(default)s)")
    parser.add_argument("--against", type=not_empty, metavar="TEXT",
                        help="another text of as many tokens: a grid then shows what of the first, put into the run on "
                             "this one, brings the first one's answer back")
    options = parser.parse_args(arguments)
    if not options.text and (sys.stdin is None or sys.stdin.isatty()):
        parser.error('expected a text, as in: python -m gpt2np.interpret "To be, or not to be"')
    if not Path(options.out).parent.is_dir():
        raise InterpretError(f"{options.out}: there is no folder {Path(options.out).parent}")
    text = read_text(options.text, "text")
    text = text if options.text else text.removesuffix("\n")
    keep_freed_memory()
    model, tokenizer = load_with_tokenizer(options.model, kind=Module)
    against = None if options.against is None else read_text([options.against], "--against")
    with tqdm(desc="patching", unit=" layers", delay=1, leave=False, disable=None) as bar:
        def progress(done: int, of: int) -> None:
            bar.total = of
            bar.update(done - bar.n)
        written = page(look_at(model, tokenizer, text, against, progress))
    replace_text(Path(options.out), written)
    print(wrapped(f"{options.out}: {len(written.encode()) / 1e3:,.0f} kB; open it in a browser"))


def look_at(model: Module, tokenizer: AnyTokenizer, text: str, against: str | None,
            progress: Progress) -> dict[str, Any]:
    """What the page of a model of any class shows of a text."""
    if isinstance(model, GPT2):
        return look(model, tokenizer, text, against, progress)
    if against is not None:
        raise InterpretError(f"--against: expected a GPT2, whose next token two texts can differ in, got a "
                             f"{type(model).__name__}: leave it out")
    if isinstance(model, Transformer):
        return look_translation(model, tokenizer, text)
    if isinstance(model, BERT | BertForPreTraining) and isinstance(tokenizer, WordPiece):
        return look_maps(model, tokenizer, text)
    raise InterpretError(f"expected a GPT2, a Transformer, or a BERT with its WordPiece, got a {type(model).__name__} "
                         f"with a {type(tokenizer).__name__}")


if __name__ == "__main__":
    leave(main())
