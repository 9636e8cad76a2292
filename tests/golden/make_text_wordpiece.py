"""Make text_wordpiece.json: what the tokenizers library and transformers, which must agree, make of texts that are hard
for BERT's tokenizer, and what the library makes of every code point.

    python tests/golden/make_text_wordpiece.py

Needs the packages tokenizers and transformers; nothing is downloaded. The vocabularies are made here from the texts
themselves: `large` has every character that the texts have or become, at the beginning of a word and further on, so
that no difference hides behind [UNK], and parts of words; `small` has few, so that there are many [UNK].
"""

import hashlib
import json
import random
import sys
import tempfile
import unicodedata
from collections import Counter
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path

from tokenizers import BertWordPieceTokenizer, Tokenizer, models, normalizers, pre_tokenizers
from transformers import BertTokenizerFast

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
OPTIONS = [                             # by the names of tokenizer_config.json
    {"do_lower_case": True}, {"do_lower_case": False}, {"do_lower_case": True, "strip_accents": False},
    {"do_lower_case": False, "strip_accents": True}, {"do_lower_case": True, "tokenize_chinese_chars": False},
]

TEXTS = [
    # white space and nothing
    "", " ", "   ", "\n", "\r\n", "\t", "a", " a ", "a b", "a  b", "a\tb\nc\r\nd", "\u3000", "a\u3000b",
    "\u00a0a\u00a0", "a\u2003b\u2009c\u202fd\u205fe\u1680f", "a\u2028b\u2029c", "a\x0bb", "a\x0cb",
    "a\x1cb\x1dc\x1ed\x1fe", "a\x85b", "\u180ea\u180e", "a\u200bb", "\ufeffa\ufeffb", "a\u2060b", " \u3000 \n ",
    # control characters, what is no character, private use, unassigned
    "a\x00b", "\x00", "a\ufffdb", "\ufffd", "a\x7fb", "a\x9fb", "\x1b[31mred\x1b[0m", "soft\u00adhyphen",
    "a\u200db", "a\u200eb\u202ec", "a\ue000b", "a\U000f0000b", "a\U0010ffffb", "a\uffffb", "a\ufdd0b", "a\u0378b",
    "a\u0380b", "a\u05ffb", "a\U000e0001b", "a\U000e0100b", "\u0378", "a \u0378 b", "\u2065", "a\ufff0b",
    "a\U0001fffeb",
    # English
    "Hello, world!", "hello world", "HELLO WORLD", "HeLLo WoRLD", "The quick brown fox jumps over the lazy dog.",
    "Unaffable, unbelievable, untokenizable!", "To be, or not to be, that is the question:",
    "I'm you're he's she'd", "don't can't won't it's o'clock 'tis", "rock'n'roll", "U.S.A. and U.K.",
    "e.g., i.e., etc.", "Mr. O'Neill-Smith", "well-known state-of-the-art", "and/or", "snake_case_name",
    "CamelCaseName", "x1 2y 3.14 1,000,000 1e-5", "$5.00 50% #1 @home a&b a*b a+b a=b",
    "(a) [b] {c} <d> \"e\" 'f' `g` ~h ^i |j \\k", "...", "---", "!?!?", "a...b", "https://example.org/a?b=c&d=e#f",
    "someone@example.org", "def f(x):\n    return x + 1\n", "{\"key\": [1, 2, null]}", "<p class=\"x\">&nbsp;</p>",
    "C:\\path\\file", "2024-02-29T12:34:56Z", "1st 2nd 3rd", "AT&T", "R&D", "C++ C#",
    "supercalifragilisticexpialidocious", "pneumonoultramicroscopicsilicovolcanoconiosis", "aaaaaaaaaa", "abababab",
    # words of 100 characters and more, before and after the preparation
    "a" * 99, "a" * 100, "a" * 101, "b" + "a" * 99 + " b", "é" * 100, "é" * 101, "e\u0301" * 100, "e\u0301" * 101,
    "한" * 33, "한" * 34, "한" * 51, "İ" * 50, "İ" * 100, "İ" * 101, "a" * 100 + "," + "a" * 101 + "," + "a" * 100,
    "a" * 60 + "\u200b" + "a" * 40, "a" * 60 + "\u200b" + "a" * 41, "\U0001d400" * 100, "\U0001d400" * 101,
    "世" * 101, "世" + "a" * 101 + "界", "." * 200, "-" * 101 + "a", "\u0301" * 101, "a" + "\u0301" * 200,
    # accents
    "café", "cafe\u0301", "Café CAFÉ", "naïve Ångström", "\u0301", " \u0301 ", "a \u0301b", "\u0301a",
    "a\u0300\u0316b", "a\u0316\u0300b", "Z\u0351\u036b\u0343a\u0328\u034dl\u0363", "ÀÈÌÒÙ àèìòù",
    "Łódź Žižek ħ đ ø", "Straße STRASSE ẞ", "æ œ Æ Œ ĳ ŉ ǆ ǅ", "ﬁ ﬂ ﬀ ﬃ ﬅ", "İstanbul ISPARTA ıspanak",
    "i\u0307 I\u0307", "ὈΔΥΣΣΕΎΣ Ὀδυσσεύς", "ΟΔΟΣ οδος", "Σ", "ΣΑΣ ΣΑΣ. Σ.Σ", "ΣΣΣ ςσΣ", "ΑΣ\u0301",
    "Ά ά Ὰ ᾼ ᾳ ᾈ ᾀ ῼ", "\u0345 ͺ ι", "Ώ\u0345", "ΐ ΰ", "\u037e \u0387", "Kelvin K Ohm Ω Ångström Å", "ſ ẛ ẛ̣",
    "Đặng Nguyễn Việt Nam tiếng", "đ̃", "ñ Ñ n\u0303", "ç Ç c\u0327", "ő ű Ő Ű", "\u1e9e\u0301", "ǰ ẖ ẗ ẘ ẙ ẚ",
    "≠ ≮ ≯ ∄ ⇎", "= \u0338=", "`\u0301 ΅ ´ ¨", "\u1fef \u1ffd", "½ ² ① Ⅳ ⅳ Ⓐ ⓐ",
    # marks that are no accents, and their order
    "का कि की कु", "नमस्ते दुनिया", "हिन्दी", "தமிழ்", "ಕನ್ನಡ", "বাংলা", "ไทย กำ ก่ ก้", "ກຳ", "မြန်မာ", "ខ្មែរ", "བོད",
    "\u302e\u1b44", "\u1b44\u302e", "a\U0001d16d\U0001d165b", "a\U0001d165\U0001d16db", "가\u302e\u302f",
    "\u302f\u1b44\u0301", "\U0001d15e \U0001d160 \U0001d1bb", "a\u0300\u302e\u1b44\u0316b", "\ua953\u302e",
    "\u20dd a\u20dd \u0488", "\u1baa\u302e", "a\u302e\u200b\u1b44b", "\u0f43 \u0f73 \u0f76", "\u0958 \u09dc",
    "\ufb1d \ufb2a שׁ", "ゞ ヾ が ガ か\u3099 ｶﾞ",
    # other scripts
    "Привет, мир!", "ПРИВЕТ Ёлка йод Й й", "Ѐ ѐ Ї ї", "Γειά σου Κόσμε", "Բարեւ Ձեզ", "եւ և", "გამარჯობა ᲒᲐ Ⴀⴀ",
    "שלום עולם", "שָׁלוֹם", "السلام عليكم", "مرحبا بالعالم، ١٢٣؟", "الْعَرَبِيَّة", "سلام‌علیکم", "آ أ إ ؤ ئ",
    "\ufefb \ufdfa", "ܫܠܡܐ", "አማርኛ።", "ᚠᚢᚦ", "ᏣᎳᎩ Ꭰ ꭰ", "ᠮᠣᠩ᠋", "𐐀𐐨", "𝕳𝖊𝖑𝖑𝖔", "ＡＢＣ ａｂｃ １２３！", "ᵃ ª º ™",
    "𐍈", "𒀀", "안녕하세요, 세계!", "각 ᄀ\u1161\u11a8 \u1100\u1161", "한국어 텍스트", "ㄱㄴ ㅏ", "Tiếng Việt",
    "Ǆ Ǉ Ǌ", "ꙮ Ꙩ ꙩ", "Ȿ ɐ Ɐ",
    # Chinese and Japanese
    "你好，世界！", "自注意力机制", "世", "世界", "我是一个学生。", "繁體中文", "我喜欢Python和C++。",
    "今天是2024年2月29日，星期四。", "价格为￥100.00（含税）", "“引号”和‘单引号’", "《红楼梦》——曹雪芹", "省略号……",
    "、。，；：？！", "床前明月光，疑是地上霜。", "Tom是我的朋友", "T恤 卡拉OK", "「日本語」のテキスト、カタカナ。",
    "東京タワー", "ひらがな カタカナ 漢字", "ー〜・", "々〆〇", "㍿ ㋿ ㈱ ㊙", "𠮷野家", "𪚥𪜀𫝀", "豈更車",
    "\uf900\u8c48", "\U0002f800\U0002fa1d", "\u2f00 \u2e80", "\u3105\u3106", "\u31c0", "⼀一", "世\u0301界",
    "世\u200b界", "世a界b", "a世b", "世1界2", "，a，", "\u3400\u4dbf",
    "\u33ff\u3400\u4dbf\u4dc0\u4dff\u4e00\u9fff\ua000", "\uf8ff\uf900\ufaff\ufb00",
    "\U0001ffff\U00020000\U0002a6d6\U0002a6df\U0002a6e0",
    "\U0002a6ff\U0002a700\U0002b734\U0002b73f\U0002b740\U0002b81d\U0002b81f\U0002b820",
    "\U0002b820a\U0002b91f\U0002b920\U0002cea1\U0002ceaf\U0002ceb0", "\U0002f7ff\U0002f800\U0002fa1f\U0002fa20",
    "\ufa0e\ufa1f\ufa70",
    # signs
    "☃ ♥ ✓ ∑ → ∞", "a→b", "a∑b", "© ® ™ § ¶ † ‡ •", "a§b a¶b", "¿qué? ¡sí!", "« a » ‹ b ›", "“a” ‘b’ „c‟",
    "a–b—c―d", "a‐b‑c", "…a…", "€10 £20 ¥30 ¢5", "a€b a£b a¥b", "° ′ ″ ‰ ‱", "a·b a‧b a・b a•b", "٪ ، ؛ ؟ ۔", "। ॥",
    "。｡ ，､ ！", "〈a〉《b》", "﹏ ﹐ ﹑ ﹒", "a_b a‿b a﹏b", "^a^ ~b~ |c| <d> =e= +f+ $g$ `h`",
    "a^b~c|d<e>f=g+h$i`j", "¬ ± × ÷ a×b", "˜ ˆ ¯ ¸ ˙", "№ ℃ Å", "\u2052 \u2e3a \u2e42", "😀", "a😀b", "👩‍👩‍👧‍👦",
    "🏳️‍🌈", "👍🏽", "🇩🇪🇯🇵", "❤️ ❤", "☺️", "1️⃣", "😀😀 😀,😀",
    # the spelling of pieces, and names of pieces, in a text
    "##ing", "## ing", "a##b", "# #", "##", "[unused1]", "[ CLS ]", "[cls]", "[Mask]", "[CLS", "CLS]", "[MASKS]",
    "[CLS] a [SEP]", "a[MASK]b", "[MASK][MASK]", "[UNK]", "[PAD] [pad]", "\u200b[MASK]", "[MA\u200bSK]", "［MASK］",
    "[MASK].",
    # no letter of it known
    "ꙮꙮꙮ", "a𓀀b", "𓀀 𓁐", "\u2603\u2603", "zzzz qqqq",
]
WITH_SPECIAL = [
    "[CLS]", "[MASK]", "a [MASK] b", "a[MASK]b", "[MASK][MASK]", "[CLS] a b [SEP] c [SEP]", "床前明[MASK]光",
    "[UNK] [PAD]", "[mask] [Mask]", "[[MASK]]", "[MASK", "MASK]", "[CLS][SEP]", " [MASK] ", "don[SEP]'t",
    "un[MASK]able", "e[MASK]\u0301", "[MA\u200bSK]", "[MASK]\u0301a", "[CLS]世[SEP]界",
    "Hello [MASK], world [MASK].", "\n[SEP]\n",
]
PAIRS = [
    ("Hello, world!", None), ("", None), ("", ""), ("a", ""), ("", "a"), ("Unaffable words", "are unbelievable, too."),
    ("你好，世界！", "Hello"), ("a b c d e", "a b c d e"), ("a b", "a b c d e f g"), ("a b c d e f g", "a b"),
    ("a b c d e f", "a b c d e"), ("a", "a b c d e f g h"), ("word-by-word it's", "U.S. U.K."),
    (["Hello,", "world!"], None), (["U.S.", "", "is", "\u200b", "Unaffable", "世界"], ["don't", "Mary-Ann"]),
    (["a", "b c", "d"], ["e"]), ([], ["a"]), (["x\u0378y", "a" * 101], None),
]
LENGTHS = [2, 3, 4, 5, 6, 8, 9, 12]
CUTS = ["longest_first", "only_first", "only_second"]


