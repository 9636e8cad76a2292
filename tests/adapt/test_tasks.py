"""train --adapt for a BERT and for an encoder-decoder, and the commands that use what comes of it."""

import contextlib
import io

import numpy as np
import pytest

from gpt2np import evaluate, fill, train, translate
from gpt2np.adapt.lora import add_lora
from gpt2np.adapt.replacing import added, replacements
from gpt2np.checkpoints import safetensors
from gpt2np.checkpoints.adapters import ARRAYS_FILE, save_adapter
from gpt2np.checkpoints.loading import save
from gpt2np.model_names import load
from gpt2np.models.bert import BERT, BertForPreTraining
from gpt2np.models.config import BertConfig, TransformerConfig
from gpt2np.models.transformer import Transformer
from gpt2np.text.wordpiece import learn_characters
from gpt2np.training import adapting
from gpt2np.training.errors import TrainingError
from gpt2np.training.number_pairs import number_pairs
from gpt2np.training.translation import of_characters

ALPHABET = "天地玄黄宇宙洪荒日月"
RUNS = {
    "masked lora": ["--rank", "2", "--adapt-dropout", "0.3"], "masked adalora": ["--rank", "2"],
    "masked prefix": ["--prefix-length", "7", "--context", "5"],
    "translation lora": ["--rank", "2", "--parts", "qv"],
    "translation prefix": ["--prefix-length", "15", "--context", "13"],
    "translation adapter": ["--adapter-width", "2", "--at", "encoder.*", "--at", "decoder.*"]}
TRAINED = {"masked lora": "64 = 1 x 2 (8 + 24)", "masked adalora": "99 = 1 x 3 (8 + 24 + 1)",
           "masked prefix": "112 = 1 x 2 x 7 x 8", "translation lora": "128 = 2 x 2 (8 + 8) + 2 (8 + 8)",
           "translation prefix": "480 = 2 x 2 x 15 x 8", "translation adapter": "84 = 2 x (2 x 8 x 2 + 2 + 8)"}
STEPS = 4
QUICK = ("masked adalora", "translation prefix")        # the others take as long again


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with a small model of each kind, and what it may learn from."""
    folder, rng = tmp_path_factory.mktemp("tasks"), np.random.default_rng(0)
    documents = [[" ".join(rng.choice(list(ALPHABET), 3)) for _ in range(3)] for _ in range(12)]
    (folder / "masked.txt").write_text("\n\n".join("\n".join(lines) for lines in documents), encoding="utf-8")
    pieces = learn_characters([ALPHABET], 99)
    config = BertConfig(pieces.n_vocab, 12, 8, 2, 1, 9)
    save(folder / "masked", BertForPreTraining(config, rng), pieces)
    save(folder / "encoder", BERT(config, rng), pieces)
    pairs = number_pairs(30, 0)
    (folder / "translation.txt").write_text("".join(f"{a}\t{b}\n" for a, b in pairs), encoding="utf-8")
    characters = of_characters(pairs)
    save(folder / "translation", Transformer(TransformerConfig(characters.n_vocab, 28, 8, 2, 1, 9), rng), characters)
    return folder


def arguments(files, run, out):
    task, method = run.split()
    more = ["--bleu", "2", "--batch-tokens", "300"] if task == "translation" else ["--batch", "6"]
    return ["--task", task, str(files / f"{task}.txt"), "--init-from", str(files / task), "--out", str(out), "--steps",
            str(STEPS), "--adapt", method, *RUNS[run], "--sample", "1", "--eval-every", "2", "--threads", "2", *more]


@pytest.fixture(scope="module",
                params=[pytest.param(run, marks=[] if run in QUICK else pytest.mark.slow) for run in RUNS])
def finished(request, files):
    """A finished run: its name, its folder, what it said."""
    run, out = request.param, files / f"run {request.param}"
    with contextlib.redirect_stdout(io.StringIO()) as said:
        assert train.main(arguments(files, run, out)) == 0
    return run, out, " ".join(said.getvalue().split())


def test_what_is_trained_is_said_saved_and_loaded(files, finished):
    run, out, said = finished
    task, method = run.split()
    assert f"{method}: {TRAINED[run]} parameters to train, " in said
    base, model = load(files / task)[0], load(files / task, adapter=out)[0]
    stored, _ = safetensors.read(out / "best" / ARRAYS_FILE)
    assert set(stored) == set(added(model)) == {path for path, p in model.named_parameters() if p.trainable}
    parameters = dict(model.named_parameters())
    assert all((parameters[path].value == p.value).all() for path, p in base.named_parameters())
    command = "fill" if task == "masked" else "translate"
    assert f"python -m gpt2np.{command}" in said and f"--adapter '{out / 'best'}'" in said


def test_a_run_goes_on_to_the_bit(files, finished, tmp_path, stop_after):
    """Stopped after two steps, it ends with what one that was never stopped has."""
    run, whole, _ = finished
    stop_after(2)
    assert train.main(arguments(files, run, tmp_path / "run")) == 1
    assert train.main(["--resume", str(tmp_path / "run")]) == 0
    one, other = (safetensors.read(out / f"step-{STEPS:08d}" / ARRAYS_FILE)[0] for out in (whole, tmp_path / "run"))
    assert one.keys() == other.keys() and all((one[path] == other[path]).all() for path in one)


def test_an_adapter_is_used(files, finished, capsys, tmp_path):
    """With its model named or not; what can be merged is."""
    run, out, _ = finished
    task, _ = run.split()
    capsys.readouterr()
    use, text = (fill.main, "天[MASK]玄") if task == "masked" else (translate.main, "12")
    said = []
    for given in (["--adapter", out], ["--adapter", out / "best", "--model", files / task]):
        assert use([text, *map(str, given)]) == 0
        said.append(capsys.readouterr().out)
    assert said[0] == said[1] != ""
    if task == "translation":
        (tmp_path / "some.tsv").write_text("12\t十二\n7\t七\n", encoding="utf-8")
        assert evaluate.main([str(tmp_path / "some.tsv"), "--model", str(files / task), "--adapter", str(out)]) == 0
        loss = float(capsys.readouterr().out.split("loss per token")[1].split()[0])
        assert loss == pytest.approx(float(loss_of(files / task, out)), abs=1e-4)


def loss_of(base, out):
    """The mean loss of a target's tokens, by a forward pass of each pair alone."""
    model, tokenizer = load(base, adapter=out)
    total, n = 0.0, 0
    for source, target in (("12", "十二"), ("7", "七")):
        ids, end = tokenizer.encode(target), [tokenizer.end_of_text]
        total += model.loss([tokenizer.encode(source)], None, [end + ids], [ids + end]) * (len(ids) + 1)
        n += len(ids) + 1
    return total / n


