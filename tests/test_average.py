"""python -m gpt2np.average: the mean of the checkpoints that a run has kept."""

import numpy as np
import pytest

import gpt2np
from gpt2np import average, train
from gpt2np.models.config import GPT2Config, TransformerConfig
from gpt2np.models.gpt2 import GPT2
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