def main():
    points = code_points()
    texts = TEXTS + samples(points)
    vocabularies = {"large": large(texts), "small": small(texts)}
    golden = {"made_with": [f"tokenizers {version('tokenizers')}", f"transformers {version('transformers')}",
                            f"Unicode {unicodedata.unidata_version}"],
              **vocabularies, "texts": texts, "encoded": [], "special": [], "pairs": [], **points}
    for name, options in [("large", options) for options in OPTIONS] + [("small", OPTIONS[0])]:
        library, hugging_face, plain = peers(vocabularies[name], options)
        ids = [plain.encode(text).ids for text in texts]
        for text, expected in zip(texts, ids):
            if not any(special in text for special in SPECIAL):         # which the two take for the special piece
                agreed(text, expected, library.encode(text, add_special_tokens=False).ids,
                       hugging_face(text, add_special_tokens=False)["input_ids"])
        golden["encoded"].append({"vocabulary": name, "options": options, "ids": ids})
    library, hugging_face, _ = peers(vocabularies["large"], OPTIONS[0])
    for text in WITH_SPECIAL:
        encoded = library.encode(text, add_special_tokens=False)
        agreed(text, encoded.ids, hugging_face(text, add_special_tokens=False)["input_ids"])
        golden["special"].append({"text": text, "ids": encoded.ids, "words": encoded.word_ids})
    golden["pairs"] = [pair(library, hugging_face, first, second) for first, second in PAIRS]
    Path(__file__).with_name("text_wordpiece.json").write_text(written(golden))
    print(f"text_wordpiece.json: {len(texts)} texts, each {len(golden['encoded'])} times; {len(WITH_SPECIAL)} with "
          f"special pieces; {len(PAIRS)} pairs, each cut in many ways; {0x110000 - 0x800:,} code points")


