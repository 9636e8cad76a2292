"""All commands alike: how they end, what they say of wrong input, and what --help shows."""

import argparse
import contextlib
import errno
import importlib
import io
import itertools
import json
import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt2np import command, terminal
from gpt2np.device import NoDeviceError
from gpt2np.errors import Gpt2npWarning
from gpt2np.text.utf8 import decode_utf8
from gpt2np.text.vocabulary import TokenizerError

COMMANDS = {"generate": "gpt2np.generate", "translate": "gpt2np.translate", "train": "gpt2np.train",
            "evaluate": "gpt2np.evaluate", "average": "gpt2np.average", "convert": "gpt2np.convert",
            "download": "gpt2np.download", "train_tokenizer": "gpt2np.train_tokenizer",
            "finetune": "gpt2np.finetune", "label": "gpt2np.label",
            "fill": "gpt2np.fill", "similar": "gpt2np.similar", "score": "gpt2np.score",
            "serve": "gpt2np.serve.__main__", "quantize": "gpt2np.quantize", "trim": "gpt2np.trim",
            "text": "gpt2np.text.__main__", "gradcheck": "gpt2np.gradcheck.__main__", "oracle": "gpt2np.oracle",
            "interpret": "gpt2np.interpret.__main__"}

# Wrong input: the command line, the status, and how the sentence begins.  %d is a folder, %e an empty file, %b bytes
# that are no text, %x what is not there.
WRONG = [
    ("generate --bogus", 2, "unrecognized arguments: --bogus"),
    ("generate --temp 1", 2, "unrecognized arguments: --temp; did you mean --temperature?"),
    ("generate --top 3", 2, "unrecognized arguments: --top; did you mean --top-k or --top-p?"),
    ("generate --Top_P=1", 2, "unrecognized arguments: --Top-P=1; did you mean --top-p?"),
    ("generate --temprature 1", 2, "unrecognized arguments: --temprature; did you mean --temperature?"),
    ("generate a --max-length 5", 2, "unrecognized arguments: --max-length 5; expected --max-new-tokens, which does "),
    ("generate a --max_length=5", 2, "unrecognized arguments: --max-length=5; expected --max-new-tokens, which does "),
    ("generate --prompt a", 2, "unrecognized arguments: --prompt; the prompt stands for itself, as in: generate"),
    ("generate a b --seed 1 c", 2, "unrecognized arguments: c; words of a prompt stand together: put them in quotes"),
    ("generate -x", 2, "unrecognized arguments: -x\n"),
    ("generate --model 124m", 1, "'124m': neither a model's name (demo, demo-zh, translation, fill, "
                                 "124M, 355M, 774M, 1558M) nor the "
                                 "path of one; did you mean 124M?"),
    ("generate --model gpt-2", 1, "'gpt-2': neither a model's name (demo, demo-zh, translation, fill, "
                                  "124M, 355M, 774M, 1558M) nor "
                                  "the path of one; did you mean gpt2"),
    ("generate --model gpt2", 1, "124M: this model is in none of "),
    ("evaluate demo %e", 2, "the following arguments are required: --model; the model goes behind --model\n"),
    ("evaluate %x %e --model demo", 1, "%x: No such file or directory"),
    ("convert demo --out %x --to openai", 2, "unrecognized arguments: --out; SOURCE and DEST stand for themselves"),
    ("convert dmeo %x --to openai", 1, "'dmeo': neither a model's name (demo, demo-zh, translation, fill, "
                                       "124M, 355M, 774M, 1558M) "
                                       "nor the path of one; did you mean demo?"),
    ("download demo", 2, "MODEL: demo comes with gpt2np, and need not be fetched"),
    ("download gpt3", 2, "MODEL: invalid choice: 'gpt3' (choose from "),
    ("train_tokenizer %e --n-vocb 300 --out %d", 2, "the following arguments are required: --n-vocab; --n-vocb: did "
                                                    "you mean --n-vocab?"),
    ("text a --vocab gpt-2", 1, "'gpt-2': neither a vocabulary's name (gpt2, demo, demo-zh, translation, fill) "
                              "nor the folder of one; did you "),
    ("text --text a", 2, "unrecognized arguments: --text; the text stands for itself, as in: text"),
    ("gradcheck layernorm", 2, "unrecognized arguments: layernorm; a layer goes behind --layer"),
    ("generate --num-beams 1e12", 2, "--num-beams: expected a whole number of 1 or more, got 1e12"),
    ("generate --num-beams 1000000000000", 1, "not enough memory (--num-beams 1,000,000,000,000 needs at least "),
    ("generate --model %d", 1, "%d: it holds neither model.ckpt.index nor model.safetensors"),
    ("generate --model %e", 1, "%e: not a .safetensors file; expected the folder of a model"),
    ("generate --model %x", 1, "'%x': neither a model's name ("),
    ("translate a --model %d", 1, "%d: it holds neither model.ckpt.index nor model.safetensors"),
    ("translate a --model demo", 1, "demo: expected a model that translates, found one that goes on from a text: pyt"),
    *[(f"translate a --num-beams 1 --{option}", 2, f"--{option.partition(' ')[0]}: expected only with --num-beams of 2")
      for option in ("length-penalty 2", "penalty wu", "coverage-penalty 1")],
    ("translate a --num-beams 0", 2, "--num-beams: expected a whole number of 1 or more, got 0"),
    ("train --task translation %e --out %x", 1, "pairs: expected at least one to learn from, beside those to mea"),
    ("train --task translation %d --out %x", 1, "%d: Is a directory"),
    ("train --task translation --out %x --n-layer 1000000000", 1, "not enough memory (training "),
    ("train %e", 2, "expected --out DIR, a new folder for the run (or --resume DIR)"),
    ("train %e --out %x --beta1 nan", 2, "--beta1: expected a number from 0 to less than 1, got nan"),
    ("train %e --out %x --dropout 1e12", 2, "--dropout: expected a number from 0 to less than 1, got 1000000000000.0"),
    ("train %e --out %x --n-head 0", 2, "--n-head: expected a whole number of 1 or more, got 0"),
    ("train %e --out %x --order sideways", 2, "--order: invalid choice: 'sideways' (choose from "),
    ("train %e --out %x", 1, "text: expected at least 4 bytes, one or more for a token, got 0: give more text"),
    ("train %e --out %x --context 256", 1, "text: expected at least 257 bytes, one or more for a token, got 0: give"),
    ("train %b --out %x --epochs 0", 2, "--epochs: expected a number above 0, got 0.0"),
    ("train %b --out %x --epochs 2 --steps 9", 2, "expected either --steps or --epochs, got both"),
    ("train %d --out %x", 1, "%d: Is a directory"),
    ("train %x --out %x", 1, "%x: No such file or directory"),
    ("train --out %x --n-layer 1000000000000", 1, "not enough memory (training 198,"),
    ("train --out %x --batch 1000000000000", 1, "not enough memory (training "),
    ("train --resume %x", 1, "%x: expected the folder of a run, with run.json in it, got one without"),
    ("evaluate %e", 2, "the following arguments are required: --model"),
    ("evaluate %e --model demo --threads 0", 2, "--threads: expected a whole number from 1 to 1,024, got 0"),
    ("evaluate %e --model demo --window 1000000000000", 1, "--window: expected at most the model's n_ctx, 256, got 10"),
    ("evaluate %e --model demo", 1, "text: expected at least 2 tokens, of which the second is predicted, got 0"),
    ("evaluate %d --model demo", 1, "%d: Is a directory"),
    ("evaluate %b --model demo", 1, "%b: expected text in UTF-8, got the byte 0xe9 at byte 3: convert it to UTF-8; "
                                     "from GBK: iconv -f gbk -t utf-8 %b"),
    *[(f"evaluate --lambada %e --model demo --{option}", 2, f"--{option.partition(' ')[0]}: expected FILE with it, a "
       "text to measure") for option in ("calibration", "window 9", "stride 9")],
    ("average demo --out %x", 1, "demo: it is one model, and the mean of one is itself: name several, or a run that "),
    ("average demo %x --out %x", 1, "'%x': neither a model's name ("),
    ("average %x --out %d/new", 1, "'%x': neither a model's name ("),
    ("average demo demo --last 2 --out %x", 2, "--last: expected the folder of a run before it, got demo, which has"),
    ("average demo demo --out %d", 1, "%d: it is there already: name a new folder"),
    ("convert demo %x --to gguf", 2, "--to: invalid choice: 'gguf' (choose from "),
    ("convert demo %x --to peft --adapter %d --dtype float16", 2, "--dtype float16: expected float32 with --to peft"),
    ("convert demo %d --to openai", 1, "%d: it is there already: name a new folder"),
    ("convert %x %x --to openai", 1, "'%x': neither a model's name ("),
    ("download 125M", 2, "MODEL: invalid choice: '125M' (choose from "),
    ("download 124M --mirror nowhere", 1, "nowhere: only https is used: expected https://..."),
    ("train_tokenizer %e --n-vocab -1 --out %x", 2, "--n-vocab: expected a whole number of 257 or more, got -1"),
    ("train_tokenizer %b --n-vocab 300 --out %d", 1, "%b: expected text in UTF-8, got the byte 0xe9 at byte 3: conv"),
    ("train_tokenizer %e --n-vocab 300 --out %d", 1, "the text has too few pairs that occur twice for 300 tokens"),
    ("text --vocab %d a", 1, "the vocabulary in %d cannot be used: encoder.json cannot be read: No such file"),
    ("text --vocab", 2, "--vocab: expected one argument"),
    ("train %e --out %x --task translate", 2, "--task: invalid choice: 'translate' (choose from "),
    ("train %e --out %x --task masked", 1, "text: expected at least one sentence to learn from, beside those to "),
    ("train %e --out %x --task masked --unit spaces --context 4", 2, "--context: expected a whole number of 5 or more"),
    ("train %x --out %x --task masked", 1, "%x: No such file or directory"),
    ("train %e --out %x --unit spaces", 2, "unrecognized arguments: --unit spaces"),
    ("finetune %e --task ner --out %x", 1, "%e: expected at least one example, got none"),
    ("finetune %b --task classify --out %x", 1, "%b: expected text in UTF-8, got the byte 0xe9 at byte 3: convert it"),
    ("finetune %x --task qa --out %x", 1, "%x: No such file or directory"),
    ("finetune %e --out %x", 2, "expected --task, one of ner, classify, regress, qa, answer (or --resume DIR)"),
    ("finetune --task ner --out %x --n-layer 1000000000", 1, "not enough memory (training "),
    ("finetune --task ner --out %x --num-labels 7", 2, "unrecognized arguments: --num-labels; the labels are those "),
    ("finetune --task ner --init-from %d --out %x", 1, "%d: it holds neither model.ckpt.index nor model.safetensors"),
    ("label a", 2, "expected --model, the folder of a run of finetune, or --adapter"),
    ("label a --model demo", 1, "demo: expected a model that labels texts, found one that goes on from a text: python"),
    ("label a --model %d", 1, "%d: it holds neither model.ckpt.index nor model.safetensors"),
    ("label a --adapter %d", 1, "'%d': it is not the folder of an adapter: expected one with "),
    ("label a --model demo --modle demo", 2, "unrecognized arguments: --modle demo; did you mean --model?"),
    ("fill a", 1, "expected a text with [MASK] where a word is missing, got 'a'"),
    ("fill --text a", 2, "unrecognized arguments: --text; the text stands for itself, as in: fill"),
    ("fill a[MASK] --model demo", 1, "demo: expected a model that fills gaps, found one that goes on from a text: "),
    ("similar a", 2, "expected two texts at least, or --file FILE, got 1"),
    ("similar a b --model demo", 1, "--model: expected a BERT, which reads a text from both sides, got a GPT2, which "
                                    "goes on from a text: python -m gpt2np.generate --model demo uses it"),
    ("similar a b --model translation", 1, "--model: expected a BERT, which reads a text from both sides, got a Transf"
                                           "ormer, which translates: python -m gpt2np.translate --model translation"),
    ("similar a b --model %d", 1, "%d: it holds neither model.ckpt.index nor model.safetensors"),
    ("score --model demo", 2, "expected FILE, or --context and --choice"),
    ("score %e --model demo", 1, "%e: expected a line at least, got none"),
    ("score %x --model demo", 1, "%x: No such file or directory"),
    ("score %d --model demo", 1, "%d: Is a directory"),
    ("score %b --model demo", 1, "%b: expected text in UTF-8, got the byte 0xe9 at byte 3: conv"),
    ("score %e", 2, "the following arguments are required: --model"),
    ("score %e --model demo --num-fewshot 3", 2, "--shots: expected --examples with it, where they are"),
    ("score %e --model demo --context a --choice b", 2, "expected either FILE or --context, got both"),
    ("score --model demo --context a", 2, "--context: expected --choice with it, what may follow"),
    ("score --model demo --choice a", 2, "--choice: expected --context with it, what comes before"),
    ("score %e --model demo --task lambda", 2, "--task: invalid choice: 'lambda' (choose from "),
    ("score %e --model demo --task lambada --template a", 2, "--template: not expected with --task lambada"),
    ("score --model demo --context a --choice b --limit 3", 2, "--limit: not expected with --context"),
    ("score %e --model demo --template {choice}{context}", 2, "--template: expected one of summary, translation"),
    ("score a b --model demo", 2, "unrecognized arguments: b; the model goes behind --model, what is typed behind"),
    ("score %b --model translation", 1, "%b: expected text in UTF-8"),
    ("score --task pairs --model translation", 1, "translation: expected a model that goes on from a text, found one "),
    ("quantize --model demo", 2, "expected FILE, for a table, or --out, for a model, or both"),
    ("quantize %e", 2, "the following arguments are required: --model"),
    ("quantize %e --model demo --scheme int8", 2, "--scheme: expected --out with it; the table has all of them"),
    ("quantize --model demo --out %x --scheme int4", 2, "--scheme: invalid choice: 'int4' (choose from "),
    ("quantize --model demo --out %d", 1, "%d: it is there already: name a new folder"),
    ("quantize %e --model demo --out %x", 1, "text: expected at least 2 tokens, of which the second is predicted, got"),
    ("quantize --model demo --out %x --bits 8", 2, "unrecognized arguments: --bits; expected --scheme int8"),
    ("quantize %x --model demo", 1, "%x: No such file or directory"),
    ("quantize %b --model demo", 1, "%b: expected text in UTF-8, got the byte 0xe9 at byte 3: conv"),
    ("quantize --model translation --out %x", 1, "translation: expected a model that goes on from a text, found one"),
    ("trim %e --model demo", 2, "expected --layers, --heads or --vocab, for what is to be cut"),
    ("trim %e --layers 1", 2, "the following arguments are required: --model"),
    ("trim --model demo --drop-layers 1", 2, "expected FILE, for a table, or --out, for a model, or both"),
    ("trim --model demo --layer 1 --out %x", 2, "unrecognized arguments: --layer; did you mean --layers?"),
    ("trim --model demo --layers one --out %x", 2, "--layers: expected blocks by their numbers from 0 on, as in 1,3-5"),
    ("trim --model demo --layers 6 --out %x", 1, "blocks: expected from 0 to 5, got 6"),
    ("trim --model demo --layers 0-5 --out %x", 1, "blocks: expected one at least to stay, got all 6 of them to drop"),
    ("trim --model demo --heads 43 --by magnitude --out %x", 1, "heads: expected from 0 to 42 of 48 to go, since each"),
    ("trim --model demo --heads 0.0-7 --out %x", 1, "heads: expected one at least to stay in each block, got all 8"),
    ("trim %e --model demo --heads 9.0", 1, "heads: expected blocks from 0 to 5, got 9"),
    ("trim %e --model demo --layers 0 --heads 6.0", 1, "heads: expected blocks from 0 to 5, got 6"),
    ("trim %e --model demo --layers 1 --heads 43", 1, "heads: expected from 0 to 35 of 40 to go, since each of the 5"),
    ("trim %e --model demo --layers 1 --heads 1.0", 1, "--heads: expected heads of blocks that stay, got some of "),
    ("trim --model demo --heads 1 --out %x", 2, "--heads 1: expected FILE, on which it is found out which heads"),
    ("trim --model demo --heads some --out %x", 2, "--heads: expected how many heads, as 12, or which, by block and "),
    ("trim --model demo --layers 1 --out %d", 1, "%d: it is there already: name a new folder"),
    ("trim --model demo --vocab %e", 1, "text: expected at least 2 tokens, of which the second is predicted, got 0"),
    ("trim --model demo --vocab %x", 1, "%x: No such file or directory"),
    ("trim %b --model demo --layers 1", 1, "%b: expected text in UTF-8, got the byte 0xe9 at byte 3: conv"),
    ("trim --model translation --layers 1 --out %x", 1, "translation: expected a GPT-2 or a BERT, found a Transformer"),
    ("serve a", 2, "unrecognized arguments: a; the model goes behind --model"),
    ("serve --port 65536", 2, "--port: expected a whole number from 0 to 65,535, got 65536"),
    ("serve --workers 4", 2, "unrecognized arguments: --workers 4; one process serves here; several of them stand "),
    ("serve --api-key 4", 2, "unrecognized arguments: --api-key 4; there are no keys here; put nginx in front"),
    ("serve --model %d", 1, "%d: it holds neither model.ckpt.index nor model.safetensors"),
    ("serve --host 203.0.113.1", 1, "203.0.113.1, port 8000: Cannot assign requested address"),
    ("serve --host no.such.host.invalid", 1, "no.such.host.invalid, port 8000: "),
    ("serve --texts 1025", 2, "--texts: expected a whole number from 1 to 1,024, got 1025"),
    ("oracle To --compare %x --tolerance much", 2, "--tolerance: expected a number, got much"),
    ("interpret To --model %d", 1, "%d: "),
    ("oracle To --compare %x", 1, "%x: No such file or directory"),
    ("oracle To --out %x", 1, "%x: expected a name that ends in .safetensors"),
    ("gradcheck --seed 1.5", 2, "--seed: expected a whole number of 0 or more, got 1.5"),
    ("gradcheck --layer nonsense", 2, "--layer: expected part of a layer's name, got nonsense; the layers are: "),
]


