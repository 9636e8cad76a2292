"""`python -m gpt2np.text` and `python -m gpt2np.train_tokenizer`: what they print, and how they take bad input."""

import io
import os
import subprocess
import sys

import pytest

from gpt2np import train_tokenizer
from gpt2np.terminal import printable
from gpt2np.text import __main__ as explain
from gpt2np.text.bpe import Tokenizer
from gpt2np.text.ruled import RuledTokenizer
from gpt2np.text.rules import AddedToken, Rules
from gpt2np.text.vocab_txt import SPECIAL
from gpt2np.text.vocabulary import BYTE_TOKENS, END_OF_TEXT
from gpt2np.text.wordpiece import WordPiece

SENTENCE = """\
␣lower   20 6c 6f 77 65 72
    ␣ l o w e r
    ␣ l o w er   (merge 7: e + r)
    ␣l o w er   (merge 44: ␣ + l)
    ␣l ow er   (merge 66: o + w)
    ␣l ower   (merge 533: ow + er)
    ␣lower   (merge 2537: ␣l + ower)
    = ␣lower 2793
世
e4 b8 96
    <e4> <b8> <96>
    <e4><b8> <96>   (merge 10054: <e4> + <b8>)
    = <e4><b8> 10310  <96> 244
"""


def run(*arguments, module="gpt2np.text", **options):
    """A command in a process of its own: its output and its errors come back as bytes."""
    return subprocess.run([sys.executable, "-m", module, *arguments], capture_output=True, timeout=60, **options)


def piped(monkeypatch, data):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


# ---- what it shows

def test_it_shows_pieces_bytes_merges_and_ids(capsys):
    assert explain.main([" lower!世"]) == 0
    before, after = SENTENCE.split("世\n")
    assert capsys.readouterr().out == (before + "!   21\n    = ! 0\n" + "世\n" + after +
                                       "8 characters, 10 bytes, 3 pieces, 4 tokens\n2793 0 10310 244\n")


def test_words_without_quotes_are_one_text(capsys):
    assert explain.main(["To", "be"]) == 0
    assert capsys.readouterr().out.endswith("5 characters, 5 bytes, 2 pieces, 2 tokens\n2514 307\n")


@pytest.mark.parametrize("data", ["世\n", "世\r\n", "\ufeff世\n", "\ufeff世\r\n"])
def test_standard_input_is_read_without_what_a_pipe_on_windows_adds(capsys, monkeypatch, data):
    piped(monkeypatch, data.encode())
    assert explain.main([]) == 0
    assert capsys.readouterr().out.endswith("\n10310 244 198\n")


def test_a_mark_or_a_return_that_is_typed_is_text(capsys):
    assert explain.main(["a\r\ufeffb"]) == 0
    assert capsys.readouterr().out.endswith("\n64 201 171 119 123 65\n")


CHINESE = """\
自       注       意       力
e8 87 aa e6 b3 a8 e6 84 8f e5 8a 9b
"""
NARROW = """\
自       注
e8 87 aa e6 b3 a8
意       力
e6 84 8f e5 8a 9b
"""
MIXED = """\
␣  c  a  f  é     s
20 63 61 66 c3 a9 73
"""


@pytest.mark.parametrize("text, columns, expected", [
    ("自注意力", 80, CHINESE), ("自注意力", 35, CHINESE), ("自注意力", 34, "自       注       意\n"),
    ("自注意力", 20, NARROW), (" cafés", 80, MIXED),
    ("\u0301\u200b", 80, "\u0301      <e2><80><8b>\ncc 81 e2 80 8b\n")])
def test_a_character_stands_over_its_bytes(capsys, monkeypatch, text, columns, expected):
    monkeypatch.setattr(explain, "width", lambda: columns)
    assert explain.main([text]) == 0
    assert capsys.readouterr().out.startswith(expected)


def test_nothing_at_all_has_no_tokens(capsys, monkeypatch):
    piped(monkeypatch, b"")
    assert explain.main([]) == 0
    assert capsys.readouterr().out == "0 characters, 0 bytes, 0 pieces, 0 tokens\n\n"