def peers(pieces, options):
    """The library's tokenizer, transformers' and the library's again, to which no piece is special."""
    ids = {piece: i for i, piece in enumerate(pieces)}
    ours = {"lowercase": options["do_lower_case"], "strip_accents": options.get("strip_accents"),
            "handle_chinese_chars": options.get("tokenize_chinese_chars", True)}
    plain = Tokenizer(models.WordPiece(ids, unk_token="[UNK]", max_input_chars_per_word=100))
    plain.normalizer = normalizers.BertNormalizer(**ours)
    plain.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "vocab.txt").write_bytes("".join(f"{piece}\n" for piece in pieces).encode())
        Path(folder, "tokenizer_config.json").write_text(json.dumps(options | {"tokenizer_class": "BertTokenizer"}))
        return BertWordPieceTokenizer(ids, **ours), BertTokenizerFast.from_pretrained(folder), plain


def agreed(text, first, *others):
    """End where the peers disagree."""
    if any(other != first for other in others):
        sys.exit(f"the peers disagree on {text!a}: {first} and {others}; nothing was written")


def parts(texts, lower, count):
    """The most frequent parts of words, of up to 8 letters; ties in alphabetical order: each run gives the same."""
    cut, counts = words_of(lower), Counter()
    for text in texts:
        for word in cut(text):
            counts.update("##" * (start > 0) + word[start:end] for start in range(min(len(word), 20))
                          for end in range(start + 1, min(len(word), start + 8) + 1))
    return sorted(counts, key=lambda part: (-counts[part], part))[:count]


