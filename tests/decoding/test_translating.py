"""Translations are those of the loops below, each as if it were alone; and what a translation has looked at."""

import numpy as np
import pytest

import gpt2np
from gpt2np.decoding import Beam, BeamRules, best_translations, generate_batch, translate
from gpt2np.decoding.beams import log_coverage
from gpt2np.decoding.loop import GREEDY, columns
from gpt2np.decoding.translating import MORE, TOGETHER, looked_at, source_of
from gpt2np.layers.softmax import log_softmax_forward
from gpt2np.models.config import NORMS, TransformerConfig
from gpt2np.models.transformer import Transformer
from gpt2np.sampling import Sampler
from gpt2np.text.bpe import Tokenizer
from gpt2np.text.vocabulary import TokenizerError

TOKENIZER, END = Tokenizer([]), 256
TEXTS = ["abc", "", "我", " ", "a longer one", "z" * 30]


def model_of(norms="post", n_ctx=24, dtype=np.float64, seed=0):
    model = Transformer(TransformerConfig(257, n_ctx, 12, 3, 2, 24, norms), np.random.default_rng(seed), dtype=dtype)
    model.wte.value[END] *= 2.5                         # so that some translations end before they are cut
    return model


@pytest.fixture(scope="module", params=NORMS)
def model(request):
    return model_of(request.param)


def alone(model, text):
    """Greedily, by the whole model for each token."""
    source, written = TOKENIZER.encode(text)[:model.config.n_ctx], []
    while len(written) < min(model.config.n_ctx, len(source) + MORE):
        logits, _ = model.forward([source], None, [[END, *written]])
        written.append(int(logits[0, -1].argmax()))
        if written[-1] == END:
            break
    return TOKENIZER.decode([i for i in written if i != END])


def test_each_is_translated_as_if_it_were_alone(model):
    expected = [alone(model, text) if text.strip() else "" for text in TEXTS]
    assert translate(model, TOKENIZER, TEXTS) == expected
    one = BeamRules(1, early_stopping=True)
    found = best_translations(model, TOKENIZER, TEXTS, one)
    assert [beams[0].text if beams else "" for beams in found] == expected
    assert [len(beams) for beams in found] == [1, 0, 1, 0, 1, 1]


def test_beams_are_those_of_each_alone(model):
    rules = BeamRules(3, length_penalty=0.6, penalty="wu")
    together = best_translations(model, TOKENIZER, TEXTS, rules, coverage_penalty=0.3)
    for text, beams in zip(TEXTS, together, strict=True):
        again, = best_translations(model, TOKENIZER, [text], rules, coverage_penalty=0.3)
        assert [beam.written for beam in again] == [beam.written for beam in beams]
        assert [beam.score for beam in again] == pytest.approx([beam.score for beam in beams], abs=1e-10)


def test_more_texts_than_go_together_keep_their_order():
    model, texts = model_of(n_ctx=8), [chr(97 + i % 26) * (1 + i % 5) for i in range(TOGETHER + 9)]
    seen = []
    found = translate(model, TOKENIZER, texts, done=seen.append)
    assert found == [alone(model, text) for text in texts] and seen == [TOGETHER, len(texts)]


def test_a_score_is_the_sum_of_log_p_its_length_and_what_was_looked_at(model):
    rules, text = BeamRules(2, length_penalty=0.7, end_of_text=END), "a much longer text, with more to look at"
    beams, = best_translations(model, TOKENIZER, [text], rules, coverage_penalty=0.4)
    source, left_out = TOKENIZER.encode(text)[:24], 0
    for beam in beams:
        tokens = [END, *beam.written[:-1]]
        logits, _ = model.forward([source], None, [tokens])
        log_p, _ = log_softmax_forward(logits[0])
        total = sum(row[i] for row, i in zip(log_p, beam.written))
        coverage = log_coverage(looked_at(model, source, tokens))
        assert beam.total == pytest.approx(total, abs=1e-10)
        left_out += coverage < 0
        assert beam.score == pytest.approx(total / len(beam.written)**0.7 + 0.4 * coverage, abs=1e-10)
    assert left_out == len(beams) == 2                  # more than it has words for
    plain = best_translations(model, TOKENIZER, [text], rules)[0]
    assert all(beam.score == pytest.approx(beam.total / len(beam.written)**0.7) for beam in plain)