def main(name):
    return importlib.import_module(COMMANDS[name]).main


@pytest.fixture(autouse=True)
def no_lasting_settings(monkeypatch, tmp_path):
    for name in ("generate", "translate", "train", "finetune", "label", "evaluate", "fill", "similar", "score", "serve",
                 "quantize", "trim"):
        monkeypatch.setattr(f"{COMMANDS[name]}.keep_freed_memory", lambda: None)
    monkeypatch.setattr(sys, "stdin", None)
    monkeypatch.setenv("GPT2NP_WEIGHTS", str(tmp_path / "weights"))     # nothing is fetched, and demo is the package's


@pytest.mark.parametrize("line, status, message", WRONG, ids=[line for line, _, _ in WRONG])
def test_wrong_input_is_one_sentence(tmp_path, capsys, line, status, message):
    files = {"%d": tmp_path / "folder", "%e": tmp_path / "empty", "%b": tmp_path / "bytes", "%x": tmp_path / "nothing"}
    files["%d"].mkdir()
    files["%e"].touch()
    files["%b"].write_bytes(b"caf\xe9")
    name, *arguments = line.split()
    arguments = [str(files.get(argument, argument)) for argument in arguments]
    for mark, path in files.items():
        message = message.replace(mark, str(path))
    try:
        got = main(name)(arguments)
    except SystemExit as exit_:
        got = exit_.code
    out, err = capsys.readouterr()
    assert got == status and not out and err.startswith(f"error: {message}")
    assert err.endswith(f"\nSee python -m gpt2np.{name} --help.\n") if status == 2 else err.count("\n") == 1
    assert not files["%x"].exists()