def large(texts):
    """The special pieces, every character that the texts have or become but four, and many parts of words."""
    prepared = [unicodedata.normalize(form, text.lower()) for text in texts for form in ("NFC", "NFD")]
    characters = sorted({c for text in [*texts, *prepared] for c in text if not c.isspace()} - set("ꙮ𓀀𓁐☃"))
    pieces = [*SPECIAL, *characters, *(f"##{c}" for c in characters)]
    for lower in (True, False):
        pieces += parts(texts, lower, 1500)
    return [piece for piece in dict.fromkeys(pieces) if piece.removeprefix("##") not in set("ꙮ𓀀𓁐☃")]


def small(texts):
    """Few parts of words, and the special pieces between them: most words are [UNK]."""
    pieces = parts(texts, True, 150)
    for at, special in zip((0, 3, 50, 51, 140), SPECIAL):
        pieces.insert(at, special)
    return pieces


def pair(library, hugging_face, first, second):
    """A pair, or one text, as BERT reads it, cut in many ways: ids, segments, words; None where the library refuses."""
    cases, specials = [], 2 if second is None else 3
    for cut in CUTS:
        # Where there is no room for a text, the library does not keep to the way of cutting, or does not cut at all.
        lengths = [n for n in LENGTHS if n >= specials + (cut != "longest_first")]
        for room in lengths if cases else [10**6, *lengths]:
            library.enable_truncation(room, strategy=cut)
            row = {"max_length": room, "cut": cut, "ids": None}
            cases.append(row)
            try:
                encoded = library.encode(first, second, is_pretokenized=isinstance(first, list))
            except Exception as error:                  # the library has no class of its own for it
                if "Truncation error" not in str(error):
                    raise
                continue
            row |= {"ids": encoded.ids, "segments": encoded.type_ids, "words": encoded.word_ids}
            if second != "":                            # which transformers takes for none
                theirs = hugging_face(first, second, is_split_into_words=isinstance(first, list), max_length=room,
                                      truncation=cut)
                agreed(row, [row["ids"], row["segments"], row["words"]],
                       [theirs["input_ids"], theirs["token_type_ids"], theirs.word_ids()])
    return {"first": first, "second": second, "cases": cases}


