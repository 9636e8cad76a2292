"""Make tests/golden/tokenizers.json: small vocabularies, each with rules of its own, and the ids that Hugging Face's
tokenizers library gives to texts by them.

    python tests/golden/make_tokenizers.py          needs tokenizers
"""

import json
import random
from pathlib import Path

import tokenizers
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

OUT = Path(__file__).with_name("tokenizers.json")
TEXT = "the theme of the thé, there and then: thus they thought\nΗ γλώσσα είναι ελληνική\n" * 20
ALPHABET = "abthe TH  \n\téÉ\u0301ﬁ①Σσς世😀[]<>|_XPAD.,"


def vocabulary(special=(), alphabet=True, **options):
    """A BPE learned from TEXT."""
    tokenizer = Tokenizer(models.BPE(**options))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    initial = pre_tokenizers.ByteLevel.alphabet() if alphabet else []
    tokenizer.train_from_iterator([TEXT], trainers.BpeTrainer(
        vocab_size=len(special) + (276 if alphabet else 60), special_tokens=list(special), initial_alphabet=initial,
        show_progress=False))
    return tokenizer


def plain():
    return vocabulary(["<|endoftext|>"])


def prefix_space():
    tokenizer = vocabulary(["<s>", "</s>"])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return tokenizer


def normalised():
    tokenizer = vocabulary()
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    return tokenizer


def decomposed():
    tokenizer = vocabulary()
    tokenizer.normalizer = normalizers.NFD()
    return tokenizer


def added():
    tokenizer = vocabulary(["<|endoftext|>"])
    tokenizer.add_special_tokens(["[PAD]", AddedToken("<m>", lstrip=True, rstrip=True)])
    tokenizer.add_tokens(["the", "世", "[X]", "[X", AddedToken("he", single_word=True), AddedToken("TH", lstrip=True),
                          AddedToken("b", rstrip=True), AddedToken("AD", normalized=False), "  "])
    return tokenizer


def added_and_normalised():
    tokenizer = vocabulary()
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.add_tokens([AddedToken("TH", normalized=True), AddedToken("PAD", normalized=False),
                          AddedToken("Σ", normalized=True, rstrip=True), AddedToken("é", normalized=True)])
    return tokenizer


def unknown():
    return vocabulary(["<unk>", "</s>"], alphabet=False, unk_token="<unk>")


def fused_unknown():
    return vocabulary(["<unk>", "</s>"], alphabet=False, unk_token="<unk>", fuse_unk=True)


def main():
    rng = random.Random(0)
    texts = ["", " ", "\n", "the theme", "the <|endoftext|> thé", "[PAD]<m>  <m> x", "  the  he, the", "ΑΣ Σ",
             "É e\u0301", "[X[X]", "b  bTH  TH",
             *("".join(rng.choices(ALPHABET, k=rng.randrange(1, 16))) for _ in range(60))]
    cases = {}
    for make in (plain, prefix_space, normalised, decomposed, added, added_and_normalised, unknown, fused_unknown):
        tokenizer = make()
        ids = [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
        cases[make.__name__] = {"tokenizer": json.loads(tokenizer.to_str()), "ids": ids}
    OUT.write_text(json.dumps({"texts": texts, "cases": cases}, ensure_ascii=False) + "\n", encoding="utf-8")
    print(tokenizers.__version__, OUT.stat().st_size)


if __name__ == "__main__":
    main()
