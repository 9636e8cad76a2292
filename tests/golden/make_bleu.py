"""Make bleu.json: what sacrebleu says of corpora that are hard to score, and what it takes for a token.

    python tests/golden/make_bleu.py

Needs the package sacrebleu. The corpora are below; tests/peers/test_bleu.py draws others.
"""

import json
from importlib.metadata import version
from itertools import groupby
from pathlib import Path

from sacrebleu.metrics import BLEU

TOKENISATIONS, SMOOTHINGS = ("13a", "zh", "char", "none"), ("none", "floor", "add-k", "exp")

# Of each: (hypothesis, references) for every segment.
CORPORA = {
    "one reference": [
        ("The cat sat quietly on the old mat.", ["The cat sat on the old mat."]),
        ("He said that it would rain, and it did.", ["He said it would rain, and then it did."]),
        ("Nobody knows.", ["Nobody knew about it."])],
    "three references": [
        ("The committee agreed to meet again on Monday.",
         ["The committee decided to meet again on Monday.", "It was agreed that the committee meet on Monday.",
          "The members will meet again on Monday, they agreed."]),
        ("The the the the the the the.", ["The cat is on the mat.", "There is a cat on the mat.", "A cat sat there."])],
    "other numbers of references": [
        ("I have never been to Peking.", ["I have never been to Beijing.", "I never was in Peking."]),
        ("Where is the station?", ["Where is the railway station?"]),
        ("It was late, so we went home.", ["We went home, since it was late.", "As it was late we went home.",
                                           "It was late, so we left."])],
    "as close, and shorter": [
        ("one two three four five six", ["one two three four five", "one two three four five six seven"]),
        ("one two three four five six", ["one two three four five six seven eight", "one two three four"])],
    "much too short": [("Yes, I do think so.", ["Yes, I do think so, and I have thought so for a very long time."])],
    "much too long": [("Yes, I do think so, and I have thought so for a very long time.", ["Yes, I do think so."])],
    "perfect": [("All of it is right, to the letter.", ["All of it is right, to the letter."]),
                ("这 一句 也 对。", ["这 一句 也 对。"])],
    "no four match": [("It is a red house by the sea.", ["A red house is by our sea."]),
                      ("We saw a bird.", ["A bird we saw."])],
    "no three and no four match": [("a b x c d", ["a b y c d"])],
    "one word matches": [("alpha beta gamma delta", ["gamma one two three"])],
    "none is long enough for four": [("so it is", ["so it was"]), ("no", ["no"])],
    "nothing matches": [("quick brown foxes jump over", ["这里 没有 一样 的"]), ("7", ["8 9"])],
    "empty hypotheses": [("", ["There is something to say here."]), ("Well, there is something here.", ["Well, yes."]),
                         ("   ", ["And here.", "Or here, too."])],
    "all hypotheses empty": [("", ["Something."]), ("\t", ["Anything."])],
    "empty references": [("There was nothing to be said.", ["", "There was nothing to say."]), ("Not a word.", [""])],
    "nothing anywhere": [("", [""]), ("", ["", " "])],
    "Chinese": [("我喜欢读书，也喜欢看电影。", ["我喜欢看书，也爱看电影。", "我爱读书和看电影。"]),
                ("你昨天去哪儿了？", ["昨天你去了哪里？"]),
                ("——“自注意力”是什么？……", ["“自注意力”——是什么？"])],
    "Chinese and English": [
        ("他在GitHub上发布了v2.0版本(Python 3.10)，共3,500行。",
         ["他在 GitHub 发布了 v2.0 版（Python 3.10），共 3,500 行。"]),
        ("Transformer的参数量为1.5亿,学习率是0.001.", ["Transformer 有1.5亿个参数,学习率为0.001."]),
        ("㐂𠮷野家は東京にある、カタカナ", ["𠮷野家は東京にあります、カタカナ"])],
    "punctuation": [
        ("Mr. O'Neil's well-known U.S. firm paid $3.50-4, i.e. 3.7%!",
         ["Mr. O'Neil's firm (U.S.) paid $3.50 - 4: 3.7 %!"]),
        ("Wait... 1...2..3.4,5,,6 -- really?!", ["Wait ... 1.2.3.4,5,6 - really?"]),
        ("a/b [c] {d} e_f g^h `i` ~j \\k |l a@b.org #1 *2* x<y>z = +3;",
         ["a/b [c] {d} e_f g^h i ~j \\k l a@b.org # 1 2"]),
        ("1990-95 -5 9- .5 5. ,5 5,", ["1990 - 95 -5 9 - .5 5 . , 5 5 ,"])],
    "entities": [("&quot;R&amp;D&quot; &lt;b&gt; &amp;lt; &apos; &#39; &nbsp; &", ['"R&D" <b> &lt; \' & nbsp'])],
    "lines and blanks": [("a multi-\nline text <skipped>with\nbreaks-\n", ["a multiline text with breaks-"]),
                         ("　two　ideographic\u00a0blanks and\ttabs ", ["two ideographic blanks and tabs"])],
}
LINES = sorted({text for corpus in CORPORA.values() for hypothesis, references in corpus
                for text in (hypothesis, *references)})


def main():
    golden = {
        "made_with": [f"sacrebleu {version('sacrebleu')}"],
        "corpora": [{"name": name, "segments": segments} for name, segments in CORPORA.items()],
        "scores": [[name, tokenisation, smoothing, *score(segments, tokenisation, smoothing)]
                   for name, segments in CORPORA.items() for tokenisation in TOKENISATIONS for smoothing in SMOOTHINGS],
        "tokens": [[line, *(" ".join(tokens(line, tokenisation)) for tokenisation in ("13a", "zh"))] for line in LINES],
        "chinese": alone_in_zh(),
    }
    lines = [f'"{key}": [\n' + ",\n".join(json.dumps(entry, ensure_ascii=False) for entry in golden[key]) + "\n]"
             for key in golden]
    path = Path(__file__).with_name("bleu.json")
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    print(f"bleu.json: {len(golden['scores'])} scores, {len(LINES)} lines, {path.stat().st_size:,} bytes")


def score(segments, tokenisation, smoothing):
    """Score, precisions, brevity penalty, lengths and signature; sacrebleu wants the first references of all, ..."""
    metric = BLEU(tokenize=tokenisation, smooth_method=smoothing)
    most = max(len(references) for _, references in segments)
    streams = [[references[i] if i < len(references) else None for _, references in segments] for i in range(most)]
    result = metric.corpus_score([hypothesis for hypothesis, _ in segments], streams)
    signature = str(metric.get_signature()).removesuffix(f"|version:{version('sacrebleu')}")
    return result.score, result.precisions, result.bp, result.sys_len, result.ref_len, signature


def tokens(line, tokenisation):
    return BLEU(tokenize=tokenisation)._preprocess_segment(line).split()


def alone_in_zh():
    """The first and last code point of each range of characters that zh splits off, ASCII and blanks left aside."""
    points = [i for i in range(0x80, 0x110000) if not chr(i).isspace() and len(tokens(f"a{chr(i)}b", "zh")) == 3]
    runs = [list(run) for _, run in groupby(enumerate(points), key=lambda pair: pair[1] - pair[0])]
    return [[run[0][1], run[-1][1]] for run in runs]


if __name__ == "__main__":
    main()
