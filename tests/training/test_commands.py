"""python -m gpt2np.train and gpt2np.evaluate: what they print, what they refuse, Ctrl-C, and kill -9."""

import errno
import io
import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import sys
import threading
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from tqdm import tqdm

import gpt2np
from gpt2np import evaluate, follow, train
from gpt2np.models.config import GPT2Config
from gpt2np.models.gpt2 import GPT2
from gpt2np.text import utf8
from gpt2np.text.bpe import Tokenizer
from gpt2np.training import evaluation, run_folder
from gpt2np.training.batches import read_texts
from gpt2np.training.language_modelling import LanguageModelling, LanguagePlan
from gpt2np.training.run_folder import checkpoints
from tests.checkpoints.tiny import MERGES
from tests.training.conftest import TEXT
from tests.training.test_loop import contents, records

TINY = ["--n-layer", "1", "--n-head", "2", "--n-embd", "8", "--context", "16", "--batch", "4", "--warmup", "2",
        "--eval-every", "1", "--sample", "3", "--threads", "2", "--dropout", "0.1"]
KILLS = int(os.environ.get("GPT2NP_KILLS", 10))


def arguments(text, out, steps):
    folder = os.path.dirname(text)
    return [text, "--out", str(out), "--steps", str(steps), "--vocabulary", f"{folder}/vocabulary", *TINY]


# Processes that are forked from one in which everything is imported already, where the system can do that.
METHODS = multiprocessing.get_all_start_methods()
PROCESSES = multiprocessing.get_context("forkserver" if "forkserver" in METHODS else "spawn")
PROCESSES.set_forkserver_preload([__name__])


def start(output, *arguments):
    """A process that runs the command, and writes to a file what it prints."""
    process = PROCESSES.Process(target=run_command, args=(output, list(map(str, arguments))))
    process.start()
    return process


def run_command(output, arguments):
    with open(output, "w") as sys.stdout, sys.stdout as sys.stderr:
        status = train.main(arguments)
        sys.stdout.flush()
    os._exit(status)


def end(process):
    """The exit status of a process that should come to its end."""
    process.join(60)
    assert process.exitcode is not None, "it does not end"
    return process.exitcode


def wait_for_lines(log, n):
    """Until the log has n lines."""
    end = time.monotonic() + 60
    while not (log.exists() and log.read_bytes().count(b"\n") >= n):
        assert time.monotonic() < end, "the run does not come forward"
        time.sleep(0.002)


def refused(capsys, arguments, message, status=1, command=train):
    if status == 2:
        with pytest.raises(SystemExit) as caught:
            command.main(arguments)
        assert caught.value.code == 2
    else:
        assert command.main(arguments) == status
    assert re.search(message, error := capsys.readouterr().err), error
    assert "Traceback" not in error


def test_a_run_and_its_measure(text, tmp_path, capsys):
    out = tmp_path / "run"
    assert train.main(arguments(text, out, 3)) == 0
    printed = capsys.readouterr().out
    assert "step 0: validation loss 5.5" in printed and ", with 2 threads\n" in printed and "warning" not in printed
    assert re.search(r"done after step 3: the lowest validation loss, 5\.\d+, came after step \d; that model is in .*"
                     r"best", printed)
    assert sorted(path.name for path in out.iterdir()) == [".lock", "best", "curve.html", "log.jsonl",
                                                           "run.json", "step-00000003", "train.tokens"]
    assert "the validation loss, lowest at step" in (out / "curve.html").read_text()
    assert evaluate.main([text, "--model", str(out / "best"), "--stride", "4", "--threads", "1"]) == 0
    measured = capsys.readouterr().out
    _, tokenizer = gpt2np.load(out / "best")
    n_bytes, ids = len(TEXT.encode()) - 3, tokenizer.encode(TEXT)       # the first token is "the"
    assert f"{len(ids) - 1:,} tokens, {n_bytes:,} bytes of text, " in measured
    assert "window 16, stride 4" in measured and "from the 13 before it at least\n" in measured
    loss, ppl, bits = (float(re.search(rf"{name} +([\d.]+)", measured)[1]) for name in
                       ("loss per token", "perplexity", "bits per byte"))
    assert ppl == pytest.approx(2.718281828 ** loss, rel=1e-3)
    assert bits == pytest.approx(loss * (len(ids) - 1) / n_bytes / 0.693147, rel=1e-3)
    refused(capsys, [text, "--model", str(out / "best"), "--window", "17"], "at most the model's n_ctx, 16, got 17",
            command=evaluate)


