"""BLEU against sacrebleu itself, on texts drawn at random: `make test-peers` installs it."""

import numpy as np
import pytest

from gpt2np.text import bleu

sacrebleu = pytest.importorskip("sacrebleu", reason="needs the package sacrebleu: make test-peers installs it")

WORDS = ["the", "cat", "sat", "Mr.", "it's", "a", "U.S.", "3.5", "1,000", "1990-95", "-", "...", "(so)", "世界",
         "我喜欢", "读书。", "“好”", "v2.0版", "&amp;", "&quot;", "&lt;b&gt;", "<skipped>",
         "x-\ny", "𠀀字", "カタカナ", "é", "٣"]
CHARACTERS = [*"aab01.,-'!&;<>/ \n\t", "世", "界", "。", "“", "\u3000", "\u00a0", "𠀀", "カ", "٣", "&amp;", "-\n"]


def drawn(rng):
    """Some hypotheses and their references: of words or of characters, short and long, alike and not."""
    def text():
        if rng.random() < 0.5:
            return "".join(rng.choice(CHARACTERS, rng.integers(0, 30)))
        return " ".join(rng.choice(WORDS, rng.integers(0, rng.choice([4, 30]))))

    references = [[text() for _ in range(rng.integers(1, 4))] for _ in range(rng.integers(1, 6))]
    if rng.random() < 0.5:                                      # as many for each segment
        references = [those[:1] for those in references]
    hypotheses = [those[0][:rng.integers(0, 60)] + text()[:8] if rng.random() < 0.6 else text() for those in references]
    return hypotheses, references


def theirs(hypotheses, references, tokenisation, smoothing):
    """sacrebleu wants the first references of all segments, then the second of all, with None where there is none."""
    metric = sacrebleu.BLEU(tokenize=tokenisation, smooth_method=smoothing)
    streams = [[those[i] if i < len(those) else None for those in references]
               for i in range(max(map(len, references)))]
    result = metric.corpus_score(hypotheses, streams)
    return (result.score, *result.precisions, result.bp, result.sys_len, result.ref_len), str(metric.get_signature())


@pytest.mark.parametrize("tokenisation", bleu.TOKENISATIONS)
@pytest.mark.parametrize("smoothing", bleu.SMOOTHINGS)
def test_sacrebleu_says_the_same(tokenisation, smoothing):
    rng, scores = np.random.default_rng(0), []
    for _ in range(300):
        hypotheses, references = drawn(rng)
        ours = bleu.corpus_bleu(hypotheses, references, tokenisation, smoothing)
        expected, signature = theirs(hypotheses, references, tokenisation, smoothing)
        assert (ours.score, *ours.precisions, *ours[2:5]) == pytest.approx(expected, rel=0, abs=1e-9)
        assert signature.startswith(f"{ours.signature}|version:")
        scores.append(ours.score)
    assert sum(score > 0 for score in scores) > 50              # or nothing was compared


def test_sacrebleu_makes_the_same_tokens_with_every_character():
    """Each between two letters, and beside digits; of the planes above 2, which have no range in zh, a few."""
    points = [chr(i) for i in (*range(0xD800), *range(0xE000, 0x30000), *range(0x30000, 0x110000, 997))]
    for tokenisation in bleu.TOKENISATIONS:
        metric = sacrebleu.BLEU(tokenize=tokenisation)
        for i in range(0, len(points), 1000):
            text = "".join(f" a{c}b 5{c}6 7{c} {c}8" for c in points[i:i + 1000])
            assert bleu.TOKENISATIONS[tokenisation](text) == metric._preprocess_segment(text).split()