def test_the_special_token_is_asked_for(capsys):
    assert explain.main([END_OF_TEXT]) == 0
    assert capsys.readouterr().out.endswith("\n27 91 437 1659 5239 91 29\n")
    assert explain.main(["--special", END_OF_TEXT]) == 0
    assert capsys.readouterr().out.endswith("\n50256\n")


def test_many_merges_are_not_shown_one_by_one(capsys):
    assert explain.main(["a" * 200]) == 0
    assert "    ... 150 merges ...\n" in capsys.readouterr().out


def test_control_characters_do_not_reach_the_terminal():
    assert printable(b"\x1b[31m\n\x00\x7f") == "<1b>[31m\\n<00><7f>"
    assert printable("\u202e\u00a0\ufeff".encode()) == "<e2><80><ae><c2><a0><ef><bb><bf>"


def test_colour_marks_what_a_merge_made():
    tokenizer = Tokenizer.gpt2()
    lines = list(explain.explanation(tokenizer.explain(" lower")[0], tokenizer, colour=True))
    assert lines[2] == "    ␣ l o w \x1b[1;32mer\x1b[0m   (merge 7: e + r)"
    plain = list(explain.explanation(tokenizer.explain(" lower")[0], tokenizer, colour=False))
    assert "\x1b" not in "".join(plain)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal, which Windows does not have")
@pytest.mark.parametrize("environment, coloured", [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)])
def test_colour_is_for_terminals_and_can_be_refused(environment, coloured):
    terminal, end = os.openpty()
    try:
        plain = {name: value for name, value in os.environ.items() if name != "NO_COLOR"} | {"TERM": "xterm"}
        subprocess.run([sys.executable, "-m", "gpt2np.text", "he"], stdout=end, env=plain | environment, check=True)
        assert (b"\x1b" in os.read(terminal, 10_000)) is coloured
    finally:
        os.close(terminal)
        os.close(end)