def test_an_end_of_text_is_no_text(text, tmp_path, capsys):
    model, tokenizer = GPT2(GPT2Config(259, 8, 8, 2, 1), np.random.default_rng(0)), Tokenizer(MERGES)
    gpt2np.save(tmp_path / "model", model, tokenizer)
    for written, tokens, n_bytes in (("the<|endoftext|>a thé<|endoftext|>", 7, 6), ("<|endoftext|>a", 1, 1),
                                     ("a<|endoftext|><|endoftext|>", 2, 0)):
        (tmp_path / "marked").write_text(written, encoding="utf-8")
        assert evaluate.main([str(tmp_path / "marked"), "--model", str(tmp_path / "model"), "--threads", "1"]) == 0
        printed = capsys.readouterr().out
        assert f"{tokens} tokens, {n_bytes} bytes of text" in printed
        loss, bits = (float(re.search(rf"{name} +([\d.inf]+)", printed)[1]) for name in ("per token", "per byte"))
        assert bits == pytest.approx(loss * tokens / n_bytes / 0.693147 if n_bytes else float("inf"), rel=1e-3)


def test_fine_tuning_begins_with_what_was_learned(text, tmp_path, capsys):
    assert train.main(arguments(text, tmp_path / "first", 2)) == 0
    first = records(tmp_path / "first")[-1]["val_loss"]
    assert train.main([text, "--out", str(tmp_path / "second"), "--init-from", str(tmp_path / "first" / "best"),
                       "--steps", "1", "--context", "16", "--batch", "2"]) == 0
    assert records(tmp_path / "second")[0]["val_loss"] == pytest.approx(first, rel=1e-6)
    refused(capsys, [text, "--out", str(tmp_path / "third"), "--init-from", str(tmp_path / "first" / "best"),
                     "--context", "256"], "context: expected at most the model's n_ctx, 16, got 256")
    assert not (tmp_path / "third").exists()