# ---- every code point

def code_points():
    """What the library makes of every code point, as ranges, both ends included.

    removed, space          cleaned away; taken for white space
    alone, alone_uncased    a word by itself, as it is, and as it becomes where accents and capitals go
    marks                   removed where accents go
    becomes                 what others become where accents and capitals go; but Hangul, of which there is a digest
    unassigned              to the Unicode of the Python that ran this
    otherwise               not what the tables of that Python say, since the library's are those of Unicode 8
    """
    clean = normalizers.BertNormalizer(handle_chinese_chars=False, strip_accents=False, lowercase=False).normalize_str
    marks = normalizers.BertNormalizer(False, False, True, False).normalize_str
    uncased = normalizers.BertNormalizer(handle_chinese_chars=False, strip_accents=True, lowercase=True).normalize_str
    cut = {lower: words_of(lower) for lower in (False, True)}
    found = {name: [] for name in ("removed", "space", "alone", "alone_uncased", "marks", "unassigned", "otherwise")}
    becomes, hangul = {}, hashlib.sha256()
    for code in range(0x110000):
        if 0xD800 <= code < 0xE000: continue
        c = chr(code)
        if clean(c) == "": found["removed"].append(code)
        if clean(c) == " ": found["space"].append(code)
        if clean(c) == c and marks(c) == "": found["marks"].append(code)
        for name, lower in (("alone", False), ("alone_uncased", True)):
            if len(cut[lower](f"a{c}b")) == 3: found[name].append(code)
        if 0xAC00 <= code < 0xD7A4:
            hangul.update(uncased(c).encode())
        elif uncased(c) not in (c, "", " "):
            becomes[f"{code:x}"] = uncased(c)
        if unicodedata.category(c) == "Cn": found["unassigned"].append(code)
        if any(cut[lower](f"a{c}b") != defined(c, lower) for lower in cut): found["otherwise"].append(code)
    return {**{name: ranges(codes) for name, codes in found.items()}, "becomes": becomes, "hangul": hangul.hexdigest()}


