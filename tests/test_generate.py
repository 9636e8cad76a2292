"""The command python -m gpt2np.generate, with a tiny model in a temporary folder: as functions, and as a process."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import gpt2np
from gpt2np import generate as command
from gpt2np.decoding import GREEDY, generate, lay_out_for_decoding
from gpt2np.models.config import GPT2Config
from gpt2np.models.gpt2 import GPT2
from gpt2np.text.bpe import Tokenizer

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


def process(folder, *arguments, **options):
    environment = os.environ | options.pop("env", {})
    return subprocess.run([sys.executable, "-m", "gpt2np.generate", "--model", folder, "--max-new-tokens", "5",
                           *arguments], capture_output=True, timeout=60, env=environment, **options)


def written(capsys, folder, *arguments):
    assert command.main([*arguments, "--model", folder]) == 0
    return capsys.readouterr()


# ---- what it writes


def test_it_continues_the_prompt(capsys, folder):
    out, err = written(capsys, folder, "the cat", "--temperature", "0", "--max-new-tokens", "12")
    model, tokenizer = gpt2np.load(folder)
    tokens = tokenizer.encode("the cat")
    assert out == "the cat" + tokenizer.decode(generate(model, tokens, 12, GREEDY)) + "\n"
    assert err.startswith("12 tokens in ") and " tokens/s, seed " in err and err.count("\n") == 1


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


def test_it_ends_before_a_stop_string(capsys, folder):
    whole = written(capsys, folder, "the", "--seed", "4", "--temperature", "2").out.removeprefix("the")
    stop = whole[20:23]
    arguments = "the", "--seed", "4", "--temperature", "2", "--stop", stop, "--stop", r"never\nthere"
    assert written(capsys, folder, *arguments).out == "the" + whole[:whole.index(stop)] + "\n"
    line = json.loads(written(capsys, folder, *arguments, "--json").out)
    assert (line["text"], line["ended_by"]) == (whole[:whole.index(stop)], "stop")


def test_show_probabilities(capsys, folder):
    out = written(capsys, folder, "the", "--show-probabilities", "--max-new-tokens", "6", "--seed", "1").out
    lines = out.split("\n")
    assert lines[0] == "the" and len(lines) == 8
    assert all(line.count("%") == 5 for line in lines[1:-1])


def test_trace(capsys, folder):
    lines = written(capsys, folder, "the cat", "--trace").out.splitlines()
    assert lines[0].startswith("wte") and lines[-1].startswith("lm_head ") and len(lines) == 2 + 2 * 8 + 2


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
    broken = process(folder, input=b"the \xff")
    assert broken.returncode == 1 and broken.stdout == b""
    assert b"error: expected text in UTF-8, and the byte 0xff at 4 is none there" in broken.stderr


def test_a_hostile_locale(folder):
    done = process(folder, "世", "--seed", "1", stdin=subprocess.DEVNULL, env={"LC_ALL": "C", "PYTHONUTF8": "0",
                                                                              "PYTHONCOERCECLOCALE": "0"})
    assert done.returncode == 0 and b"Traceback" not in done.stderr and done.stdout.startswith(b"\\u4e16")


def test_a_reader_that_goes_away(folder):
    run = subprocess.Popen([sys.executable, "-m", "gpt2np.generate", "the", "--model", folder, "--max-new-tokens",
                            "20000"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
    run.stdout.read(10)
    run.stdout.close()
    err = run.stderr.read()
    run.stderr.close()
    assert run.wait(60) == 1 and b"Traceback" not in err


def test_ctrl_c_ends_cleanly(folder):
    run = subprocess.Popen([sys.executable, "-m", "gpt2np.generate", "the", "--model", folder, "--max-new-tokens",
                            "1000000"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
    run.stdout.read(10)
    run.send_signal(signal.SIGINT)
    out, err = run.communicate(timeout=60)
    assert run.returncode == 1 and out.endswith(b"\n")
    assert err.endswith(b"interrupted\n") and b" tokens/s" in err and b"Traceback" not in err


def test_interactive_on_a_terminal(folder):
    """A pseudo-terminal: every line is answered as it comes, and Ctrl-D ends."""
    pty = pytest.importorskip("pty")
    master, slave = pty.openpty()
    run = subprocess.Popen([sys.executable, "-m", "gpt2np.generate", "--model", folder, "--max-new-tokens", "3",
                            "--interactive", "--temperature", "0"], stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    seen = b""
    for line in (b"the cat\n", b"\n", b"a\n", b"\x04"):
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
    assert seen.count(b"the cat") == 2 and b"6 tokens in" in seen and b"Traceback" not in seen


# ---- bad input


@pytest.mark.parametrize("arguments, message", [
    (["--temperature", "-1"], "--temperature: expected a number from 0, got -1.0"),
    (["--temperature", "nan"], "--temperature: expected a number from 0, got nan"),
    (["--top-p", "0"], "--top-p: expected a number above 0 and up to 1, got 0.0"),
    (["--top-p", "1.5"], "--top-p: expected a number above 0 and up to 1, got 1.5"),
    (["--top-k", "0"], "--top-k: expected an integer from 1, got 0"),
    (["--top-k", "x"], "argument --top-k: invalid int value: 'x'"),
    (["--max-new-tokens", "0"], "--max-new-tokens: expected an integer from 1, got 0"),
    (["--num-return-sequences", "0"], "--num-return-sequences: expected an integer from 1, got 0"),
    (["--num-return-sequences", "2", "--show-probabilities"], "--num-return-sequences: expected 1 with"),
    (["--seed", "-1"], "--seed: expected an integer from 0, got -1"),
    (["--stop", ""], "--stop: expected a text, got an empty one"), ([""], "prompt: expected a text, got an empty one"),
])
def test_wrong_usage_is_one_line_and_status_2(capsys, folder, arguments, message):
    with pytest.raises(SystemExit) as exit_:
        command.main([*arguments, "--model", folder])
    out, err = capsys.readouterr()
    assert exit_.value.code == 2 and message in err.splitlines()[-1] and not out


@pytest.mark.parametrize("arguments, message", [
    (["--top-k", "300"], "error: top_k: expected at most the 259 tokens of the vocabulary, got 300"),
    (["x" * 40], "error: prompt: expected at most the 32 tokens that the model can see, got 40"),
    (["--model", "125M"], "error: '125M': neither a model's name (demo, 124M, 355M, 774M, 1558M) nor the path of one"),
])
def test_what_the_model_cannot_do_is_one_line_and_status_1(capsys, folder, arguments, message):
    assert command.main(["--model", folder, *arguments]) == 1
    out, err = capsys.readouterr()
    assert message in err and "Traceback" not in err and not out.strip()


def test_a_model_whose_logits_are_no_numbers(capsys, tmp_path, folder, monkeypatch):
    model, tokenizer = gpt2np.load(folder)
    model.ln_f.b.value = np.full(12, np.nan, np.float32)
    monkeypatch.setattr(command, "load", lambda name: (model, tokenizer))
    assert command.main(["the"]) == 1
    assert "error: logits: expected finite numbers, got NaN or infinity" in capsys.readouterr().err


def test_help_has_groups_and_defaults(capsys):
    with pytest.raises(SystemExit):
        command.main(["--help"])
    out = capsys.readouterr().out
    assert "how each token is chosen" in out and "likeliest token (0.8)" in out and "None" not in out
