"""train --adapt, resumed; generate, evaluate and convert with --adapter; and what is refused, in a sentence."""

import contextlib
import io
import json
import shutil

import numpy as np
import pytest

import gpt2np
from gpt2np import convert, evaluate, generate, train
from gpt2np.adapt.replacing import added, replacements
from gpt2np.checkpoints import safetensors
from gpt2np.checkpoints.adapters import ARRAYS_FILE
from gpt2np.checkpoints.loading import save
from gpt2np.model_names import load
from gpt2np.models.config import GPT2Config
from gpt2np.models.gpt2 import GPT2
from gpt2np.text.bpe import Tokenizer
from gpt2np.training import adapting, run_folder
from tests.checkpoints.tiny import MERGES

METHODS = {"lora": ["--rank", "2", "--alpha", "4", "--at", "h.*.attn.c_attn", "--at", "h.*.mlp.c_fc",
                    "--adapt-dropout", "0.3"],
           "adalora": ["--rank", "2"], "adapter": ["--adapter-width", "2"], "prefix": ["--prefix-length", "3"],
           "bias": []}
TRAINED = {"lora": (288, " = 2 x 2 (8 + 24) + 2 x 2 (8 + 32)"), "adalora": (198, " = 2 x 3 (8 + 24 + 1)"),
           "adapter": (168, " = 4 x (2 x 8 x 2 + 2 + 8)"), "prefix": (96, " = 2 x 2 x 3 x 8"), "bias": (184, "")}
FEW = ["--batch", "3", "--context", "6", "--sample", "2", "--eval-every", "2", "--threads", "2", "--lr", "0.01"]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """The folder of a model, a text beside it."""
    folder = tmp_path_factory.mktemp("base")
    tokenizer = Tokenizer(MERGES)
    model = GPT2(GPT2Config(tokenizer.n_vocab, 16, 8, 2, 2), np.random.default_rng(0))
    save(folder / "model", model, tokenizer)
    (folder / "text.txt").write_text("the cat and the other cat saw the mat\n" * 6)
    return folder


def arguments(base, out, method, steps=6):
    return [str(base / "text.txt"), "--init-from", str(base / "model"), "--out", str(out), "--steps", str(steps),
            "--adapt", method, *METHODS[method], *FEW]


@pytest.fixture(scope="module")
def runs(base):
    """The folder of a finished run of each method, and what it said."""
    for method in METHODS:
        with contextlib.redirect_stdout(io.StringIO()) as said:
            assert train.main(arguments(base, base / method, method)) == 0
        (base / f"{method}.txt").write_text(" ".join(said.getvalue().split()))
    return base


@pytest.mark.parametrize("method", ["lora", "adalora"])
def test_a_run_goes_on_to_the_bit(runs, method, tmp_path, stop_after):
    """Stopped after two of six steps, it ends with what one that was never stopped has."""
    stop_after(2)
    assert train.main(arguments(runs, tmp_path / "run", method)) == 1
    assert train.main(["--resume", str(tmp_path / "run")]) == 0
    for folder in ("step-00000006", "best"):
        whole, again = (safetensors.read(out / folder / ARRAYS_FILE)[0] for out in (runs / method, tmp_path / "run"))
        assert whole.keys() == again.keys()
        assert all((whole[path] == again[path]).all() for path in whole)


@pytest.mark.parametrize("method", METHODS)
def test_what_is_trained_is_said_and_saved(runs, method):
    model, _ = load(runs / "model", adapter=runs / method)
    base, _ = load(runs / "model")
    stored, _ = safetensors.read(runs / method / "best" / ARRAYS_FILE)
    trained = {path: p for path, p in model.named_parameters() if p.trainable}
    assert set(stored) == set(trained)
    assert (method == "bias") is not bool(added(model))
    for (path, p), (other, q) in zip(base.named_parameters(), ((n, p) for n, p in model.named_parameters()
                                                                if n not in added(model))):
        assert path == other and ((p.value == q.value).all() or path in stored)
    said, n = (runs / f"{method}.txt").read_text(), sum(p.value.size for p in trained.values())
    assert n == TRAINED[method][0] and f"{method}: {n:,}{TRAINED[method][1]} parameters to train, " in said
    assert f"python -m gpt2np.generate --adapter {runs / method / 'best'}" in said
    assert f"{n:,} of {model.config.n_parameters:,} parameters to train" in said
    log = run_folder.read_log(runs / method)
    assert ("penalty" in log[-2]) is (method == "adalora")