def words_of(lower):
    """A function: the words that the library makes of a text."""
    prepare = normalizers.BertNormalizer(lowercase=lower).normalize_str
    cut = pre_tokenizers.BertPreTokenizer().pre_tokenize_str
    return lambda text: [word for word, _ in cut(prepare(text))]


def defined(c, lower):
    """The words of a character between two letters, by the definition and this Python's tables."""
    def category(character):
        return unicodedata.category(character)

    def sign(character):
        return category(character)[0] == "P" or character in "$+<=>^`|~"

    if c in "\t\n\r" or category(c)[0] == "Z":
        return ["a", "b"]
    if c in "\0\ufffd" or category(c) in ("Cc", "Cf", "Co"):
        return ["ab"]
    chinese = any(low <= ord(c) <= high for low, high in (
        (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x2A6DF), (0x2A700, 0x2B81F),
        (0x2B920, 0x2CEAF), (0x2F800, 0x2FA1F)))
    if lower:
        c = "".join(x for x in unicodedata.normalize("NFD", c) if category(x) != "Mn").lower()
    return ["a", c, "b"] if chinese or (len(c) == 1 and sign(c)) else [f"a{c}b"]


def ranges(codes):
    """The first and last of each run of numbers."""
    starts = [0, *(i for i, (a, b) in enumerate(pairwise(codes), 1) if b != a + 1)] if codes else []
    return [[codes[start], codes[end - 1]] for start, end in zip(starts, [*starts[1:], len(codes)])]


def samples(points):
    """Texts of characters drawn from those that change, that are words by themselves, and from all.

    Without those that the library takes otherwise than today's Unicode.
    """
    draw, texts = random.Random(0), []
    left_out = {code for name in ("otherwise", "unassigned") for low, high in points[name]
                for code in range(low, high + 1)}
    alone = [code for low, high in points["alone"] if high - low < 1000 for code in range(low, high + 1)]
    anything = [code for code in range(0x110000) if not 0xD800 <= code < 0xF900 and code < 0xE0000]
    for group, count in (([int(code, 16) for code in points["becomes"]], 50), (alone, 30), (anything, 60)):
        drawn = draw.sample([code for code in group if code not in left_out], count)
        texts += [f"a{chr(i)}b {chr(i)} {chr(i)}{chr(i)}" for i in sorted(drawn)]
    return texts


def written(golden):
    """The JSON, one row of a list a line."""
    def dumps(value):
        return json.dumps(value, separators=(",", ":"))

    rows = {"texts", "encoded", "special", "pairs"}
    return "{\n" + ",\n".join(
        f'"{key}": ' + ("[\n" + ",\n".join(map(dumps, value)) + "\n]" if key in rows else dumps(value))
        for key, value in golden.items()) + "\n}\n"


if __name__ == "__main__":
    main()