def test_what_the_model_writes_is_indented_and_harmless(monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    assert follow.indented("  the cat\x1b[2J\n\nsat on the mat and the") == (
        "      the cat·[2J\n\n    sat on the mat\n    and the")
    assert follow.indented("自注意力机制的一行 文") == "    自注意力机制的一\n    行 文"       # two columns each


def test_a_vocabulary_of_its_own_and_a_text_to_measure_by(text, tmp_path):
    out = str(tmp_path / "run")
    assert train.main([text, "--val", text, "--out", out, "--steps", "1", "--n-vocab", "270", "--recompute",
                       *TINY]) == 0
    assert json.loads((tmp_path / "run" / "run.json").read_text())["plan"]["recompute"] is True
    model, tokenizer = gpt2np.load(tmp_path / "run" / "best")
    assert model.config.n_vocab == tokenizer.n_vocab == 270
    assert contents(tmp_path / "run" / "best").keys() < contents(tmp_path / "run" / "step-00000001").keys()


def test_without_a_file_it_learns_from_its_own_source(tmp_path, capsys):
    assert train.main(["--out", str(tmp_path / "run"), "--steps", "1", "--n-vocab", "300", *TINY]) == 0
    assert "tokens to learn from" in capsys.readouterr().out


@pytest.mark.slow
def test_killed_again_and_again_it_ends_as_if_never_stopped(text, tmp_path):
    ends_as_if_never_stopped(tmp_path, KILLS, partial(arguments, text))


def ends_as_if_never_stopped(tmp_path, kills, asked):
    """A run of asked(out, steps) that is killed so often, at any moment, and goes on, against one that never was."""
    whole, killed, steps, output = tmp_path / "whole", tmp_path / "killed", 4 * kills, tmp_path / "output"
    assert train.main(asked(whole, steps)) == 0
    rng = random.Random(0)
    process = start(output, *asked(killed, steps))
    for _ in range(kills):
        seen = 0 if not (killed / "log.jsonl").exists() else (killed / "log.jsonl").read_bytes().count(b"\n")
        wait_for_lines(killed / "log.jsonl", min(seen + 2, 2 * steps - 4))
        time.sleep(rng.uniform(0, 0.03))
        process.kill()
        end(process)
        process = start(output, "--resume", killed)
    assert end(process) == 0 and "done after step" in output.read_text()
    for name in (f"step-{steps:08d}", "best"):
        assert contents(killed / name) == contents(whole / name)
    assert records(killed) == records(whole)


@pytest.mark.skipif(os.name != "posix", reason="Windows has no SIGINT for another process")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_saves_and_says_how_to_go_on(text, tmp_path, capsys, number):
    out, output = tmp_path / "a run", tmp_path / "output"
    process = start(output, *arguments(text, out, 100000))
    wait_for_lines(out / "log.jsonl", 3)
    refused(capsys, ["--resume", str(out)], f"^error: {out}: another process trains here; end it first\n$")
    os.kill(process.pid, number)
    assert end(process) == 128 + number
    assert output.read_text().count("stopping after this step, which will be saved; once more: at once") <= 1
    assert output.read_text().endswith(f"and saved. To go on:\n    python -m gpt2np.train --resume '{out}'\n")
    last = checkpoints(out)[-1]
    state = json.loads((last / "state.json").read_text())
    assert state["step"] == records(out)[-1]["step"] == int(last.name[-8:])


def test_a_finished_run_gets_more_steps(text, tmp_path, capsys):
    short, long = tmp_path / "short", tmp_path / "long"
    constant = ["--schedule", "constant"]
    assert train.main([*arguments(text, long, 5), *constant]) == 0
    assert train.main([*arguments(text, short, 3), *constant]) == 0
    for wrong in ("3", "2"):
        refused(capsys, ["--resume", str(short), "--steps", wrong], f"steps: expected more than the 3 .*, got {wrong}")
    assert train.main(["--resume", str(short), "--steps", "5"]) == 0
    assert re.search(r"5 steps instead of 3: the learning rate \(constant\) is from here on that of a run of 5: "
                     r"1.00e-03 in the next step, after 1.00e-03 in the last one\n", capsys.readouterr().out)
    for name in ("step-00000005", "best"):
        assert contents(short / name) == contents(long / name)
    assert records(short) == records(long)
    run, expected = (json.loads((out / "run.json").read_text()) for out in (short, long))
    assert run == expected | {"changes": [{"after_step": 3, "steps": [3, 5]}]}


def test_more_steps_of_a_schedule_that_ended(text, tmp_path, capsys):
    out = tmp_path / "run"
    assert train.main(arguments(text, out, 3)) == 0
    capsys.readouterr()
    assert train.main(["--resume", str(out), "--steps", "9", "--threads", "1"]) == 0
    printed = capsys.readouterr().out
    assert "(cosine) is from here on that of a run of 9: 8.12e-04 in the next step, after 0.00e+00" in printed
    assert "1 thread instead of 2 threads: sums are taken in another order" in printed
    assert json.loads((out / "run.json").read_text())["changes"] == [
        {"after_step": 3, "steps": [3, 9], "threads": [2, 1]}]
    assert [r["lr"] for r in records(out) if "lr" in r][3] == pytest.approx(8.12e-4, rel=1e-3)


def test_a_run_that_ended_early_gets_no_more_steps(text, tmp_path, capsys):
    out = tmp_path / "run"
    assert train.main([*arguments(text, out, 50), "--patience", "1", "--lr", "3", "--warmup", "0"]) == 0
    before = (out / "run.json").read_bytes()
    refused(capsys, ["--resume", str(out), "--steps", "99"], "because 1 evaluations in a row brought no better loss")
    assert (out / "run.json").read_bytes() == before


@pytest.mark.parametrize("extra, message", [
    (["--lr", "0"], "^error: --lr: expected a number above 0, got 0.0\n"), (["--lr", "nan"], "--lr: .*, got nan"),
    (["--steps", "0"], "--steps: expected a whole number of 1 or more, got 0"), (["--lr", "fast"], "number, got fast"),
    (["--n-vocab", "9"], "--n-vocab: expected a whole number of 257 or more, got 9"), (["--out", ""], "got nothing"),
    (["--batch", "0"], "--batch: expected a whole number of 1 or more, got 0"), (["--seed", "1e12"], "got 1e12"),
    (["--threads", "1000000000000"], "--threads: expected a whole number from 1 to 1,024, got 1000000000000"),
    (["--n-head", "3"], "--n-embd: expected a multiple of n_head 3, got 256"), (["--order", "no"], "invalid choice"),
    (["--init-from", "demo", "--n-layer", "2"], "expected either --init-from or --n-layer, got both"),
    (["--vocabulary", "gpt2", "--n-vocab", "300"], "expected either --vocab or --n-vocab, got both"),
    (["--optimizer", "lion"], "--optimizer: invalid choice: 'lion' .choose from .?adamw.?, .?adam.?, .?sgd"),
    (["--optimizer", "sgd", "--beta1", "0.8"], "--beta1: expected only with --optimizer adamw or adam, got it with s"),
    (["--momentum", "0.5"], "--momentum: expected only with --optimizer sgd, got it with adamw"),
    (["--optimizer", "sgd", "--clip", "0"], "^error: --lr: expected one with --optimizer sgd and --clip 0, for its st"),
    (["--eps", "-1"], "--eps: expected a number of 0 or more, got -1.0"), (["--train-only", ""], "got nothing"),
    (["--optimizer", "sgd", "--momentum", "1"], "--momentum: expected a number from 0 to less than 1, got 1.0"),
    (["--resume", "run"], "beside --resume, expected no option but --steps and --threads.* got FILE, --out")])
def test_wrong_usage(tmp_path, capsys, extra, message):
    refused(capsys, ["text.txt", "--out", str(tmp_path / "run"), *extra], message, status=2)
    assert not (tmp_path / "run").exists()


def test_no_folder_is_wrong_usage(capsys):
    refused(capsys, ["text.txt"], "expected --out DIR", status=2)
    refused(capsys, ["a", "--model", "demo", "--stride", "0"], "--stride: expected a whole number of 1 or more, got 0",
            2, evaluate)


def test_texts_that_cannot_be_learned_from(text, tmp_path, capsys):
    out = tmp_path / "run"
    usual = arguments(text, out, 2)[1:]
    (tmp_path / "latin-1").write_bytes(TEXT.encode("latin-1"))
    (tmp_path / "empty").touch()
    (tmp_path / "tiny").write_text("the cat " * 2)
    (tmp_path / "short").write_text("the cat " * 3)
    for name, message in (("none", "none: No such file"), ("latin-1", "latin-1: expected text in UTF-8, got the byte"),
                          ("empty", "text: expected at least 17 bytes.* got 0: give more text"),
                          ("tiny", "text: expected at least 17 bytes.* got 16"),
                          ("short", "text: expected at least 17 tokens, one more than the context"),
                          ("vocabulary", "vocabulary: Is a directory")):
        refused(capsys, [str(tmp_path / name), *usual], message)
        assert not out.exists()                         # so that the next try is not refused
    refused(capsys, [text, "--val", str(tmp_path / "empty"), *usual], "validation text: expected at least 2 bytes,.* 0")
    assert not out.exists()
    refused(capsys, [text, "--out", str(out), "--n-vocab", "50000", *TINY], "too few pairs that occur twice")
    refused(capsys, [text, "--out", str(out), "--init-from", str(tmp_path / "no")], "neither a model's name")
    assert not out.exists()


def test_folders_that_hold_something_else(text, tmp_path, capsys):
    refused(capsys, arguments(text, tmp_path, 2), "expected a new or empty folder for the run")
    assert os.path.exists(text)
    refused(capsys, ["--resume", str(tmp_path)], "expected the folder of a run")
    out = tmp_path / "run"
    assert train.main(arguments(text, out, 1)) == 0
    task = {"task": LanguageModelling.name, "processes": 1}
    (out / "run.json").write_text(json.dumps(task | {"plan": {"steps": 1, "pace": 2}}))
    refused(capsys, ["--resume", str(out)], "run.json: expected the plan of a run of this version, got something e")
    (out / "run.json").write_text(json.dumps(task | {"plan": {"steps": 1}}))
    for name in ("encoder.json", "vocab.bpe"):
        (out / "step-00000001" / name).unlink()
    Tokenizer([(b"a", b"t"), (b"c", b"at")]).save(out / "step-00000001")
    before = contents(out / "step-00000001") | {"run.json": (out / "run.json").read_bytes()}
    refused(capsys, ["--resume", str(out), "--steps", "9"], "train.tokens: expected tokens of this run's vocabulary")
    assert contents(out / "step-00000001") | {"run.json": (out / "run.json").read_bytes()} == before
    shutil.rmtree(out / "step-00000001")
    refused(capsys, ["--resume", str(out)], "expected a folder step-...")


def test_a_second_process_leaves_a_run_as_it_is(text, tmp_path, capsys):
    """The first is one that has not yet written its first checkpoint: to a second one it looks as if it were killed."""
    out = tmp_path / "run"
    (out / ".step-00000000.new").mkdir(parents=True)
    (out / "run.json").write_text(json.dumps({"plan": asdict(LanguagePlan(steps=2)), "data": []}))
    with run_folder.locked(out):
        for second in (arguments(text, out, 2), ["--resume", str(out)]):
            refused(capsys, second, "another process trains here; end it first")
    assert sorted(path.name for path in out.iterdir()) == [".lock", ".step-00000000.new", "run.json"]
    assert train.main(arguments(text, out, 2)) == 0     # the lock file that a killed one leaves is no lock


def test_the_run_of_an_older_version(text, tmp_path, capsys):
    out = tmp_path / "run"
    out.mkdir()
    for run, missing in ({"plan": {"steps": 9, "every": 3}, "task": LanguageModelling.name}, "every"), (
            {"plan": {"steps": 9}}, "task"):
        (out / "run.json").write_text(json.dumps(run))
        refused(capsys, ["--resume", str(out)],
                f"the plan of a run of this version.*'{missing}'.*; --init-from {out}.best takes")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no named pipes")
def test_a_pipe_is_read_once(text, tmp_path, capsys):
    pipe, out = str(tmp_path / "pipe"), tmp_path / "run"
    os.mkfifo(pipe)
    refused(capsys, [pipe, "--out", str(out), "--n-vocab", "270", *TINY], "expected a file, for the text is read twice")
    assert not out.exists()
    writer = threading.Thread(target=Path(pipe).write_text, args=(TEXT,))
    writer.start()
    assert train.main([pipe, *arguments(text, out, 1)[1:]]) == 0
    writer.join()


class SecondRecord(follow.Interrupt):
    """As if Ctrl-C came while the second record was shown."""

    def anywhere(self):
        if records(self.trainer.out)[1:]:
            self.asked = 2
        return super().anywhere()


def test_ctrl_c_between_a_step_and_its_evaluation(text, tmp_path, monkeypatch):
    monkeypatch.setattr(follow, "Interrupt", SecondRecord)
    out = tmp_path / "run"
    assert train.main(arguments(text, out, 9)) == 130
    assert [("val_loss" in record, record["step"]) for record in records(out)] == [(True, 0), (False, 1)]
    assert (out / "curve.html").read_text().count("<circle") == 1
    monkeypatch.undo()
    assert train.main(["--resume", str(out)]) == 0
    assert train.main(arguments(text, tmp_path / "whole", 9)) == 0
    assert records(out) == records(tmp_path / "whole")  # with the evaluation that was left out
    for name in ("step-00000009", "best"):
        assert contents(out / name) == contents(tmp_path / "whole" / name)


def test_a_run_whose_sizes_were_changed(text, tmp_path, capsys):
    out = tmp_path / "run"
    assert train.main(arguments(text, out, 1)) == 0
    run, before = json.loads((out / "run.json").read_text()), contents(out / "step-00000001")
    (out / "run.json").write_text(json.dumps(run | {"plan": run["plan"] | {"context": 17}}))
    refused(capsys, ["--resume", str(out)], "context: expected at most the model's n_ctx, 16, got 17")
    refused(capsys, ["--resume", str(out), "--context", "8"], r"expected no option but .* got --context", status=2)
    assert contents(out / "step-00000001") == before


def test_a_batch_that_the_threads_do_not_divide(text, tmp_path):
    for name, threads in (("one", "1"), ("three", "3")):
        assert train.main([*arguments(text, tmp_path / name, 2), "--threads", threads, "--dropout", "0"]) == 0
    for record, expected in zip(records(tmp_path / "three"), records(tmp_path / "one"), strict=True):
        assert {k: v for k, v in record.items() if k != "sample"} == pytest.approx(
            {k: v for k, v in expected.items() if k != "sample"}, rel=1e-6)


def test_a_full_disk_is_said_and_the_run_goes_on_from_its_last_checkpoint(text, tmp_path, capsys, monkeypatch):
    out = tmp_path / "run"
    assert train.main(arguments(text, out, 1)) == 0

    def full(path, *_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = contents(out / "step-00000001")
    for place in (run_folder.safetensors, "write"), (run_folder, "write_text"):
        with monkeypatch.context() as patch:
            patch.setattr(*place, full)
            refused(capsys, ["--resume", str(out), "--steps", "3"], f"{out}: No space left on device; "
                    f"step-00000001 in it is whole: make room, and go on by: python -m gpt2np.train --resume {out}\n")
        assert contents(out / "step-00000001") == before and [path.name for path in out.glob(".*")] == [".lock"]
        (out / "run.json").write_text((out / "run.json").read_text().replace('"steps": 3', '"steps": 1'))
    assert train.main(["--resume", str(out), "--steps", "3"]) == 0


def test_a_warning_where_an_untrained_model_is_no_untrained_model(text, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(train, "initial_loss_warning", lambda loss, n_vocab, new: f"{loss:.1f} {n_vocab} {new}")
    assert train.main(arguments(text, tmp_path / "run", 1)) == 0
    assert "warning: 5.6 259 True" in capsys.readouterr().out


@pytest.mark.parametrize("options, expected", [
    ([], ("adamw", 1e-3, 0.1)), (["--optimizer", "adam", "--eps", "1e-6"], ("adam", 1e-3, 0.0)),
    (["--optimizer", "sgd"], ("sgd", 0.1, 0.0)),
    (["--optimizer", "sgd", "--lr", "0.5", "--weight-decay", "0.01", "--momentum", "0.8"], ("sgd", 0.5, 0.01))])
def test_an_optimizer_by_choice_with_defaults_of_its_own(text, tmp_path, options, expected):
    out, whole = tmp_path / "run", tmp_path / "whole"
    assert train.main([*arguments(text, whole, 4), *options]) == 0
    plan = json.loads((whole / "run.json").read_text())["plan"]
    assert (plan["optimizer"], plan["lr"], plan["weight_decay"]) == expected
    assert train.main([*arguments(text, out, 4), *options, "--save-every", "1", "--patience", "1", "--eval-every", "2",
                       "--schedule", "constant"]) == 0
    moments, _ = run_folder.safetensors.read(out / checkpoints(out)[-1].name / "moments.safetensors")
    assert {name.split(".")[0] for name in moments} == {"updates"} | ({"velocity"} if "sgd" in options else {"m", "v"})
    losses = [record["loss"] for record in records(whole) if "loss" in record]
    assert losses[-1] < losses[0]


def test_the_moments_of_another_optimizer_are_refused(text, tmp_path, capsys):
    out = tmp_path / "run"
    assert train.main([*arguments(text, out, 1), "--optimizer", "sgd"]) == 0
    (out / "run.json").write_text((out / "run.json").read_text().replace('"sgd"', '"adam"'))
    refused(capsys, ["--resume", str(out), "--steps", "2"], "the optimizer's m is not that of the model's parameters")


def test_training_a_part_of_the_model(text, tmp_path, capsys):
    first, out = tmp_path / "first", tmp_path / "run"
    assert train.main(arguments(text, first, 1)) == 0
    capsys.readouterr()
    some = ["--train-only", "ln_f", "--train-only", "h.*.mlp"]
    assert train.main([text, "--out", str(out), "--init-from", str(first / "best"), "--steps", "2", "--context", "16",
                       "--batch", "2", "--lr", "0.1", "--warmup", "0", "--eval-every", "1", *some]) == 0
    assert "568 of 3,088 parameters to train, " in capsys.readouterr().out
    assert train.main(["--resume", str(out), "--steps", "4"]) == 0
    before, after = gpt2np.load(first / "best")[0], gpt2np.load(out / "step-00000004")[0]
    for (path, p), (_, q) in zip(before.named_parameters(), after.named_parameters()):
        assert np.array_equal(p.value, q.value) != path.startswith(("ln_f.", "h.0.mlp.")), path
    refused(capsys, [*arguments(text, tmp_path / "no", 1), "--train-only", "h.1"],
            "--train-only: expected a pattern that names something of the model, got 'h.1'; there are h.0, wte, wpe, ")
    assert not (tmp_path / "no").exists()


def test_the_run_of_another_task(text, tmp_path, capsys):
    out = tmp_path / "run"
    out.mkdir()
    (out / "run.json").write_text('{"task": "poetry", "plan": {"steps": 2, "beams": 4}}')
    refused(capsys, ["--resume", str(out)], "run.json: expected a run of language modelling, translation, masked "
            "words, got one of poetry: another command, or another --task, goes on with it")


# ---- texts of any size

SMALL = ["--n-layer", "1", "--n-head", "2", "--n-embd", "8", "--sample", "0", "--steps", "2", "--threads", "1"]


@pytest.mark.parametrize("n_bytes, val", [(4, False), (5, False), (29, False), (2, True), (300, False), (3000, False),
                                          (100_000, False)])
def test_a_text_of_any_size_trains_with_the_defaults(tmp_path, n_bytes, val):
    """Of the defaults, vocabulary, context and warm-up become less where they must."""
    (tmp_path / "text.txt").write_text((TEXT * 50)[:n_bytes])
    (tmp_path / "val.txt").write_text("to")
    out = tmp_path / "run"
    more = ["--val", str(tmp_path / "val.txt")] * val
    assert train.main([str(tmp_path / "text.txt"), "--out", str(out), *SMALL, *more]) == 0
    model, tokenizer = gpt2np.load(out / "best")
    plan = json.loads((out / "run.json").read_text())["plan"]
    n = len(tokenizer.encode((TEXT * 50)[:n_bytes]))
    held_out = 0 if val else max(2, -(-n // 10))
    assert plan["context"] == model.config.n_ctx == min(256, n - held_out - 1)
    assert plan["warmup"] == 1 and 257 <= tokenizer.n_vocab < 400
    assert train.main(["--resume", str(out), "--steps", "3"]) == 0


@pytest.mark.parametrize("asked, message", [
    (["--context", "64"], "expected at least 65 bytes.* got 29: give more text, or train with a shorter --context"),
    (["--context", "26"], "expected at least 27 tokens.* got 19: give more text, or train with a shorter --context"),
    (["--n-vocab", "999"], "it suffices for 2..; ask for fewer tokens by --n-vocab, or give more text"),
    (["--val", "one"], r"validation text: expected at least 2 bytes.* got 1: give more text \(--val\)")])
def test_what_was_asked_for_is_not_made_less(tmp_path, capsys, monkeypatch, asked, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text(TEXT[:29])
    (tmp_path / "one").write_text("a")
    refused(capsys, ["text.txt", "--out", "run", *SMALL, *asked], message)
    assert not (tmp_path / "run").exists()


def test_fine_tuning_by_default_sees_what_the_model_can_see(text, tmp_path, capsys):
    assert train.main(arguments(text, tmp_path / "first", 1)) == 0
    assert train.main([text, "--out", str(tmp_path / "second"), "--init-from", str(tmp_path / "first" / "best"),
                       "--steps", "1", "--batch", "2", "--sample", "0"]) == 0
    assert "2 windows of 16 tokens" in capsys.readouterr().out


@pytest.mark.parametrize("epochs, steps", [("1", 24), ("2", 48), ("0.1", 3), ("1e-9", 1)])
def test_epochs_are_as_many_steps_as_it_takes(text, tmp_path, epochs, steps):
    """1,620 tokens to learn from are 100 windows of 16 tokens for each epoch: 25 batches of 4."""
    more = [a for a in arguments(text, tmp_path / "run", 1) if a not in ("--steps", "1")]
    assert train.main([*arguments(text, tmp_path / "run", 1)[:3], "--vocab", f"{os.path.dirname(text)}/vocabulary",
                       *TINY, "--eval-every", "100", "--epochs", epochs, "--warmup", "0"]) == 0
    plan = json.loads((tmp_path / "run" / "run.json").read_text())["plan"]
    assert (plan["steps"], plan["order"]) == (-(-100 * steps // 96), "epochs") if steps > 3 else (steps, "epochs")
    assert more and records(tmp_path / "run")[-1]["step"] == plan["steps"]


def test_a_model_that_is_large_for_its_text(text, tmp_path, capsys):
    for width, warned in (("16", False), ("64", True)):
        out = str(tmp_path / width)
        assert train.main([*arguments(text, out, 1), "--n-embd", width]) == 0
        printed = capsys.readouterr().out
        assert ("parameters for each token to learn from: such a model learns its text by heart" in printed) == warned
    assert train.main(["--resume", out, "--steps", "2"]) == 0
    assert "by heart" not in capsys.readouterr().out


def test_what_others_call_an_option(text, tmp_path):
    out = tmp_path / "run"
    assert train.main([text, "--out", str(out), *SMALL, "--batch-size", "3", "--learning-rate", "0.25", "--vocab-size",
                       "270", "--context", "8"]) == 0
    plan = json.loads((out / "run.json").read_text())["plan"]
    assert (plan["batch"], plan["lr"], gpt2np.load(out / "best")[0].config.n_vocab) == (3, 0.25, 270)
    ours = {"--" + name.replace("_", "-")
            for name in (*plan, *train.SIZES, "vocab", "n_vocab", "epochs", "out", "val", "init_from", "resume")}
    assert {name for name in train.KNOWN_AS.values() if name.startswith("-")} <= ours and not ours & {*train.KNOWN_AS}


@pytest.mark.parametrize("arguments, hint", [
    (["--train-file", "x"], "--train-file; files of text stand for themselves, as in: train plays.txt --out run"),
    (["--fp16"], "--fp16; expected none of that: in float32 a CPU is fast"),
    (["--logging_steps", "3"], "--logging-steps; each step is logged, in log.jsonl")])
def test_what_there_is_no_option_for(arguments, hint, tmp_path, capsys):
    refused(capsys, ["--output_dir", str(tmp_path / "run"), *arguments], f"error: unrecognized arguments: {hint}", 2)


# ---- what is said


def test_what_is_done_says_what_to_type_next(text, tmp_path, capsys):
    out = tmp_path / "a run"
    assert train.main(arguments(text, out, 1)) == 0
    assert capsys.readouterr().out.endswith(f"How it went, as a picture:\n    {out}/curve.html\nTo use it:\n"
                                            f"    python -m gpt2np.generate --model '{out}/best'\n")


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_an_evaluation_shows_that_it_lives(text, tmp_path, monkeypatch):
    monkeypatch.setattr(evaluation, "MAX_WINDOWS", 2)
    monkeypatch.setattr(sys, "stderr", shown := Terminal())
    monkeypatch.setenv("COLUMNS", "100")
    assert train.main(arguments(text, tmp_path / "run", 1)) == 0
    assert re.search(r"0/1 \[.*measuring, 2 of 12\].*measuring, 12 of 12\]", shown.getvalue(), re.S)
    assert re.search(r"loss 5\.\d{3} 100% 1/1 \[", shown.getvalue())       # the loss first: a narrow terminal cuts
    shown.truncate(0)
    monkeypatch.setattr(evaluate, "tqdm", lambda **options: tqdm(**options | {"delay": 0, "mininterval": 0}))
    assert evaluate.main([text, "--model", str(tmp_path / "run" / "best")]) == 0
    assert re.search(r"measuring:  \d+%.* \d+/\d+ ", shown.getvalue())


@pytest.mark.parametrize("written, warned", [("a\r\nb\r\n" * 9, True), ("a\nb\n" * 18, False), ("a\rb" * 18, False)])
def test_line_ends_of_windows_are_told(text, tmp_path, capsys, written, warned):
    (tmp_path / "a text").write_bytes(written.encode())
    said = f"{tmp_path}/a text: its lines end in a carriage return and a new line, as on Windows; both are kept, "
    how = rf"sed -i 's/\r$//' '{tmp_path}/a text'"
    vocabulary = f"{tmp_path}/vocabulary"
    assert train.main([f"{tmp_path}/a text", "--out", f"{tmp_path}/run", "--vocab", vocabulary, *SMALL]) == 0
    assert [part in capsys.readouterr().out for part in (f"warning: {said}",)] == [warned]
    assert evaluate.main([f"{tmp_path}/a text", "--model", f"{tmp_path}/run/best"]) == 0
    printed = capsys.readouterr().out
    assert [part in printed for part in (f"note: {said}", how)] == [warned, warned]


def test_line_ends_are_found_where_two_blocks_meet(tmp_path, monkeypatch):
    monkeypatch.setattr(utf8, "BLOCK", 4)
    told = []
    for written, expected in ((b"abc\r\ndef", 1), (b"abc\rdef\n", 0), (b"ab\r\nc\r\n", 1)):
        (tmp_path / "text").write_bytes(written)
        text, = ["".join(parts) for parts in read_texts([tmp_path / "text"], told.append)]
        assert text.encode() == written and len(told) == expected, written
        told.clear()


def test_several_files_each_and_all_together(text, tmp_path, capsys):
    assert train.main(arguments(text, tmp_path / "run", 1)) == 0
    (tmp_path / "short").write_text("the cat sat")
    model = ["--model", str(tmp_path / "run" / "best")]
    capsys.readouterr()
    losses, tokens = [], []
    for files in ([text], [f"{tmp_path}/short"], [text, f"{tmp_path}/short"]):
        assert evaluate.main([*files, *model]) == 0
        printed = capsys.readouterr().out
        losses.append([float(x) for x in re.findall(r"loss per token +([\d.]+)", printed)])
        tokens.append([int(x.replace(",", "")) for x in re.findall(r": ([\d,]+) tokens, ", printed)])
        assert printed.count("window ") == 1 - files.count(f"{tmp_path}/short") * (len(files) == 1)
    assert losses[2][:2] == losses[0] + losses[1] and tokens[2] == [*tokens[0], *tokens[1], tokens[0][0] + tokens[1][0]]
    assert losses[2][2] == pytest.approx(np.dot(losses[2][:2], tokens[2][:2]) / tokens[2][2], abs=1e-4)
    (tmp_path / "one").write_text("a")
    refused(capsys, [text, f"{tmp_path}/one", *model], f"{tmp_path}/one: text: expected at least 2 tokens",
            command=evaluate)
    refused(capsys, [text, f"{tmp_path}/none", *model], f"^error: {tmp_path}/none: No such file or directory\n$",
            command=evaluate)                           # before the first one is measured


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no named pipes")
def test_a_text_from_a_pipe_is_measured(text, tmp_path, capsys):
    assert train.main(arguments(text, tmp_path / "run", 1)) == 0
    capsys.readouterr()
    results = []
    os.mkfifo(pipe := str(tmp_path / "pipe"))
    writer = threading.Thread(target=Path(pipe).write_text, args=(TEXT,))
    writer.start()
    for path in (text, pipe):
        assert evaluate.main([path, "--model", str(tmp_path / "run" / "best")]) == 0
        results.append(capsys.readouterr().out.replace(path, "it"))
    writer.join()
    assert results[0] == results[1]


def test_a_text_that_is_foreign_to_the_model(tmp_path, capsys):
    (tmp_path / "zh").write_text("注意力是你所需要的一切。自注意力机制让每个词都能看到句子里的其他词。\n" * 3)
    (tmp_path / "en").write_text("KING. What news? I am glad to see you.\n" * 9)
    assert evaluate.main([str(tmp_path / "zh"), "--model", "demo"]) == 0
    printed = capsys.readouterr().out
    assert ("note: who guesses every byte blindly needs 8 bits for it: the text is foreign to the vocabulary, which "
            "needs 1.00 tokens for a byte of it\n") in printed
    assert float(re.search(r"bits per byte +([\d.]+)", printed)[1]) > 8
    assert evaluate.main([str(tmp_path / "en"), "--model", "demo"]) == 0
    assert "note:" not in capsys.readouterr().out
    assert train.main([str(tmp_path / "zh"), "--out", str(tmp_path / "run"), "--init-from", "demo", "--steps", "1",
                       "--context", "8", "--batch", "1", "--sample", "0"]) == 0
    assert re.search(r"warning: before it learns anything here, the model has a loss of \d+\.\d+, worse than that of "
                     r"guessing, log\(4096\) = 8\.318: such texts are foreign to it", capsys.readouterr().out)