BAD = [
    (["--task", "masked", "--init-from", "encoder"], "--adapt lora: expected a BERT with its heads, got one without"),
    (["--task", "masked", "--init-from", "masked", "--at", "h.*.attn.c_attn"],
     "expected a pattern that names layers of the model, got 'h.*.attn.c_attn'; there are bert.h.*.attn.c_attn"),
    (["--task", "masked", "--init-from", "masked", "--adapt", "prefix", "--prefix-length", "12"],
     "expected fewer than the 12 positions that the model sees"),
    (["--task", "masked", "--init-from", "masked", "--adapt", "prefix", "--prefix-length", "3", "--context", "10"],
     "context: expected at most the model's n_ctx, 9, got 10"),
    (["--task", "translation", "--init-from", "translation", "--adapt", "prefix", "--prefix-length", "28"],
     "expected fewer than the 28 positions that the model sees")]


@pytest.mark.parametrize("asked, said", BAD)
def test_what_cannot_be_is_one_sentence(files, asked, said, tmp_path, capsys):
    task, init_from = asked[1], asked[3]
    asked = [*asked[:3], str(files / init_from), *asked[4:]]
    asked = asked if "--adapt" in asked else [*asked, "--adapt", "lora"]
    assert train.main([str(files / f"{task}.txt"), *asked, "--out", str(tmp_path / "run"), "--steps", "4"]) == 1
    error = " ".join(capsys.readouterr().err.split())
    assert said in error and "Traceback" not in error and not (tmp_path / "run").exists()


def test_a_bert_is_measured_with_its_adapter(files, tmp_path, capsys):
    """A new LoRA adds nothing, and another one something."""
    model, _ = load(files / "masked")
    add_lora(model, r=2, rng=np.random.default_rng(0))
    asked, said = [str(files / "masked.txt"), "--model", str(files / "masked")], []
    for name, scale in (("new", 0), ("other", 3)):
        for path, p in model.named_parameters():
            if path.endswith(".u"):
                p.value = p.value + scale * np.random.default_rng(1).standard_normal(p.shape).astype(p.value.dtype)
        save_adapter(tmp_path / name, model, str(files / "masked"))
        assert evaluate.main([*asked, "--adapter", str(tmp_path / name)]) == 0
        said.append(capsys.readouterr().out)
    assert evaluate.main(asked) == 0
    assert said[0] == capsys.readouterr().out != said[1]


def test_an_adapter_of_another_kind_of_model_is_refused(files, tmp_path, capsys):
    model, _ = load(files / "masked")
    add_lora(model)
    save_adapter(tmp_path / "adapter", model, str(files / "masked"))
    assert translate.main(["12", "--model", str(files / "translation"), "--adapter", str(tmp_path / "adapter")]) == 1
    assert "it is for another model: expected a Transformer, found one for a BertForPreTraining" in \
        " ".join(capsys.readouterr().err.split())


def test_a_task_without_a_base_has_nothing_to_adapt():
    class Some(adapting.AdaptableTask):
        def __init__(self):
            self.plan, self.model = adapting.AdaptPlan(steps=9, adapt="lora"), None

    with pytest.raises(TrainingError, match="--adapt lora: expected --init-from with it"):
        Some().begin_adapting(None)


def test_a_new_head_is_trained_besides(files):
    """As finetune wants it: what no base has is trained, and stands in the file."""
    model, _ = load(files / "masked")
    adapting.adapt(model, adapting.AdaptPlan(steps=9, adapt="lora", rank=1), besides=["nsp"])
    trained = {path for path, p in model.named_parameters() if p.trainable}
    assert trained == set(added(model)) | {"nsp.w", "nsp.b"} and list(replacements(model)) == ["bert.h.0.attn.c_attn"]