def test_what_was_looked_at(model):
    """The weights of the last block: they sum to 1, see no padding, and are those of a source alone."""
    source, mask = np.array([[1, 2, 3, 9, 9], [4, 5, 6, 7, 8]]), np.array([[1, 1, 1, 0, 0], [1] * 5], bool)
    p = model.looked_at(source, mask, [[END, 1, 2], [END, 3, 4]])
    assert p.shape == (2, 3, 5) and (p[0, :, 3:] == 0).all()
    np.testing.assert_allclose(p.sum(-1), 1, rtol=1e-12)
    np.testing.assert_allclose(p[0, :, :3], looked_at(model, [1, 2, 3], [END, 1, 2]), atol=1e-12)
    later = model.looked_at(source, mask, [[END, 1, 200], [END, 3, 200]])
    np.testing.assert_array_equal(p[:, :2], later[:, :2])       # what comes later changes nothing
    # By hand, from the last block's own input: softmax(q k' / sqrt(D)), the mean over heads.
    seen, block = {}, model.decoder[-1].cross_attn
    forward = block.forward
    block.forward = lambda x, memory, **options: (seen.update(x=x, memory=memory), forward(x, memory, **options))[1]
    p = looked_at(model, [1, 2, 3], [END, 1, 2])
    del block.forward
    C, H = 12, 3
    q = (seen["x"][0] @ block.c_q.w.value + block.c_q.b.value).reshape(3, H, C // H)
    k = (seen["memory"][0] @ block.c_kv.w.value + block.c_kv.b.value)[:, :C].reshape(3, H, C // H)
    scores = np.exp(np.einsum("thd,shd->hts", q, k) / np.sqrt(C // H))
    np.testing.assert_allclose(p, (scores / scores.sum(-1, keepdims=True)).mean(0), atol=1e-12)


def test_recomputed_blocks_keep_no_weights():
    config = TransformerConfig(257, 8, 12, 3, 1, 24)
    with pytest.raises(ValueError, match="recompute: expected a model without it"):
        Transformer(config, np.random.default_rng(0), recompute=True).looked_at([[1]], None, [[END]])


def test_what_is_drawn_follows_from_the_generator(model):
    sampler = Sampler(3.0, logit_bias={END: -50.0})
    first, again = (translate(model, TOKENIZER, TEXTS, sampler, np.random.default_rng(5)) for _ in range(2))
    assert first == again != translate(model, TOKENIZER, TEXTS, sampler, np.random.default_rng(6))


def test_a_token_that_no_text_has_is_not_written():
    model, unused = model_of(n_ctx=8), Tokenizer([])
    worst = int(np.argmax(np.bincount(columns(generate_batch(model.given([[1, 2]]), [[END]], 8, GREEDY))[0])))
    assert worst != END
    unused.unused = [worst]
    assert chr(0) is not None and TOKENIZER.decode([worst]) not in translate(model, unused, ["\x01\x02"])[0]


def test_a_vocabulary_without_an_end():
    model, endless = model_of(n_ctx=8), Tokenizer([])
    endless.end_of_text = None
    with pytest.raises(TokenizerError, match="has no token that ends a text"):
        translate(model, endless, ["a"])


def test_of_a_long_text_the_beginning_is_read(model):
    n = model.config.n_ctx
    assert translate(model, TOKENIZER, ["y" * n + "abc"]) == translate(model, TOKENIZER, ["y" * n])


def test_a_translation_may_have_so_many_tokens_more_than_its_source():
    """Where it does not end by itself; and never more than the model sees."""
    for n_ctx, n in (MORE + 9, MORE + 1), (MORE + 1, MORE + 1), (MORE, MORE), (MORE - 9, MORE - 9):
        model = model_of(n_ctx=n_ctx)
        model.wte.value[END] = 0
        endless = BeamRules(1, min_new_tokens=n_ctx)
        assert [len(beam.written) for beam, in best_translations(model, TOKENIZER, ["a"], endless)] == [n]


def test_a_source_may_end(tmp_path):
    """In the token that ends a text: it is read as if it stood there."""
    config = TransformerConfig(257, 12, 12, 3, 2, 24, source_end=True)
    model = Transformer(config, np.random.default_rng(3), dtype=np.float64)
    assert source_of(model, TOKENIZER, "abc") == [*TOKENIZER.encode("abc"), END]
    assert source_of(model, TOKENIZER, "z" * 20) == [*TOKENIZER.encode("z" * 11), END]
    plain = Transformer(TransformerConfig(257, 12, 12, 3, 2, 24), np.random.default_rng(3), dtype=np.float64)
    given = plain.given([[*TOKENIZER.encode("abc"), END]])
    expected, = columns(generate_batch(given, [[END]], 12, Sampler(0, end_of_text=END)))
    assert translate(model, TOKENIZER, ["abc"]) == [TOKENIZER.decode([i for i in expected if i != END])]
    gpt2np.save(tmp_path / "m", model, TOKENIZER)
    assert gpt2np.load(tmp_path / "m")[0].config == config


def test_beams_of_unequal_room():
    """Each prompt has its own limit, as if it were alone."""
    from gpt2np.decoding import beam_search_batch
    model = model_of(n_ctx=16)
    given = model.given([[1, 2], [3, 4], [5, 6]])
    found = beam_search_batch(given, [[END]] * 3, [2, 7, 4], BeamRules(2, end_of_text=None))
    assert [{len(beam.written) for beam in beams} for beams in found] == [{2}, {7}, {4}]
    for i, (source, n) in enumerate(zip(([1, 2], [3, 4], [5, 6]), (2, 7, 4))):
        one = beam_search_batch(model.given([source]), [[END]], n, BeamRules(2, end_of_text=None))[0]
        assert [beam.written for beam in one] == [beam.written for beam in found[i]]
        assert isinstance(one[0], Beam)
