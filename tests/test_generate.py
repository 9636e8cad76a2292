"""The command python -m gpt2np.generate, with a tiny model in a temporary folder: as functions, and as a process."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import gpt2np
from gpt2np import generate as command
from gpt2np import terminal
from gpt2np.decoding import GREEDY, beam_search, generate, lay_out_for_decoding
from gpt2np.interpret.lens import attention_maps
from gpt2np.models.config import GPT2Config
from gpt2np.models.gpt2 import GPT2
from gpt2np.sampling import Sampler
from gpt2np.text.bpe import Tokenizer
from gpt2np.text.streaming import text_before
from gpt2np.tracing import HEADER, short

CONFIG = GPT2Config(n_vocab=259, n_ctx=32, n_embd=12, n_head=3, n_layer=2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    model = GPT2(CONFIG, np.random.default_rng(0))
    for _, parameter in model.named_parameters():
        parameter.value += np.random.default_rng(1).standard_normal(parameter.value.shape).astype(np.float32) * 0.3
    folder = tmp_path_factory.mktemp("models") / "tiny"
    gpt2np.save(folder, model, Tokenizer([(b"t", b"h"), (b"th", b"e")]))
    return str(folder)


@pytest.fixture(autouse=True)
def no_pipe(monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    monkeypatch.setattr(command, "keep_freed_memory", lambda: None)     # it would last: this process runs other tests


def process(folder, *arguments, **options):
    environment = os.environ | options.pop("env", {})
    return subprocess.run([sys.executable, "-m", "gpt2np.generate", "--model", folder, "--max-new-tokens", "5",
                           *arguments], capture_output=True, timeout=60, env=environment, **options)


def endless(folder):
    return subprocess.Popen([sys.executable, "-m", "gpt2np.generate", "the", "--model", folder, "--max-new-tokens",
                             "1000000", "--min-new-tokens", "1000000"], stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def written(capsys, folder, *arguments):
    assert command.main([*arguments, "--model", folder]) == 0
    return capsys.readouterr()


# ---- what it writes

def test_it_continues_the_prompt(capsys, folder):
    out, err = written(capsys, folder, "the", "cat", "--temperature", "0", "--max-new-tokens", "12")
    model, tokenizer = gpt2np.load(folder)
    tokens = tokenizer.encode("the cat")
    assert out == "the cat" + tokenizer.decode(generate(model, tokens, 12, GREEDY)) + "\n"
    assert err.startswith("12 tokens in ") and err.endswith(" tokens/s\n") and err.count("\n") == 1


def test_the_seed_that_is_shown_gives_the_same_text_again(capsys, folder):
    out, err = written(capsys, folder, "the", "--temperature", "1.5")
    assert written(capsys, folder, "the", "--temperature", "1.5", "--seed", err.split()[-1]).out == out
    assert written(capsys, folder, "the", "--temperature", "1.5", "--seed", "7").out != out


def test_without_a_prompt_it_begins_a_text(capsys, folder):
    model, tokenizer = gpt2np.load(folder)
    text = tokenizer.decode(generate(model, [tokenizer.end_of_text], 10, GREEDY))
    assert written(capsys, folder, "--temperature", "0", "--max-new-tokens", "10").out == text + "\n"


def test_several_continuations(capsys, folder):
    out = written(capsys, folder, "the", "--num-return-sequences", "3", "--seed", "1").out
    assert [out.count(f"--- {i} of 3 ---\nthe") for i in (1, 2, 3)] == [1, 1, 1]


def test_json(capsys, folder):
    arguments = "the", "--num-return-sequences", "2", "--seed", "1", "--max-new-tokens", "40"
    lines = [json.loads(line) for line in written(capsys, folder, *arguments, "--json").out.splitlines()]
    shown = written(capsys, folder, *arguments).out
    assert len(lines) == 2
    for line in lines:
        assert line["prompt"] == "the" and line["ended_by"] in ("max_new_tokens", "end_of_text")
        assert "the" + line["text"] + "\n" in shown
    one, = [json.loads(x) for x in written(capsys, folder, "the", "--seed", "1", "--json").out.splitlines()]
    assert written(capsys, folder, "the", "--seed", "1").out == "the" + one["text"] + "\n"


def test_json_is_utf8_whatever_the_locale(folder):
    done = process(folder, "世😀", "--json", stdin=subprocess.DEVNULL, env={"LC_ALL": "C", "PYTHONUTF8": "0",
                                                                           "PYTHONCOERCECLOCALE": "0"})
    assert done.returncode == 0 and done.stdout.startswith('{"prompt": "世😀", "text": "'.encode())
    assert json.loads(done.stdout)["prompt"] == "世😀"


def test_it_ends_before_a_stop_string(capsys, folder):
    whole = written(capsys, folder, "the", "--seed", "4", "--temperature", "2").out.removeprefix("the")
    start = next(i for i in range(20, len(whole)) if "\ufffd" not in whole[i:i + 3])
    stop = whole[start:start + 3]
    arguments = "the", "--seed", "4", "--temperature", "2", "--stop", stop, "--stop", r"never\nthere"
    assert written(capsys, folder, *arguments).out == "the" + whole[:whole.index(stop)] + "\n"
    line = json.loads(written(capsys, folder, *arguments, "--json").out)
    assert (line["text"], line["ended_by"]) == (whole[:whole.index(stop)], "stop")


@pytest.mark.parametrize("typed, text", [
    (r"a\nb\n", "a\nb\n"), (r"a\\nb", r"a\nb"), (r"\\\n", r"\\n"), (r"\t\\", r"\t\\")])
def test_a_new_line_can_be_typed_and_so_can_a_backslash_before_an_n(typed, text):
    assert command.text_option(typed) == text


def test_a_continuation_that_has_stopped_is_computed_no_further(capsys, folder):
    arguments = "the", "--num-return-sequences", "4", "--seed", "1", "--temperature", "2", "--min-new-tokens", "100"
    out, err = written(capsys, folder, *arguments, "--json", "--logit-bias", "e=8", "--stop", "e", "--stop", "a")
    lines = [json.loads(line) for line in out.splitlines()]
    assert {line["ended_by"] for line in lines} == {"stop"} and not any(set("ea") & set(line["text"]) for line in lines)
    _, tokenizer = gpt2np.load(folder)
    at_least = [len(tokenizer.encode(line["text"].replace("\ufffd", "?"))) + 1 for line in lines]
    assert max(at_least) * 4 > int(err.split()[0]) >= sum(at_least)


def test_the_likeliest_text_as_a_whole(capsys, folder):
    model, tokenizer = gpt2np.load(folder)
    found = beam_search(model, tokenizer.encode("the"), 8, 3, 2.0, tokenizer.end_of_text)
    arguments = "the", "--num-beams", "3", "--length-penalty", "2", "--max-new-tokens", "8"
    out, err = written(capsys, folder, *arguments)
    assert out == "the" + text_before(tokenizer, found[0][1]) + "\n" and "seed" not in err
    lines = written(capsys, folder, *arguments, "--num-return-sequences", "2", "--json").out.splitlines()
    assert [json.loads(line)["text"] for line in lines] == [text_before(tokenizer, beam.written) for beam in found[:2]]


def test_logit_bias_and_forbidden_words(capsys, folder):
    """A token by its text or its number; the end of a text is one; a word of two tokens, with a space before or not."""
    greedy, e = ("the", "--temperature", "0", "--max-new-tokens", "4"), gpt2np.load(folder)[1].encode("e")[0]
    assert written(capsys, folder, *greedy, "--logit-bias", "e=1000").out == "theeeee\n"
    assert written(capsys, folder, *greedy, "--logit-bias", f"{e}=500", "--logit-bias", "e=500").out == "theeeee\n"
    assert written(capsys, folder, *greedy, "--logit-bias", "<|endoftext|>=1000").out == "the\n"
    biased = *greedy, "--logit-bias", "==900", "--logit-bias", "e=800", "--logit-bias", " =700"
    assert written(capsys, folder, *biased).out == "the====\n"
    assert written(capsys, folder, *biased, "--forbid", "==").out == "the=e=e\n"
    assert written(capsys, folder, *biased, "--forbid", "=").out == "theeeee\n"


def test_show_probabilities(capsys, folder):
    out = written(capsys, folder, "the", "--show-probabilities", "--max-new-tokens", "6", "--seed", "1").out
    lines = out.split("\n")
    assert lines[0] == "the" and len(lines) == 8
    assert all(line.count("%") == 5 for line in lines[1:-1])


def test_columns_of_probabilities_stand_below_each_other(capsys, monkeypatch):
    """A Chinese character takes two columns of a terminal, and is one of a text."""
    names = ["自", "注意", "a", "x" * 20]
    monkeypatch.setattr(command, "printable", lambda data: names[data[0] % 4])
    monkeypatch.setattr(command, "width", lambda: 60)
    model = GPT2(GPT2Config(257, 8, 4, 2, 1), np.random.default_rng(0))
    monkeypatch.setattr(command, "load_with_tokenizer", lambda name, **options: (model, Tokenizer([])))
    lines = written(capsys, "tiny", "the", "--show-probabilities", "--seed", "1").out.split("\n")
    assert len(lines) > 30
    for line in lines[1:-1]:
        chosen, others = re.fullmatch(r" *[\d.]+%  (\S+ *)  (\S+ [\d.]+%.*)", line).groups()
        assert terminal.columns_of(chosen) == (20 if "x" in chosen else 16) and terminal.columns_of(line) <= 60


def test_colours_say_how_likely_a_token_was(capsys, folder, monkeypatch):
    model, tokenizer = gpt2np.load(folder)
    model.ln_f.g.value *= 4                             # a model that is sure of more
    monkeypatch.setattr(command, "load_with_tokenizer", lambda name, **options: (model, tokenizer))
    monkeypatch.setattr(command, "wants_colour", lambda: True)
    lines = written(capsys, folder, "the", "--show-probabilities", "--seed", "3", "--temperature", "2").out.split("\n")
    colours = []
    for line in lines[1:-1]:
        percent, code = float(line.split("%")[0]), line.split("\x1b[")[1][:2]
        assert code == ("32" if percent >= 50 else "33" if percent >= 10 else "31") and line.count("\x1b[0m") == 1
        colours.append(code)
    assert set(colours) == {"31", "32", "33"}


def test_lines_fit_the_terminal(capsys, folder, monkeypatch):
    for module in (command, terminal):
        monkeypatch.setattr(module, "width", lambda: 40)
    lines = written(capsys, folder, "the", "--show-probabilities", "--seed", "1").out.split("\n")
    assert all(len(line) <= 40 and line.count("%") in (1, 2, 3) for line in lines[1:-1])
    lines = written(capsys, folder, "the cat", "--trace", "--seed", "1").out.splitlines()
    assert all(terminal.columns_of(line) <= 40 for line in lines)
    numbers = lines[lines.index("h.0.ln_1             1x5x12") + 1]
    assert len(numbers) == len(lines[1]) == 40 and lines[1].split() == ["FLOP", "bytes", "min", "mean", "max"]


def test_trace_fits_80_columns_in_a_pipe_too(capsys, folder):
    out, err = written(capsys, folder, "the 世界 cat", "--trace", "--seed", "1")
    lines = out.splitlines()
    assert all(terminal.columns_of(line) <= 80 for line in lines) and not err and lines[0] == HEADER
    assert out.count("xhat = (x - mean(x))") == 1 and out.count("ln_") == 5        # the same in every block: once
    assert out.count("h.0.in + h.0.attn") == 1 and out.count("h.1.mid + h.1.mlp") == 1


def test_trace(capsys, folder):
    """Every array of one pass; how much all cost; where the last token looks; and the token that is written then."""
    model, tokenizer = gpt2np.load(folder)
    tokens = tokenizer.encode("the cat")
    out = written(capsys, folder, "the cat", "--trace", "--temperature", "0").out
    steps, folded = gpt2np.trace(model, [tokens]), " ".join(out.split())
    names = [line.split()[0] for line in out.splitlines() if re.match(r"\S+ +[\dx]+ +[\d.]+ ", line)]
    assert names == [step.name for step in steps] and f"{short(sum(step.flops for step in steps))}FLOP in all" in out
    p = attention_maps(model, [tokens])["h.1.attn"][0, :, -1].mean(axis=0)
    best = terminal.printable(tokenizer.decode_bytes([tokens[int(p.argmax())]]))
    assert out.count("the last token looks at") == len(model.h)
    assert folded.rsplit("the last token looks at (mean of the heads) ", 1)[1].startswith(f"{best} {p.max():.1%}")
    chosen = next(generate(model, tokens, 1, GREEDY))
    name = terminal.printable(tokenizer.decode_bytes([chosen]))
    assert f"The likeliest next tokens: {name} " in out
    assert out.endswith(f"Chosen, for the temperature is 0: {name}\n")


def test_trace_chooses_as_the_rules_say(capsys, folder):
    model, tokenizer = gpt2np.load(folder)
    sampler, tokens = Sampler(top_k=3, temperature=2, end_of_text=tokenizer.end_of_text), tokenizer.encode("the cat")
    token = next(generate(model, tokens, 1, sampler, np.random.default_rng(5)))
    p = sampler.probabilities(model.forward([tokens])[0][0, -1], tokens, [])
    arguments = ["the cat", "--trace", "--top-k", "3", "--top-p", "1", "--temperature", "2"]
    out = " ".join(written(capsys, folder, *arguments, "--seed", "5").out.split())
    name = terminal.printable(tokenizer.decode_bytes([token]))
    assert out.endswith(f"Chosen, of the 3 that the rules leave: {name} {p[token]:.1%} (seed 5)")
    assert "Chosen, the only one that the rules leave: " in written(capsys, folder, *arguments[:3], "1").out


def test_speculation_writes_the_same_greedy_text(capsys, folder):
    plain = written(capsys, folder, "the the the", "--temperature", "0").out
    assert written(capsys, folder, "the the the", "--temperature", "0", "--speculate").out == plain


def test_the_layout_changes_no_value(folder):
    model, _ = gpt2np.load(folder)
    before = {path: p.value.copy() for path, p in model.named_parameters()}
    lay_out_for_decoding(model)
    for path, p in model.named_parameters():
        np.testing.assert_array_equal(p.value, before[path])
        assert not path.endswith(".w") or p.value.strides[int(np.argmax(p.value.shape))] == 4 or \
            p.value.shape[0] == p.value.shape[1]


# ---- as a process

def test_a_prompt_from_a_pipe(folder):
    piped = process(folder, "--seed", "1", input="the 世\n".encode())
    given = process(folder, "the 世", "--seed", "1", stdin=subprocess.DEVNULL)
    assert piped.returncode == given.returncode == 0
    assert piped.stdout == given.stdout and piped.stdout.startswith("the 世".encode())
    for data in ("the 世\r\n", "\ufeffthe 世\n", "\ufeffthe 世\r\n"):     # of Windows
        assert process(folder, "--seed", "1", input=data.encode()).stdout == given.stdout
    broken = process(folder, input=b"the \xff")
    assert broken.returncode == 1 and broken.stdout == b""
    assert broken.stderr == (b"error: standard input: expected text in UTF-8, got the byte 0xff at byte 4: "
                             b"convert it to UTF-8\n")


def test_a_hostile_locale(folder):
    done = process(folder, "世", "--seed", "1", stdin=subprocess.DEVNULL, env={"LC_ALL": "C", "PYTHONUTF8": "0",
                                                                              "PYTHONCOERCECLOCALE": "0"})
    assert done.returncode == 0 and b"Traceback" not in done.stderr and done.stdout.startswith(b"\\u4e16")


def test_a_reader_that_goes_away(folder):
    run = endless(folder)
    run.stdout.read(10)
    run.stdout.close()
    err = run.stderr.read()
    run.stderr.close()
    assert run.wait(60) == 1 and b"Traceback" not in err


def test_ctrl_c_ends_cleanly(folder):
    run = endless(folder)
    run.stdout.read(10)
    run.send_signal(signal.SIGINT)
    out, err = run.communicate(timeout=60)
    assert run.returncode == 130 and out.endswith(b"\n")
    assert err.endswith(b"interrupted\n") and b" tokens/s" in err and b"Traceback" not in err


@pytest.mark.parametrize("typed", [(b"the cat\n", b"\n", b"a\n", b"\x04"),
                                   (b"the bt\x7f\x7fcat\n", b"\xff\n", b"\x1b[A\x1b[A\n", b"x" * 99 + b"\n", b"\x04")],
                         ids=["lines", "editing and history"])
def test_interactive_on_a_terminal(folder, typed):
    """A pseudo-terminal: every line is answered as it comes, and Ctrl-D ends; it can be edited, and comes back with the
    arrow keys; what is no prompt gets a sentence, and ends nothing.
    """
    pty = pytest.importorskip("pty")
    pytest.importorskip("readline")
    master, slave = pty.openpty()
    run = subprocess.Popen([sys.executable, "-m", "gpt2np.generate", "--model", folder, "--max-new-tokens", "3",
                            "--interactive", "--temperature", "0"], stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    seen = b""
    for line in typed:
        while not seen.endswith(b"> "):
            seen += os.read(master, 1000)
        os.write(master, line)
        seen += b"|"
        time.sleep(0.05)
    while True:
        try:
            seen += os.read(master, 1000)
        except OSError:                                 # Linux: the other end is closed
            break
    os.close(master)
    assert run.wait(60) == 0
    assert seen.startswith(b"Each line is a prompt; Ctrl-D ends.") and b"6 tokens in" in seen
    assert b"Traceback" not in seen
    if len(typed) == 4:
        assert seen.count(b"the cat") == 2 and b"error" not in seen
    else:                                               # typed, answered, again from the history, and answered
        answers = re.findall(rb"\r\n(the cat[^\r\n]*)\r\n", seen)
        assert len(answers) == 2 and answers[0] == answers[1]
        assert seen.count(b"error: ") == 2 and b"got the byte 0xff" in seen and b"expected at most the 32" in seen


def test_a_bad_line_does_not_end_a_session(folder):
    """As from a pipe of Windows: with a mark in front, and CR at the ends."""
    done = process(folder, "--interactive", "--seed", "1", input=("\ufeffthe\r\n" + "x" * 99 + "\r\nthe\n").encode())
    assert done.returncode == 0
    lines = done.stdout.decode().splitlines()
    assert [line[:3] for line in (lines[0], lines[-1])] == ["the", "the"] and "\ufeff" not in done.stdout.decode()
    assert done.stderr.decode().startswith("> > error: prompt: expected at most the 32 tokens that the model can see")
    assert "10 tokens in " in done.stderr.decode()


# ---- bad input

@pytest.mark.parametrize("arguments, message", [
    (["--temperature", "-1"], "--temperature: expected a number from 0 to 1e9, got -1.0"),
    (["--temperature", "nan"], "--temperature: expected a number from 0 to 1e9, got nan"),
    (["--top-p", "0"], "--top-p: expected a number above 0 and up to 1, got 0.0"),
    (["--top-p", "1.5"], "--top-p: expected a number above 0 and up to 1, got 1.5"),
    (["--temperature", "inf"], "--temperature: expected a number from 0 to 1e9, got inf"),
    (["--temperature", "hot"], "--temperature: expected a number, got hot"),
    (["--top-k", "0"], "--top-k: expected a whole number of 1 or more, got 0"),
    (["--top-k", "x"], "--top-k: expected a whole number of 1 or more, got x"),
    (["--top-k", "1e12"], "--top-k: expected a whole number of 1 or more, got 1e12"),
    (["--max-new-tokens", ""], "--max-new-tokens: expected a whole number of 1 or more, got nothing"),
    (["--num-return-sequences", "0"], "--num-return-sequences: expected a whole number of 1 or more, got 0"),
    (["--num-beams", "9" * 5000], f"--num-beams: expected a whole number of 1 or more, got {'9' * 37}..."),
    (["--length-penalty", "nan"], "--length-penalty: expected a number from -10 to 10, got nan"),
    (["--length-penalty", "2"], "--length-penalty: expected only with --num-beams of 2 or more"),
    (["--num-beams", "2", "--num-return-sequences", "3"],
     "--num-return-sequences: expected at most the 2 of --num-beams, got 3"),
    (["--min-new-tokens", "101"], "--min-new-tokens: expected at most the 100 of --max-new-tokens, got 101"),
    (["--min-new-tokens", "9", "--max-new-tokens", "8"], "--min-new-tokens: expected at most the 8 of --max-new-token"),
    (["--num-return-sequences", "2", "--temperature", "0"], "--num-return-sequences: expected 1 at --temperature 0"),
    (["--num-beams", "2", "--speculate"], "--num-beams and --speculate exclude each other: which beam wins"),
    (["--num-beams", "2", "--interactive"], "--num-beams and --interactive exclude each other"),
    (["--num-beams", "2", "--temperature", "0.8"],      # the value that holds anyway: but it was asked for
     "--num-beams and --temperature exclude each other: beams follow the model's own probabilities"),
    (["--num-beams", "2", "--forbid", "a"], "--num-beams and --forbid exclude each other"),
    (["--speculate", "--show-probabilities"], "--speculate and --show-probabilities exclude each other: one step"),
    (["--trace", "--stop", "a"], "--trace and --stop exclude each other: it shows one step, of one text"),
    (["--json", "--interactive"], "--interactive: not allowed with argument --json"),
    (["--logit-bias", "a"], "--logit-bias: expected TOKEN=X with X from -1e9 to 1e9, as in"),
    (["--logit-bias", "a=nan"], "--logit-bias: expected TOKEN=X with X from -1e9 to 1e9, as in"),
    (["--logit-bias", "=2"], "--logit-bias: expected TOKEN=X with X from -1e9 to 1e9, as in"),
    (["--forbid", ""], "--forbid: expected a text, got an empty one"),
    (["--stop", "a\udcff"], "--stop: text: expected text in UTF-8, got the byte 0xff at byte 1: convert"),
    (["--bogus"], "unrecognized arguments: --bogus"),
    (["--num-return-sequences", "2", "--show-probabilities"],
     "--num-return-sequences and --show-probabilities exclude each other"),
    (["--top-k", "-3"], "--top-k: expected a whole number of 1 or more, got -3"),
    (["--top-p", "nan"], "--top-p: expected a number above 0 and up to 1, got nan"),
    (["--seed", "-1"], "--seed: expected a whole number of 0 or more, got -1"),
    (["--stop", ""], "--stop: expected a text, got an empty one"), ([""], "prompt: expected a text, got an empty one"),
])
def test_wrong_usage_is_one_sentence_and_status_2(capsys, folder, arguments, message):
    with pytest.raises(SystemExit) as exit_:
        command.main([*arguments, "--model", folder])
    out, err = capsys.readouterr()
    assert exit_.value.code == 2 and err.startswith(f"error: {message}") and not out
    assert err.endswith("\nSee python -m gpt2np.generate --help.\n") and err.count("\n") == 2


def test_a_model_without_a_name(capsys):
    with pytest.raises(SystemExit) as exit_:
        command.main(["--model", ""])
    assert exit_.value.code == 2 and "--model: expected a name, got nothing" in capsys.readouterr().err


def test_options_that_go_together(capsys, folder):
    """One beam is no beam search, and one sequence is what every way of showing it is for."""
    written(capsys, folder, "the", "--num-beams", "1", "--speculate", "--num-return-sequences", "1", "--top-p", "0.5")


@pytest.mark.parametrize("arguments, message", [
    (["--top-k", "300"], "error: top_k: expected at most the 259 tokens of the vocabulary, got 300"),
    (["--logit-bias", "259=1"], "error: logit_bias, forbidden, end_of_text: expected tokens from 0 to 258, got 259"),
    (["--logit-bias", "the cat=1"], "error: --logit-bias: expected one token, got 'the cat', which is 5: the, ␣, c"),
    (["a\udcff"], "error: prompt: expected text in UTF-8, got the byte 0xff at byte 1: convert it to UTF-8"),
    (["x" * 40], "error: prompt: expected at most the 32 tokens that the model can see, got 40"),
    (["--num-beams", "10000000"], "error: not enough memory (--num-beams 10,000,000 needs at least "),
    (["--num-return-sequences", "10000000"], "error: not enough memory (--num-return-sequences 10,000,000 needs "),
    (["--model", "125M"], "error: '125M': neither a model's name (demo, demo-zh, translation, fill, 124M, "
                          "355M, 774M, 1558M) nor the "
                          "path of one"),
])
def test_what_the_model_cannot_do_is_one_line_and_status_1(capsys, folder, arguments, message):
    assert command.main(["--model", folder, *arguments]) == 1
    out, err = capsys.readouterr()
    assert err.startswith(message) and err.count("\n") == 1 and not out


@pytest.mark.parametrize("typed, message", [
    (b"the\xff\n", "> error: prompt: expected text in UTF-8, got the byte 0xff at byte 3: convert it to UTF-8\n> \n"),
    (b"\n\r\n", "> > > \n")])
def test_lines_that_are_no_prompts(capsys, folder, monkeypatch, typed, message):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(typed)))
    assert command.main(["--interactive", "--model", folder]) == 0
    assert capsys.readouterr() == ("", message)


@pytest.mark.parametrize("more", [[], ["--json"], ["--num-return-sequences", "2"]])
def test_beams_that_are_interrupted_show_the_best_so_far(capsys, folder, monkeypatch, more):
    model, tokenizer = gpt2np.load(folder)
    seen, step = [], model.next_logits

    def next_logits(*arguments, **options):
        seen.append(1)
        if len(seen) == 4:
            raise KeyboardInterrupt
        return step(*arguments, **options)

    monkeypatch.setattr(model, "next_logits", next_logits, raising=False)
    monkeypatch.setattr(command, "load_with_tokenizer", lambda name, **options: (model, tokenizer))
    assert command.main(["the", "--num-beams", "3", "--max-new-tokens", "9", *more]) == 130
    out, err = capsys.readouterr()
    best = []
    monkeypatch.undo()
    beam_search(model, tokenizer.encode("the"), 4, 3, end_of_text=tokenizer.end_of_text,
                watch=lambda n, found: best.append(found[0]))
    texts = [tokenizer.decode(beam.written) for beam in best[-1]]
    assert out == {"[]": f"the{texts[0]}\n", "['--json']": json.dumps(
        {"prompt": "the", "text": texts[0], "ended_by": "interrupt"}, ensure_ascii=False) + "\n"}.get(
            str(more), f"--- 1 of 2 ---\nthe{texts[0]}\n--- 2 of 2 ---\nthe{texts[1]}\n")
    assert err.startswith("the best so far:\n") and err.endswith("interrupted\n") and err.count("\n") == 3


def test_beams_that_are_interrupted_before_there_is_any(capsys, folder, monkeypatch):
    model, tokenizer = gpt2np.load(folder)
    monkeypatch.setattr(command, "load_with_tokenizer", lambda name, **options: (model, tokenizer))
    monkeypatch.setattr(command, "beam_search", lambda *a: exec("raise KeyboardInterrupt"))
    assert command.main(["the", "--num-beams", "3"]) == 130
    assert capsys.readouterr() == ("", "interrupted\n")


@pytest.mark.parametrize("arguments", [[], ["--num-beams", "2"], ["--speculate"], ["--show-probabilities"]])
def test_a_model_whose_logits_are_no_numbers(capsys, folder, monkeypatch, arguments):
    model, tokenizer = gpt2np.load(folder)
    model.ln_f.b.value = np.full(12, np.nan, np.float32)
    monkeypatch.setattr(command, "load_with_tokenizer", lambda name, **options: (model, tokenizer))
    assert command.main(["the", *arguments]) == 1
    err = capsys.readouterr().err
    assert err.startswith("error: logits: expected finite numbers, or -inf for what") and err.count("\n") == 1


def test_help_has_groups_and_defaults(capsys):
    with pytest.raises(SystemExit):
        command.main(["--help"])
    out = capsys.readouterr().out
    assert "how each token is chosen" in out and "likeliest token (0.8)" in out and "None" not in out