def test_a_pipe_gets_no_colour_and_ascii_gets_escapes():
    plain = run("世", env=os.environ | {"LC_ALL": "C", "PYTHONUTF8": "1"})
    assert (plain.returncode, plain.stderr) == (0, b"")
    assert "世\ne4 b8 96" in plain.stdout.decode() and b"\x1b" not in plain.stdout
    ascii_only = run(" 世", env=os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"})
    assert (ascii_only.returncode, ascii_only.stderr) == (0, b"")
    assert ascii_only.stdout.startswith(b"\\u2423  \\u4e16\n20 e4 b8 96\n")


def test_help_needs_no_unicode():
    for module in ("gpt2np.text", "gpt2np.train_tokenizer"):
        done = run("--help", module=module, env=os.environ | {"PYTHONIOENCODING": "ascii"})
        assert (done.returncode, done.stderr) == (0, b"")


def test_a_closed_pipe_is_no_error_message():
    process = subprocess.Popen([sys.executable, "-m", "gpt2np.text", "word " * 20_000],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(60) == 1


# ---- of words, with a vocab.txt

WORDS = """\
Unaffäble,   unaffable ,
    unaffable = un + ##aff + ##able
    = un 5  ##aff 6  ##able 7  , 8
世界！   世 界 ！
    界 = ? = [UNK], since no piece fits at 界
    ！ = ? = [UNK], since no piece fits at ！
    = 世 9  [UNK] 1  [UNK] 1
[MASK]   [ mask ]
    [ = ? = [UNK], since no piece fits at [
    mask = ? = [UNK], since no piece fits at mask
    ] = ? = [UNK], since no piece fits at ]
    = [UNK] 1  [UNK] 1  [UNK] 1
unx   unx
    unx = un + ? = [UNK], since no piece fits at x
    = [UNK] 1
<e2><80><8b>   is removed
27 characters, 9 words, 11 tokens
5 6 7 8 9 1 1 1 1 1 1
"""


@pytest.fixture
def words(tmp_path):
    WordPiece([*SPECIAL, "un", "##aff", "##able", ",", "世"]).save(tmp_path / "words")
    return tmp_path / "words"


def test_it_shows_words_pieces_and_ids(capsys, words):
    """With the folder or with the file."""
    for path in (words, words / "vocab.txt"):
        assert explain.main(["--vocab", str(path), "Unaffäble, 世界！ [MASK] unx\n\u200b"]) == 0
        assert capsys.readouterr().out == WORDS


def test_special_pieces_are_asked_for(capsys, words):
    assert explain.main(["--special", "--vocab", str(words), END_OF_TEXT]) == 0
    sep = WordPiece.load(words).sep
    assert capsys.readouterr().out.endswith(f"1 word, 1 token\n{sep}\n")
    assert explain.main(["--special", "--vocab", str(words), "un[MASK]"]) == 0
    assert capsys.readouterr().out == (
        "un   un\n    = un 5\n[MASK]   [MASK]\n    = [MASK] 4\n8 characters, 2 words, 2 tokens\n5 4\n")


def test_the_options_beside_a_vocabulary_are_kept(capsys, words):
    (words / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    assert explain.main(["--vocab", str(words), "Un"]) == 0
    assert capsys.readouterr().out.endswith("\n1\n")


def test_a_word_that_is_too_long_says_so(capsys, words):
    assert explain.main(["--vocab", str(words), "un" * 51]) == 0
    assert f"\n    {'un' * 51} = [UNK], with more than 100 characters\n" in capsys.readouterr().out


def test_a_folder_with_a_bpe_too_is_of_the_bpe(capsys, words):
    """Unless tokenizer_config.json says that it is not: then nobody knows what the model was trained with."""
    Tokenizer([(b"u", b"n")]).save(words)
    assert explain.main(["--vocab", str(words), "un"]) == 1
    assert "tokenizer_config.json: tokenizer_class is not supported: expected 'GPT2Tok" in capsys.readouterr().err
    (words / "tokenizer_config.json").unlink()
    assert explain.main(["--vocab", str(words), "un"]) == 0
    assert "merge 0: u + n" in capsys.readouterr().out


def test_a_vocabulary_with_rules(capsys, tmp_path):
    """A folder of today's transformers, with tokenizer.json alone."""
    ids = {token: i for i, token in enumerate([*BYTE_TOKENS, b"un"])}
    RuledTokenizer([(b"u", b"n")], ids, Rules((AddedToken("[X]", 257, special=False),), prefix_space=True), 258,
                   None).save(tmp_path)
    assert explain.main(["--vocab", str(tmp_path), "un[X]"]) == 0
    out = capsys.readouterr().out
    assert "merge 0: u + n" in out and out.endswith("220 256 257\n")


def test_colour_tells_tokens_of_a_word_apart(words):
    tokenizer = WordPiece.load(words)
    *_, last = explain.explanation_of_words(tokenizer.explain("unaff")[0], tokenizer, colour=True)
    assert last == "    = \x1b[36mun\x1b[0m 5  \x1b[33m##aff\x1b[0m 6"


# ---- learning a vocabulary

def test_a_vocabulary_is_learned_and_used(tmp_path, capsys):
    (tmp_path / "text.txt").write_text("the cat sat on the mat\n" * 10)
    out = tmp_path / "new" / "vocabulary"
    assert train_tokenizer.main([str(tmp_path / "text.txt"), "--n-vocab", "262", "--out", str(out)]) == 0
    assert "262 tokens written to" in capsys.readouterr().out
    assert Tokenizer.load(out).n_vocab == 262
    assert explain.main(["--vocab", str(out), "that"]) == 0
    assert "merge 0: a + t" in capsys.readouterr().out


def test_an_existing_vocabulary_is_not_replaced(tmp_path, capsys):
    (tmp_path / "text.txt").write_text("the cat\n" * 10)
    (tmp_path / "vocab.bpe").write_text("precious")
    assert train_tokenizer.main([str(tmp_path / "text.txt"), "--n-vocab", "258", "--out", str(tmp_path)]) == 1
    assert "exists, and a model may need it" in capsys.readouterr().err
    assert (tmp_path / "vocab.bpe").read_text() == "precious"


# ---- bad input

@pytest.mark.parametrize("command, arguments, message", [
    (explain, ["--vocab", "missing", "text"], "error: 'missing': neither a vocabulary's name (gpt2, demo, demo-zh, "),
    (explain, ["--vocab", "words", "text"], "error: the vocabulary in words cannot be used: vocab.txt: none of its 2"),
    (explain, ["--vocab", "little.txt", "a"], "error: the vocabulary in little.txt cannot be used: little.txt: none"),
    (explain, ["a\udcffb"], "error: text: expected text in UTF-8, got the byte 0xff at byte 1: convert it"),
    (train_tokenizer, ["missing.txt", "--n-vocab", "300", "--out", "out"], "error: missing.txt: No such file"),
    (train_tokenizer, [".", "--n-vocab", "300", "--out", "out"], "error: .: Is a directory"),
    (train_tokenizer, ["little.txt", "--n-vocab", "300", "--out", "out"], "error: the text has too few pairs"),
    (train_tokenizer, ["latin.txt", "--n-vocab", "300", "--out", "out"], "error: latin.txt: expected text in UTF"),
    (train_tokenizer, ["little.txt", "--n-vocab", "257", "--out", "latin.txt"], "error: latin.txt: "),
])
def test_an_error_is_one_sentence_and_status_1(tmp_path, monkeypatch, capsys, command, arguments, message):
    (tmp_path / "little.txt").write_text("little")
    (tmp_path / "latin.txt").write_bytes(b"first\ncaf\xe9\n")
    (tmp_path / "words").mkdir()
    (tmp_path / "words" / "vocab.txt").write_text("[CLS]\nword\n")
    monkeypatch.chdir(tmp_path)
    assert command.main(arguments) == 1
    output = capsys.readouterr()
    assert output.err.startswith(message)
    assert output.err.count("\n") == 1
    assert output.out == ""


@pytest.mark.parametrize("command, arguments, message", [
    (explain, ["--colour"], "unrecognized arguments: --colour"),
    (train_tokenizer, [], "the following arguments are required: FILE, --n-vocab, --out"),
    (train_tokenizer, ["a.txt", "--n-vocab", "many", "--out", "x"], "a whole number of 257 or more, got many\n"),
    (train_tokenizer, ["a.txt", "--n-vocab", "256", "--out", "x"], "a whole number of 257 or more, got 256\n"),
])
def test_wrong_usage_is_status_2(capsys, monkeypatch, command, arguments, message):
    piped(monkeypatch, b"")
    with pytest.raises(SystemExit) as caught:
        command.main(arguments)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_no_text_at_a_terminal_is_wrong_usage(capsys, monkeypatch):
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    with pytest.raises(SystemExit) as caught:
        explain.main([])
    assert caught.value.code == 2
    assert "expected a text, as in: python -m gpt2np.text" in capsys.readouterr().err


def test_standard_input_that_is_no_utf8(capsys, monkeypatch):
    piped(monkeypatch, b"caf\xe9")
    assert explain.main([]) == 1
    assert capsys.readouterr().err == (
        "error: standard input: expected text in UTF-8, got the byte 0xe9 at byte 3: convert it to UTF-8\n")


def test_an_interrupt_is_no_traceback(capsys, monkeypatch):
    def interrupt(arguments):
        raise KeyboardInterrupt
    monkeypatch.setattr(explain, "show", interrupt)
    assert explain.main(["text"]) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_too_little_memory_is_no_traceback(capsys, monkeypatch):
    def run_out(arguments):
        raise MemoryError("Unable to allocate 9 TiB")
    monkeypatch.setattr(explain, "show", run_out)
    assert explain.main(["text"]) == 1
    assert capsys.readouterr().err == (
        "error: not enough memory (Unable to allocate 9 TiB): ask for less at once, or take a smaller model\n")


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_a_stream_that_the_shell_has_closed(capsys, monkeypatch, name):
    monkeypatch.setattr(sys, name, None)
    assert explain.main(["text"]) == 0
    getattr(sys, name).close()


def test_importing_text_loads_no_vocabulary():
    """Nor the rest of the package."""
    script = ("import gc, sys, gpt2np.text.bpe_train, gpt2np.text.streaming\n"
              "print(*sorted(name for name in sys.modules if name.startswith('gpt2np')))\n"
              "print(sum(isinstance(thing, gpt2np.text.bpe.Tokenizer) for thing in gc.get_objects()))")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    loaded, tokenizers = done.stdout.splitlines()
    assert loaded.split() == ["gpt2np", "gpt2np.bytes_in", "gpt2np.errors", "gpt2np.text"] + [
        f"gpt2np.text.{name}" for name in ("bpe", "bpe_train", "protocol", "streaming", "utf8", "vocabulary")]
    assert tokenizers == "0"
