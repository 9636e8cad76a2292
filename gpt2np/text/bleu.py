"""BLEU: how many n-grams of a translation stand in a translation by a person.

    BLEU = 100 BP (p_1 p_2 p_3 p_4)^(1/4)

    p_n  = sum over segments and n-grams g of min(h_g, max over references of r_g)  /  sum of h_g
    BP   = 1 if c >= r, else exp(1 - r / c)

h_g and r_g are how often g occurs in a hypothesis and in a reference; c counts the tokens of all hypotheses, and r
those of the references, for each segment of the one that is closest in length (the shorter of two). The sums run over
the whole corpus before anything is divided, so BLEU is not the mean of the BLEU of its segments.

What counts as a token decides the number, so BLEUs of two tokenisations cannot be compared:

    13a      words, with punctuation split off: what WMT's tables are made with; for languages that write blanks
    zh       Chinese characters one by one, and the rest as in 13a
    char     every character, without blanks
    none     what blanks divide, for texts that are tokens already

Where an order has no match the product is 0, unless it is smoothed. With m_n matches of t_n n-grams:

    none     p_n = m_n / t_n
    floor    p_n = 0.1 / t_n                       where m_n = 0
    add-k    p_n = (m_n + 1) / (t_n + 1)           for n > 1
    exp      p_n = 1 / (2^k t_n)                   at the k-th order where m_n = 0

If nothing matches at all, BLEU is 0, smoothed or not; and so it is where no hypothesis is long enough for an n-gram
(t_n = 0), but for add-k, which then takes p_n = 1. All numbers are those of sacrebleu, which the field's tables use.

Papineni et al. 2002, BLEU, sections 2.1 to 2.3; smoothing: Chen, Cherry 2014, W14-3346, section 3, methods 1 to 3;
tokens: NIST's mteval-v13a.pl; why a number needs a signature: Post 2018, arXiv:1804.08771.

Chapter: S000 3.4.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import reduce
from operator import or_
from typing import NamedTuple

from ..errors import Gpt2npError

ORDERS = range(1, 5)
# How a signature names each smoothing: with its constant, where it has one.
SMOOTHINGS = {"none": "none", "floor": "floor[0.10]", "add-k": "add-k[1.00]", "exp": "exp"}
ENTITIES = {"&quot;": '"', "&amp;": "&", "&lt;": "<", "&gt;": ">"}      # in this order: &amp;lt; becomes <

# What sacrebleu takes for Chinese: characters up to Unicode 4.1, their punctuation, full-width forms. It spells
# U+20000, where the rare characters of extension B begin, as "\u20000": U+2000 and a zero. So U+2001 to U+2A6D are
# here, with dashes, quotation marks, arrows and much else, and those rare characters are not: a number that is to stand
# beside others' has to do as they do.
CHINESE = re.compile("[\u2001-\u2a6d\u2e80-\u2fdf\u2ff0-\u303f\u3100-\u312f\u31a0-\u31ef\u3200-\u4db5\u4e00-\u9fbb"
                     "\uf900-\ufa2d\ufa30-\ufa6a\ufa70-\ufad9\ufe10-\ufe1f\ufe30-\ufe4f\uff00-\uffef]")


class BleuError(Gpt2npError):
    """Texts or an option of which there is no BLEU; the message says what was expected and what came."""


class Bleu(NamedTuple):
    """BLEU of a corpus, from 0 to 100, with what it was made of.

    precisions          100 p_n for n = 1 to 4, smoothed
    brevity_penalty     BP
    length              c, the tokens of all hypotheses
    reference_length    r, the tokens of the closest references
    signature           how it was measured, as sacrebleu writes it but for its version: without it a BLEU says little
    """
    score: float
    precisions: tuple[float, ...]
    brevity_penalty: float
    length: int
    reference_length: int
    signature: str

    def __str__(self) -> str:
        """One line, as it belongs into a table or a report."""
        precisions = "/".join(f"{p:.1f}" for p in self.precisions)
        return (f"BLEU {self.score:.2f} ({precisions}, brevity penalty {self.brevity_penalty:.3f}, {self.length:,} "
                f"tokens for {self.reference_length:,}; {self.signature})")


def corpus_bleu(hypotheses: Iterable[str], references: Iterable[str | Sequence[str]], tokenisation: str = "13a",
                smoothing: str = "exp") -> Bleu:
    """BLEU of some hypotheses, one for each segment, against the references of each.

    hypotheses      texts, as they are read: tokens are made here
    references      for each segment a text, or several; how many may differ
    tokenisation    a key of TOKENISATIONS: "13a", "zh", "char" or "none"
    smoothing       "none", "floor", "add-k" or "exp"

    BleuError for no segments, other numbers of references than hypotheses, and an unknown option. Case counts.
    """
    segments = checked_segments(hypotheses, references)
    check_option("tokenisation", tokenisation, TOKENISATIONS)
    check_option("smoothing", smoothing, SMOOTHINGS)
    tokens_of = TOKENISATIONS[tokenisation]
    matches, totals, c, r = [0] * len(ORDERS), [0] * len(ORDERS), 0, 0
    for text, texts in segments:
        h, rs = tokens_of(text), [tokens_of(reference) for reference in texts]
        c += len(h)
        r += min(map(len, rs), key=lambda length: (abs(length - len(h)), length))
        for i, n in enumerate(ORDERS):
            found, most = ngrams(h, n), reduce(or_, [ngrams(reference, n) for reference in rs])
            matches[i] += (found & most).total()                        # | is the larger count of each, & the smaller
            totals[i] += found.total()

    precisions = smoothed_precisions(matches, totals, smoothing)
    bp = 1.0 if c >= r else math.exp(1 - r / c) if c else 0.0
    score = 100 * bp * math.exp(sum(map(math.log, precisions)) / len(ORDERS)) if all(precisions) else 0.0
    n_references = {len(texts) for _, texts in segments}
    signature = (f"nrefs:{n_references.pop() if len(n_references) == 1 else 'var'}|case:mixed|eff:no"
                 f"|tok:{tokenisation}|smooth:{SMOOTHINGS[smoothing]}")
    return Bleu(score, tuple(100 * p for p in precisions), bp, c, r, signature)


def ngrams(tokens: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    """How often each n tokens in a row occur."""
    return Counter(zip(*[tokens[i:] for i in range(n)]))


def smoothed_precisions(matches: Sequence[int], totals: Sequence[int], smoothing: str) -> list[float]:
    """p_n from m_n and t_n by the equations above; 0 for all where nothing matches."""
    precisions, k = [], 0
    for n, m, t in zip(ORDERS, map(float, matches), totals):
        if smoothing == "add-k" and n > 1:
            m, t = m + 1, t + 1
        elif smoothing == "floor" and m == 0:
            m = 0.1
        elif smoothing == "exp" and m == 0:
            k += 1
            m = 0.5**k
        precisions.append(m / t if t and any(matches) else 0.0)
    return precisions


# ---- tokens

def tokens_13a(text: str) -> list[str]:
    """The tokens of WMT's tables, for languages that put spaces between words: see split_marks.

    Before that, `<skipped>` is dropped, a word that a hyphen divides at the end of a line is joined, and the four
    entities of SGML become the characters that they stand for.
    """
    text = text.rstrip().replace("<skipped>", "").replace("-\n", "").replace("\n", " ")
    for entity, character in ENTITIES.items():
        text = text.replace(entity, character)
    return split_marks(f" {text} ")


def tokens_zh(text: str) -> list[str]:
    """Every CHINESE character a token, and the rest as split_marks has it: 我有3.5本book。 is 我 有 3.5 本 book 。

    Entities stay, and so does a full stop or comma after a digit where the text ends with it.
    """
    return split_marks(CHINESE.sub(r" \g<0> ", text.strip()))


def tokens_char(text: str) -> list[str]:
    """Every character a token, except for blanks."""
    return [character for character in text if not character.isspace()]


def split_marks(text: str) -> list[str]:
    """Words between blanks, with punctuation split off: Mr. O'Neil paid $3.50-4 is Mr . O'Neil paid $ 3.50 - 4

    All ASCII punctuation is, but for the apostrophe, a full stop or comma between digits, and a hyphen that follows no
    digit. A match takes the character beside the full stop too, which the next match then lacks: so 1...2 is
    1 . . .2, here as in mteval-v13a.pl.
    """
    text = re.sub(r"([!-&(-+/:-@\[-`{-~])", r" \1 ", text)              # all but ' , - .
    text = re.sub(r"([^0-9])([.,])", r"\1 \2 ", text)
    text = re.sub(r"([.,])([^0-9])", r" \1 \2", text)
    return re.sub(r"([0-9])-", r"\1 - ", text).split()


TOKENISATIONS: dict[str, Callable[[str], list[str]]] = {
    "13a": tokens_13a, "zh": tokens_zh, "char": tokens_char, "none": str.split}     # none: tokens are there already


# ---- what cannot be scored

def checked_segments(hypotheses: Iterable[str], references: Iterable[str | Sequence[str]]
                     ) -> list[tuple[str, list[str]]]:
    """Each hypothesis with the list of its references; BleuError where they do not fit."""
    for name, given in (("hypotheses", hypotheses), ("references", references)):
        if isinstance(given, str):
            raise BleuError(f"{name}: expected a list with an entry for each segment, got one text")
    hypotheses, references = list(hypotheses), list(references)
    if len(references) != len(hypotheses):
        raise BleuError(f"expected references for each of {len(hypotheses)} hypotheses, got them for "
                        f"{len(references)}")
    if not hypotheses:
        raise BleuError("expected at least one segment to score, got none")
    segments = []
    for i, (text, entry) in enumerate(zip(hypotheses, references), 1):
        texts: list[str] = [entry] if isinstance(entry, str) or not isinstance(entry, Iterable) else list(entry)
        if not texts:
            raise BleuError(f"segment {i} of {len(hypotheses)}: expected at least one reference, got none")
        for one in (text, *texts):
            if not isinstance(one, str):
                raise BleuError(f"segment {i} of {len(hypotheses)}: expected texts, got a {type(one).__name__}")
        segments.append((text, texts))
    return segments


def check_option(name: str, value: str, known: Iterable[str]) -> None:
    """BleuError for a value that is not known."""
    *others, last = known
    if value not in (*others, last):
        raise BleuError(f"{name}: expected {', '.join(others)} or {last}, got {value!r}")