@pytest.mark.parametrize("name", COMMANDS)
def test_an_empty_name_is_no_name(name, capsys):
    """Of a file, a folder, a model: "" would be the folder that one is in."""
    arguments = {"generate": ["--model"], "translate": ["--model"], "train": ["--out"], "evaluate": [], "average": [],
                 "convert": [], "download": ["124M", "--mirror"], "train_tokenizer": ["--out"], "text": ["--vocab"],
                 "finetune": ["--out"], "label": ["--file"], "fill": ["--model"], "similar": ["--file"],
                 "serve": ["--host"],
                 "gradcheck": ["--layer"], "oracle": ["--out"], "interpret": ["--out"], "score": [],
                 "quantize": [], "trim": []}[name]
    with pytest.raises(SystemExit) as caught:
        main(name)([*arguments, ""])
    assert caught.value.code == 2 and ": expected a name, got nothing\nSee " in capsys.readouterr().err


@pytest.mark.parametrize("columns", [40, 80])
@pytest.mark.parametrize("name", COMMANDS)
def test_help_fits_the_terminal_and_ends_with_examples(name, columns, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    with pytest.raises(SystemExit) as caught:
        main(name)(["--help"])
    assert caught.value.code == 0
    said, _, examples = capsys.readouterr().out.partition("\nexamples:\n")
    assert said.startswith(f"usage: python -m gpt2np.{name} ")
    assert all(f"python -m gpt2np.{name}" in line or name == "train_tokenizer" for line in examples.splitlines())
    assert examples and max(map(len, examples.splitlines())) <= 80
    assert columns == 40 or max(map(len, said.splitlines())) <= 80
    assert "None" not in said and "default" not in said


def ends(capsys, error, status, message):
    def raises(arguments):
        raise error
    assert command.run_command(raises, [], "interrupted: nothing was lost") == status
    assert capsys.readouterr() == ("", message)


def test_how_a_command_ends(capsys):
    ends(capsys, TokenizerError("a: expected b"), 1, "error: a: expected b\n")
    ends(capsys, NoDeviceError("expected a GPU"), 1, "error: expected a GPU\n")
    ends(capsys, OSError(errno.ENOSPC, "No space left on device"), 1, "error: No space left on device\n")
    ends(capsys, FileNotFoundError(errno.ENOENT, "No such file", "a"), 1, "error: a: No such file\n")
    ends(capsys, PermissionError(errno.EACCES, "Permission denied", "a"), 1, "error: a: Permission denied\n")
    ends(capsys, KeyboardInterrupt(), 130, "interrupted: nothing was lost\n")
    assert command.run_command(lambda arguments: None, []) == 0
    assert command.run_command(lambda arguments: 3, []) == 3


@pytest.mark.parametrize("error", [
    ValueError("operands could not be broadcast together"), TypeError("a bug"), np.exceptions.AxisError(2, 1),
    np.linalg.LinAlgError("singular"), json.JSONDecodeError("no value", "", 0),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")], ids=lambda error: type(error).__name__)
def test_a_mistake_in_the_code_keeps_its_traceback(error):
    """Also where it is a ValueError to Python: only this package's errors, and the system's, are said in a sentence."""
    def raises(arguments):
        raise error
    with pytest.raises(type(error)):
        command.run_command(raises, [])


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
@pytest.mark.parametrize("arguments", [["text", "he"], ["text", "--help"]])
def test_a_disk_without_room_for_the_output(arguments):
    name, *rest = arguments
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-m", f"gpt2np.{name}", *rest], stdout=full, stderr=subprocess.PIPE,
                              text=True, timeout=60, env=os.environ | {"PYTHONUNBUFFERED": ""})
    assert (done.returncode, done.stderr) == (1, "error: No space left on device\n")


def test_whole_numbers():
    assert [command.whole(0)("0"), command.whole(1, 5)("5"), command.whole(0)("1" + "0" * 30)] == [0, 5, 10**30]
    for argument, got in (("", "nothing"), ("x" * 99, "x" * 37 + "..."), ("6", "6"), ("0", "0"), ("2.5", "2.5"),
                          ("inf", "inf")):
        with pytest.raises(argparse.ArgumentTypeError, match=f"^expected a whole number from 1 to 5, got {got}$"):
            command.whole(1, 5)(argument)


def test_bytes_that_are_no_text_are_named_with_their_place():
    assert decode_utf8("thé".encode(), "a.txt") == "thé"
    with pytest.raises(TokenizerError, match=r"^a.txt: expected text in UTF-8, got the byte 0xe9 at byte 1,000: conv"):
        decode_utf8(b" " * 1000 + b"\xe9", "a.txt")


def test_lines_are_wrapped_where_they_can_be_read(monkeypatch):
    """Never inside a path or a command's option; and not at all where there is no terminal."""
    line = "1,024 tokens written to runs/2026-11-22/vocab.bpe and beside"
    assert terminal.wrapped(line) == line
    monkeypatch.setattr(terminal, "width", lambda: 24)
    assert terminal.wrapped(line) == ("1,024 tokens written to\n    runs/2026-11-22/vocab.bpe\n    and beside")


TEXTS = st.text(st.sampled_from("ab 自注力，e\u0301 "), max_size=60)


@given(TEXTS, st.integers(2, 30), st.integers(0, 4))
def test_a_text_is_folded_by_columns(text, room, indent):
    """Nothing is lost but spaces at the ends of rows; no row is too wide, and none could take what begins the next."""
    rows = terminal.folded(text, room, " " * indent).split("\n")
    assert all(terminal.columns_of(row) <= max(room, indent + 2) for row in rows)
    assert "".join("".join(rows).split()) == "".join(text.split())
    for row, after in itertools.pairwise(rows):
        assert row.startswith(" " * indent) and after.strip()
        word = after.split()[0]
        assert terminal.columns_of(row + word[0]) > room or terminal.columns_of(" " * indent + word) <= room


@given(TEXTS, st.integers(1, 30))
def test_wrapped_by_columns(text, room):
    text = " ".join(text.split())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(terminal, "width", lambda: room)
        rows = terminal.wrapped(text, indent="").split("\n")
    assert [word for row in rows for word in row.split()] == text.split()
    for row, after in itertools.pairwise(rows):
        assert terminal.columns_of(row) <= room or len(row.split()) == 1
        assert terminal.columns_of(f"{row} {after.split()[0]}") > room


def test_streams_that_are_not_files():
    """Those of a notebook or of redirect_stdout: a command can be called from there."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert main("text")(["he"]) == 0
    assert out.getvalue().endswith("1 token\n258\n")


def test_the_package_s_own_warnings_are_a_line_and_others_as_usual(capsys):
    def warns(arguments):
        warnings.warn("something was passed over", Gpt2npWarning, stacklevel=1)
        warnings.warn("something else", UserWarning, stacklevel=1)

    with warnings.catch_warnings(record=True) as usual:
        warnings.simplefilter("always")
        assert command.run_command(warns, []) == 0
    assert capsys.readouterr().err == "warning: something was passed over\n"
    assert [str(one.message) for one in usual] == ["something else"]


def test_a_terminal_that_does_not_say_how_wide_it_is(monkeypatch):
    """Python 3.10 gives its 0, as of one that another program plays: nothing is as narrow as that."""
    monkeypatch.setattr(terminal.shutil, "get_terminal_size", lambda: os.terminal_size((0, 0)))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert terminal.width() == terminal.terminal_width() == 80
    monkeypatch.setattr(sys.stdout, "isatty", lambda: False, raising=False)
    assert terminal.width() == sys.maxsize
