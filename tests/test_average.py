"""python -m gpt2np.average: the mean of the checkpoints that a run has kept."""

import numpy as np
import pytest

import gpt2np
from gpt2np import average, train
from gpt2np.adapt.narrow import quantize
from gpt2np.adapt.trimming import take_out_heads
from gpt2np.models.config import GPT2Config, TransformerConfig
from gpt2np.models.gpt2 import GPT2
from gpt2np.models.heads import Classifier
from gpt2np.models.transformer import Transformer
from gpt2np.text.bpe import Tokenizer
from gpt2np.training.number_pairs import number_pairs
from gpt2np.training.run_folder import checkpoints


def values(path):
    return {name: p.value for name, p in gpt2np.load(path)[0].named_parameters()}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("average")
    (folder / "pairs.tsv").write_text("".join("\t".join(pair) + "\n" for pair in number_pairs(30, 0)), "utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "keep_freed_memory", lambda: None)
        assert train.main(["--task", "translation", str(folder / "pairs.tsv"), "--out", str(folder / "run"), "--steps",
                           "5", "--eval-every", "1", "--n-layer", "1", "--n-head", "1", "--n-embd", "4", "--bleu", "0",
                           "--sample", "0", "--n-vocab", "260", "--threads", "1", "--keep", "3", "--warmup", "1"]) == 0
    return folder / "run"


def test_the_mean_of_the_last_checkpoints(run, tmp_path, capsys):
    kept = checkpoints(run)
    assert [path.name for path in kept] == ["step-00000003", "step-00000004", "step-00000005"]
    assert average.main([str(run), "--out", str(tmp_path / "mean")]) == 0
    assert average.main([str(run), "--last", "2", "--out", str(tmp_path / "two")]) == 0
    assert average.main([*map(str, kept[1:]), "--out", str(tmp_path / "named")]) == 0
    assert "the mean of 3 models, " in capsys.readouterr().out
    of_each = [values(path) for path in kept]
    for name, mean in values(tmp_path / "mean").items():
        np.testing.assert_allclose(mean, np.mean([each[name] for each in of_each], axis=0), rtol=1e-6, atol=1e-8)
        assert not np.array_equal(mean, of_each[-1][name])
    two, named = values(tmp_path / "two"), values(tmp_path / "named")
    for name in two:
        np.testing.assert_array_equal(two[name], named[name])
        np.testing.assert_allclose(two[name], (of_each[1][name] + of_each[2][name]) / 2, rtol=1e-6, atol=1e-8)


def test_a_run_with_several_checkpoints_goes_on_from_the_last(run, tmp_path):
    assert train.main(["--resume", str(run), "--steps", "6"]) == 0
    assert [path.name for path in checkpoints(run)] == ["step-00000004", "step-00000005", "step-00000006"]


@pytest.mark.parametrize("other", [
    Transformer(TransformerConfig(257, 8, 8, 2, 2, 8), np.random.default_rng(0)),
    GPT2(GPT2Config(257, 8, 8, 2, 1), np.random.default_rng(0))])
def test_models_of_different_sizes(tmp_path, capsys, other):
    gpt2np.save(tmp_path / "a", Transformer(TransformerConfig(257, 8, 8, 2, 1, 8), np.random.default_rng(0)),
                Tokenizer([]))
    gpt2np.save(tmp_path / "b", other, Tokenizer([]))
    assert average.main([str(tmp_path / "a"), str(tmp_path / "b"), "--out", str(tmp_path / "c")]) == 1
    assert "b: it is not a model of the sizes of the first: expected TransformerConfig(" in capsys.readouterr().err
    assert not (tmp_path / "c").exists()


def refused(one, other, tmp_path, capsys):
    """What is said of two models in folders that cannot be averaged; nothing is written."""
    assert average.main([str(one), str(other), "--out", str(tmp_path / "mean")]) == 1
    assert not (tmp_path / "mean").exists()
    return capsys.readouterr().err


def small(seed=0):
    return GPT2(GPT2Config(257, 8, 8, 2, 1), np.random.default_rng(seed))


def test_a_mean_is_of_parameters_and_whole_numbers_are_none(tmp_path, capsys):
    gpt2np.save(tmp_path / "wide", small(), Tokenizer([]))
    narrow = small()
    quantize(narrow, "int8")
    gpt2np.save(tmp_path / "narrow", narrow, Tokenizer([]))
    said = "narrow: its matrices are in int8: name the model that it was made from"
    assert said in refused(tmp_path / "wide", tmp_path / "narrow", tmp_path, capsys)
    assert said in refused(tmp_path / "narrow", tmp_path / "narrow", tmp_path, capsys)


def test_models_without_other_heads_are_not_alike_though_their_shapes_are(tmp_path, capsys):
    for name, head in (("a", 0), ("b", 1)):
        model = small()
        take_out_heads(model, {0: [head]})
        gpt2np.save(tmp_path / name, model, Tokenizer([]))
    gpt2np.save(tmp_path / "all", small(), Tokenizer([]))
    assert "expected all but {'h.0.attn': [0]}, found all but {'h.0.attn': [1]}" in refused(
        tmp_path / "a", tmp_path / "b", tmp_path, capsys)
    assert "b: it is not a model with the heads of the first" in refused(
        tmp_path / "all", tmp_path / "b", tmp_path, capsys)
    assert average.main([str(tmp_path / "a"), str(tmp_path / "a"), "--out", str(tmp_path / "mean")]) == 0


def test_a_row_of_the_table_is_of_one_token_and_a_row_of_the_head_of_one_label(tmp_path, capsys):
    model = GPT2(GPT2Config(258, 8, 8, 2, 1), np.random.default_rng(0))
    for name, merge in (("a", (b"a", b"b")), ("b", (b"b", b"a"))):
        gpt2np.save(tmp_path / name, model, Tokenizer([merge]))
    assert "b: its tokens are not those of the first" in refused(tmp_path / "a", tmp_path / "b", tmp_path, capsys)
    for name, labels in (("c", ("neg", "pos")), ("d", ("pos", "neg"))):
        gpt2np.save(tmp_path / name, Classifier(small(), labels, np.random.default_rng(0)), Tokenizer([]))
    assert "expected ('neg', 'pos'), found ('pos', 'neg')" in refused(tmp_path / "c", tmp_path / "d", tmp_path, capsys)


def test_what_is_not_there_is_no_single_model(run, tmp_path, capsys):
    assert "neither a model's name" in refused(tmp_path / "nothing", tmp_path / "nothing", tmp_path, capsys)
    assert average.main([str(tmp_path / "nothing"), "--out", str(tmp_path / "mean")]) == 1
    assert "neither a model's name" in capsys.readouterr().err
    with pytest.raises(SystemExit) as end:
        average.main([str(run), str(run / "best"), "--last", "2", "--out", str(tmp_path / "mean")])
    assert end.value.code == 2
    assert "--last: expected the folder of a run" in capsys.readouterr().err
