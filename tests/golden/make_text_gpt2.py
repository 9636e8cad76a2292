"""Make text_gpt2.json: what tiktoken and HF tokenizers, which must agree, make of texts that are hard to encode;
and the merges that HF tokenizers learns from these same texts.

    python tests/golden/make_text_gpt2.py FOLDER

FOLDER holds OpenAI's encoder.json and vocab.bpe; nothing is downloaded. Needs the packages tiktoken and tokenizers.
"""

import json
import sys
from importlib.metadata import version
from pathlib import Path

import tiktoken
import tokenizers
from tiktoken.load import data_gym_to_mergeable_bpe_ranks

END_OF_TEXT = "<|endoftext|>"
PATTERN = r"""'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""

TEXTS = [
    "", " ", "  ", "   ", "\n", "\n\n", "\n\n\n", " \n", "\n ", " \n \n ", "a  b", "a   b", "a \n b", "a\n\n\nb",
    "\t\ta", "\r\n\r\n",
    "a ", "a  ", "a\n", " " * 17 + "x", " " * 100, "\n" * 33, "x" + " " * 64 + "\n" * 5 + "\t" * 7 + "y",
    "To be, or not to be, that is the question:", "Hello, world!", "Hello World", "hello world", "HELLO WORLD",
    "I'm you're he's she'd we'll they've don't can't", "I'M YOU'RE HE'S DON'T", "'s's 't 're 've 'm 'll 'd", "'",
    "''", "'''s", "' s",
    "'sun 'tis 'red 'very 'most 'llama 'dog", "’s it’s don’t", "it's.it's,it's", "'rex 'v 'l 'r", "x'll've",
    "0 1 12 123 1234 12345 1234567890", "3.14159", "1,000,000.00", "2024-02-29T12:34:56Z", "٣٤٥ १२३ ๑๒๓ Ⅳ ½ ² ①",
    "1st 2nd x2 2x a1b2c3",
    "!!! ??? ... --- === /// ~~~~ ####", "a.b.c", "()[]{}<>", "foo(bar, *args, **kwargs)",
    "https://example.org/a?b=c&d=e#f", "C:\\path\\file", "a@b.org", "$5.00 €10 £20",
    "def f(x):\n    return x + 1\n\n\tif True:\n\t\tpass\n", "{\"key\": [1, 2, null]}", "<p class=\"x\">&nbsp;</p>",
    "café", "cafe\u0301", "e\u0301\u0302\u0303", "\u0301", " \u0301", "a\u0300\u0316b",
    "Z\u0351\u036b\u0343a\u0328\u034dl\u0363", "naïve Ångström Straße İstanbul ﬁ ŉ",
    "😀", " 😀😀", "👩‍👩‍👧‍👦", "🏳️‍🌈", "👍🏽", "🇩🇪🇯🇵", "❤️", "a😀b", "☃ ♥ ✓ ∑ → ∞", "𝕳𝖊𝖑𝖑𝖔", "𓀀𓁐", "\U0001f9ff\u200d",
    "السلام عليكم", "مرحبا بالعالم، ١٢٣", "الْعَرَبِيَّة", "שלום עולם", "שָׁלוֹם", "سلام‌علیکم",
    "สวัสดีชาวโลก", "ภาษาไทยไม่มีช่องว่าง", "ກຂ", "မြန်မာ", "ខ្មែរ", "नमस्ते दुनिया", "தமிழ்", "ಕನ್ನಡ", "বাংলা",
    "你好，世界！", "自注意力", "世", "世界", "我是一个学生。", "繁體中文", "「日本語」のテキスト、カタカナ",
    "한국어 텍스트", "각", "㍿ ㋿", "𠮷野家",
    "Привет, мир!", "Γειά σου Κόσμε", "Xin chào thế giới", "Բարեւ", "გამარჯობა",
    "\u3000", "a\u3000b", "\u3000\u3000全角", " \u3000 x", "\ufeff", "\ufeffBOM", "a\ufeffb", " \ufeff ", "\u00a0",
    "a\u00a0b", "\u00a0\u00a0x", "\u2003x\u2009y\u202fz", "\u2028\u2029", "\u200b", "a\u200bb",
    "\u200e\u200f\u202a\u202e", "\u00ad", "soft\u00adhyphen", "\u180e", "\u1680x", "\x85", "a\x85b",
    "\x1c\x1d\x1e\x1f", "a\x1cb", " \x1c x", "\x0b\x0c", "\x00", "a\x00b", "\x00\x00\x00", "\x1b[31mred\x1b[0m",
    "\x7f", "\x80\x9f",
    "\ufffd", "\uffff", "\ufffe", "\U0010ffff", "\ue000", "\ufdd0", "\U000e0001", "\ufe0f", "\u0378", "\u20ac\u20ac",
    "a" * 100, "ab" * 100, "世" * 50, "=" * 100, "." * 31, "_" * 9 + "x", "0" * 40, "é" * 40, "😀" * 20,
    "supercalifragilisticexpialidocious",
    "pneumonoultramicroscopicsilicovolcanoconiosis", "SolidGoldMagikarp petertodd rawdownload", "Ġ Ċ ĠĠ", "Ã©â€™",
    "\u0120the",
    "<|endoftext|>", "a<|endoftext|>b", "<|endoftext|><|endoftext|>", "<|endoftext|", "< |endoftext|>", "<|im_start|>",
    "The quick brown fox jumps over the lazy dog.\nThe quick brown fox jumps over the lazy dog.",
    "Macbeth\n\nACT I\n\nSCENE I. A desert place.\n\n  Thunder and lightning. Enter three Witches\n\n"
    "FIRST WITCH.\nWhen shall we three meet again?",
]
SPECIAL = [
    "<|endoftext|>", "a<|endoftext|>b", "<|endoftext|><|endoftext|>", "\n<|endoftext|>\n", " <|endoftext|> x",
    "<|endoftext|", "don<|endoftext|>'t", "a  <|endoftext|>  b",
]


def main(folder):
    encoder_json, vocab_bpe = str(Path(folder, "encoder.json")), str(Path(folder, "vocab.bpe"))
    ranks = data_gym_to_mergeable_bpe_ranks(vocab_bpe, encoder_json)
    openai = tiktoken.Encoding("gpt2", pat_str=PATTERN, mergeable_ranks=ranks, special_tokens={END_OF_TEXT: 50256})
    hf = tokenizers.Tokenizer(tokenizers.models.BPE.from_file(encoder_json, vocab_bpe))
    hf.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)

    texts = TEXTS + [chr(i) for i in range(256)] + [f"a{chr(i)}b {chr(i)}{chr(i)} c" for i in range(256)]
    golden = {
        "made_with": [f"tiktoken {version('tiktoken')}", f"tokenizers {version('tokenizers')}"],
        "texts": [{"text": text, "ids": agreed(text, openai.encode_ordinary(text), hf.encode(text).ids)}
                  for text in texts],
    }
    hf.add_special_tokens([END_OF_TEXT])
    golden["special"] = [
        {"text": text, "ids": agreed(text, openai.encode(text, allowed_special={END_OF_TEXT}), hf.encode(text).ids)}
        for text in SPECIAL]
    single = [openai.encode_single_token(bytes([byte])) for byte in range(256)]
    spelled = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    if {hf.token_to_id(symbol) for symbol in spelled} != set(single):
        sys.exit("tiktoken and HF tokenizers disagree on the ids of single bytes; nothing was written")
    golden["bytes"] = single
    golden["learned"] = learned(texts)

    lines = [f'"{key}": [\n' + ",\n".join(map(json.dumps, golden[key])) + "\n]" for key in golden]
    Path(__file__).with_name("text_gpt2.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
    print(f"text_gpt2.json: {len(texts)} texts, {len(SPECIAL)} with the special token, 256 bytes, "
          f"{len(golden['learned'])} merges learned")


def learned(texts):
    """All merges that HF tokenizers learns from pairs that occur twice, as its vocab.bpe would spell them."""
    model = tokenizers.Tokenizer(tokenizers.models.BPE())
    model.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    model.train_from_iterator(texts, tokenizers.trainers.BpeTrainer(
        vocab_size=10_000, min_frequency=2, initial_alphabet=alphabet, show_progress=False))
    return json.loads(model.to_str())["model"]["merges"]


def agreed(text, first, second):
    """The ids, if both agree on them."""
    if first != second:
        sys.exit(f"tiktoken and HF tokenizers disagree on {text!a}: {first} and {second}; nothing was written")
    return first


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