def text_of(capsys, *options):
    assert generate.main(["the", "--seed", "1", "--max-new-tokens", "5", *map(str, options)]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("method", ["lora", "prefix", "bias"])
def test_an_adapter_is_used_by_every_command(runs, method, capsys, tmp_path):
    base, run = runs / "model", runs / method
    text = text_of(capsys, "--adapter", run)                                # which names its model
    assert text == text_of(capsys, "--adapter", run / "best", "--model", base)
    assert evaluate.main([str(runs / "text.txt"), "--model", str(base), "--adapter", str(run)]) == 0
    loss = capsys.readouterr().out.split("loss per token")[1].split()[0]
    asked = [str(base), str(tmp_path / "merged"), "--to", "openai", "--adapter", str(run), "--merge"]
    if method == "prefix":
        assert convert.main(asked) == 1
        assert f"merge: expected what changes a matrix, as LoRA does, got {method}" in \
            " ".join(capsys.readouterr().err.split())
        assert not (tmp_path / "merged").exists()
        return
    assert convert.main(asked) == 0
    assert evaluate.main([str(runs / "text.txt"), "--model", str(tmp_path / "merged")]) == 0
    merged = capsys.readouterr().out.split("loss per token")[1].split()[0]
    assert abs(float(merged) - float(loss)) <= 1.01e-4
    assert not replacements(gpt2np.load(tmp_path / "merged")[0])


def test_to_peft_and_back(runs, capsys, tmp_path):
    """LoRA, AdaLoRA and a prefix; what peft has no file for is refused, and nothing is written."""
    for method in ("lora", "adalora", "prefix", "bias"):
        status = convert.main([str(runs / "model"), str(tmp_path / method), "--to", "peft", "--adapter",
                               str(runs / method)])
        said = " ".join(capsys.readouterr().err.split())
        if method == "bias":
            assert status == 1 and "peft has files for LoRA, AdaLoRA or a prefix" in said
            assert not (tmp_path / method).exists()
            continue
        assert status == 0 and sorted(path.name for path in (tmp_path / method).iterdir()) == \
            ["adapter_config.json", "adapter_model.safetensors"]
        ours, theirs = (load(runs / "model", adapter=place)[0].forward([[1, 2, 3]])[0]
                        for place in (runs / method, tmp_path / method))
        assert (ours == theirs).all()


def test_a_base_that_has_changed_is_refused(runs, capsys, tmp_path):
    """Of the same sizes, trained a little further: in generate, and where a run is to go on."""
    run = shutil.copytree(runs / "lora", tmp_path / "run")
    moved = shutil.copytree(runs / "model", tmp_path / "model")
    model, tokenizer = load(moved)
    for _, p in model.named_parameters():
        p.value = p.value * np.float32(1.01)
    save(moved, model, tokenizer)
    assert generate.main(["the", "--adapter", str(run), "--model", str(moved)]) == 1
    assert "it was trained on another model than this one" in " ".join(capsys.readouterr().err.split())
    for folder in ("step-00000006", "best"):
        path = run / folder / "adapter.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"base": str(moved)}))
    assert train.main(["--resume", str(run), "--steps", "8"]) == 1
    assert "it was trained on another model than this one" in " ".join(capsys.readouterr().err.split())
    shutil.rmtree(moved)
    assert generate.main(["the", "--adapter", str(run)]) == 1
    assert "nor the path of one" in " ".join(capsys.readouterr().err.split())


BAD = [
    (["--adapt", "lora", "--rank", "0"], 2, "--rank: expected a whole number of 1 or more, got 0"),
    (["--adapt", "lora", "--rank", "9"], 1, "rank: expected a whole number from 1 to 8, the smaller side"),
    (["--adapt", "lora", "--alpha", "much"], 2, "--alpha: expected a number, got much"),
    (["--adapt", "lora", "--alpha", "0"], 2, "--alpha: expected a number above 0, got 0.0"),
    (["--adapt", "lora", "--at", "h.*.attn.q"], 1, "a pattern that names layers of the model, got 'h.*.attn.q'"),
    (["--adapt", "lora", "--at", "wte"], 1, "wte: expected a layer, got a table, which the model also uses elsewhere"),
    (["--adapt", "lora", "--at", "h.*.mlp.c_fc", "--parts", "qv"], 1, "parts: expected some of none"),
    (["--adapt", "prefix", "--prefix-length", "16"], 1, "expected fewer than the 16 positions that the model sees"),
    (["--adapt", "prefix", "--prefix-length", "12"], 1, "context: expected at most the model's n_ctx, 4, got 6"),
    (["--adapt", "lora", "--train-only", "ln_f"], 2, "--train-only: expected only without --adapt"),
    (["--adapt", "bias", "--at", "ln_f"], 2, "--at: expected only with --adapt lora"),
    (["--adapt", "prefix", "--parts", "qv"], 2, "--parts: expected only with --adapt lora"),
    (["--adapt", "adalora", "--rank-stabilised"], 2, "--rank-stabilised: expected only with --adapt lora"),
    (["--adapt", "lora", "--thaw-every", "2"], 2, "--thaw-every: expected only without --adapt"),
]


@pytest.mark.parametrize("asked, status, said", BAD)
def test_what_cannot_be_is_one_sentence(base, asked, status, said, tmp_path, capsys):
    """And no folder is left."""
    given = [str(base / "text.txt"), "--init-from", str(base / "model"), "--out", str(tmp_path / "run"), *FEW,
             "--steps", "6", *asked]
    try:
        assert train.main(given) == status
    except SystemExit as ended:
        assert ended.code == status
    error = capsys.readouterr().err
    assert said in " ".join(error.split()) and "Traceback" not in error
    assert not (tmp_path / "run").exists()


def test_a_new_model_has_nothing_to_adapt(base, tmp_path, capsys):
    with pytest.raises(SystemExit):
        train.main([str(base / "text.txt"), "--out", str(tmp_path / "run"), "--adapt", "lora"])
    assert "--adapt lora: expected --init-from with it" in " ".join(capsys.readouterr().err.split())
    for given, said in ((["--to", "peft"], "--to peft: expected an --adapter with it"),
                        (["--to", "openai", "--merge"], "--merge: expected an --adapter with it"),
                        (["--to", "openai", "--adapter", "x"], "--adapter: expected either --merge"),
                        (["--to", "peft", "--adapter", "x", "--merge"], "--adapter: expected either --merge")):
        with pytest.raises(SystemExit):
            convert.main([str(base / "model"), str(tmp_path / "out"), *given])
        assert said in " ".join(capsys.readouterr().err.split())


def test_gradual_unfreezing(base, tmp_path, monkeypatch):
    """--thaw-every 2: after each two steps one block more has changed; then all."""
    out, before, real, changed = tmp_path / "run", load(base / "model")[0], run_folder.save, []

    def saved(out, task, optimizer, state, keep=1):
        changed.append({path.split(".")[0] + (path.split(".")[1] if path.startswith("h.") else "") for (path, p), (_, q)
                        in zip(before.named_parameters(), task.model.named_parameters()) if (p.value != q.value).any()})
        real(out, task, optimizer, state, keep)

    monkeypatch.setattr(run_folder, "save", saved)
    given = [str(base / "text.txt"), "--init-from", str(base / "model"), "--out", str(out), *FEW, "--save-every", "2",
             "--thaw-every", "2", "--weight-decay", "0", "--warmup", "0", "--schedule", "constant"]
    assert train.main([*given, "--steps", "8"]) == 0
    found = [parts for i, parts in enumerate(changed) if parts and parts not in changed[:i]]
    assert found == [{"ln_f"}, {"ln_f", "h1"}, {"ln_f", "h1", "h0"}, {"ln_f", "h1", "h0", "wte", "wpe"}]


def test_the_first_rank_is_more_than_the_last():
    for rank in (1, 2, 3, 8):
        plan = adapting.AdaptPlan(steps=9, adapt="adalora", rank=rank)
        assert adapting.first_rank(plan) > rank


def test_each_method_has_a_learning_rate_of_its_own(base, capsys):
    """Which --help says; what is given counts."""
    given = [str(base / "text.txt"), "--init-from", str(base / "model"), "--out", "run"]
    assert {*adapting.LEARNING_RATES, adapting.NONE} == set(adapting.METHODS)
    for method, lr in adapting.LEARNING_RATES.items():
        assert train.parse([*given, "--adapt", method], 1).plan.lr == lr
        assert train.parse([*given, "--adapt", method, "--lr", "0.5"], 1).plan.lr == 0.5
    assert train.parse(given, 1).plan.lr == train.parse([*given, "--adapt", "none"], 1).plan.lr == 5e-5
    with pytest.raises(SystemExit):
        train.main(["--help"])
    assert "where no --lr is given, it is 1e-3, of prefix 1e-2" in " ".join(capsys.readouterr().out.split())
