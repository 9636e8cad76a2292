"""Texts that come and go in one batch: each becomes what it becomes alone, whoever is there beside it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt2np.blocks.kv_cache import KVCache
from gpt2np.decoding import Text, Together, generate, together
from gpt2np.decoding.shared_cache import SharedCache
from gpt2np.models.config import GPT2Config
from gpt2np.sampling import GenerationError, Sampler
from tests.decoding.test_decoding import filled

V, N_CTX = 23, 16
MODEL = filled(GPT2Config(n_vocab=V, n_ctx=N_CTX, n_embd=12, n_head=3, n_layer=2))


def text_of(rng, greedy):
    prompt = rng.integers(0, V, rng.integers(1, N_CTX + 1)).tolist()
    sampler = Sampler(temperature=0 if greedy else 1.2, top_p=0.9, end_of_text=4 if rng.random() < 0.5 else None,
                      frequency_penalty=float(rng.random()))
    return Text(prompt, int(rng.integers(1, 40)), sampler, np.random.default_rng(int(rng.integers(99))))


def alone(model, text):
    """What generate writes, with the generator of this text, which nothing has been drawn from."""
    class Given:
        def spawn(self, n):
            return [text.rng]
    return list(generate(model, text.tokens, text.max_new_tokens, text.sampler, Given(), text.stop))


def copy_of(text):
    rng = np.random.default_rng()
    rng.bit_generator.state = text.rng.bit_generator.state
    return Text(list(text.tokens), text.max_new_tokens, text.sampler, rng, text.stop)


@pytest.fixture
def small_steps(monkeypatch):
    monkeypatch.setattr(together, "PIECE", 5)
    monkeypatch.setattr(together, "ROOM", 4)


@settings(max_examples=12)
@given(seed=st.integers(0, 2**32), most=st.integers(1, 5), n=st.integers(1, 9), piece=st.integers(1, 20),
       room=st.integers(1, 9), greedy=st.booleans())
def test_a_text_in_company_is_what_it_is_alone(seed, most, n, piece, room, greedy):
    """Whenever it joins, whoever leaves before its end, past the window, and read in pieces of any size."""
    rng = np.random.default_rng(seed)
    texts = [text_of(rng, greedy) for _ in range(n)]
    expected = [alone(MODEL, copy_of(text)) for text in texts]
    given_up = {i: int(rng.integers(0, 20)) for i in range(n) if rng.random() < 0.3}
    waiting, there, written = list(range(n)), {}, {i: [] for i in range(n)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(together, "PIECE", piece)
        patch.setattr(together, "ROOM", room)
        company = Together(MODEL, most)
        while waiting or there:
            while waiting and len(company) < most and (not there or rng.random() < 0.5):
                i = waiting.pop(0)
                company.join(texts[i])
                there[i] = texts[i]
            for text, token, _ in company.step():
                i = texts.index(text)
                assert token is not None
                written[i].append(token)
                if text.ended:
                    del there[i]
            for i in [i for i in there if i in given_up and len(written[i]) >= given_up[i]]:
                company.leave(there.pop(i))
            assert len(company) == len(there)
    for i in range(n):
        if i in given_up and len(written[i]) < len(expected[i]):
            assert written[i] == expected[i][:len(written[i])] and len(written[i]) >= given_up[i]
        else:
            assert written[i] == expected[i] == texts[i].written
            assert texts[i].ended == ("end_of_text" if written[i][-1] == texts[i].sampler.end_of_text else
                                      "max_new_tokens")


def test_a_text_that_is_alone_is_that_of_generate_in_float32_too():
    """The model is run on the same tokens in the same order."""
    model = filled(GPT2Config(n_vocab=V, n_ctx=64, n_embd=12, n_head=3, n_layer=2), dtype=np.float32)
    company, text = Together(model, 4), Text([1, 2, 3], 90, Sampler(), np.random.default_rng(1))
    expected = alone(model, copy_of(text))
    company.join(text)
    while company:
        company.step()
    assert text.written == expected and len(expected) == 90


def test_a_long_prompt_lets_the_others_go_on(small_steps):
    company = Together(MODEL, 3)
    short, long = (Text([1] * n, 20, Sampler(), np.random.default_rng(n)) for n in (1, 14))
    company.join(short)
    company.step()
    company.join(long)
    found = [[text is long for text, _, _ in company.step()] for _ in range(4)]
    assert found == [[False], [False], [False, True], [False, True]]


def test_what_cannot_be_written_ends_by_itself_alone():
    company = Together(MODEL, 3)
    good, bad = Text([1], 5, Sampler(), np.random.default_rng(0)), \
        Text([2], 5, Sampler(forbidden=[[i] for i in range(V)]), np.random.default_rng(0))
    stopped = Text([3], 9, Sampler(temperature=0), np.random.default_rng(0), stop=lambda written: len(written) == 2)
    for text in (good, bad, stopped):
        company.join(text)
    steps = [company.step() for _ in range(6)]
    assert isinstance(bad.error, GenerationError) and bad.ended == "error" and bad.written == []
    assert good.ended == "max_new_tokens" and stopped.ended == "stop" and len(stopped.written) == 2
    assert [token for step in steps for text, token, _ in step if text is bad] == [None] and not company


def test_who_may_join():
    company = Together(MODEL, 1)
    for prompt in ([], [V], [0] * (N_CTX + 1)):
        with pytest.raises(GenerationError, match=r"^prompt: expected "):
            company.join(Text(prompt, 1, Sampler(), np.random.default_rng()))
    text = Text([1], 3, Sampler(), np.random.default_rng())
    company.join(text)
    with pytest.raises(ValueError, match="fewer than 1 texts"):
        company.join(Text([1], 1, Sampler(), np.random.default_rng()))
    company.leave(text)
    company.leave(text)
    assert not company and company.step() == []
    with pytest.raises(GenerationError, match="max_new_tokens"):
        Text([1], 0, Sampler(), np.random.default_rng())


def test_tokens_that_there_are_not_are_never_written():
    model = filled(GPT2Config(n_vocab=V, n_ctx=N_CTX, n_embd=12, n_head=3, n_layer=2))
    model.unused = list(range(3, V))
    company, written = Together(model, 2), []
    for seed in (1, 2):
        company.join(Text([1], 30, Sampler(temperature=50.0), np.random.default_rng(seed)))
    while company:
        written += [token for _, token, _ in company.step()]
    assert len(written) == 60 and set(written) == {0, 1, 2}


def test_the_memory_is_that_of_the_texts():
    """Rows are used again; with the last text, all is given back."""
    company = Together(MODEL, 2)
    for seed in range(20):
        company.join(Text([1, 2], 3, Sampler(), np.random.default_rng(seed)))
        company.step()
        assert company.past[0].k.shape == (2, 3, N_CTX, 4)
        if len(company) == 2:
            company.leave(company.texts[0])
    while company:
        company.step()
    assert company.past == []


# ---- the cache

def test_a_shared_cache_holds_what_each_text_has():
    rng = np.random.default_rng(0)
    B, H, D, n = 4, 2, 3, 20
    shared, texts = SharedCache(B, H, n, D, np.zeros(0)), []

    def right():
        for row, (k, v) in enumerate(texts):
            length = k.shape[2]
            for kept, a in ((shared.k, k), (shared.v, v)):
                assert np.array_equal(kept[row, :, shared.length - length:shared.length], a[0])
                assert np.isfinite(kept[row, :, :shared.length]).all()
        assert shared.rows == len(texts)

    def own(length):
        cache = KVCache(1, H, max(1, length), D, np.zeros(0))
        k, v = rng.standard_normal((2, 1, H, length, D))
        cache.append(k, v)
        return cache, (k, v)

    shared.length = 5
    for length in (5, 0, 3):
        cache, kept = own(length)
        shared.join(cache, 0, length)
        texts.append(kept)
    right()
    k, v = rng.standard_normal((2, 3, H, 2, D))
    seen_k, seen_v = shared.append(k, v)
    texts = [tuple(np.concatenate(pair, axis=2) for pair in ((a, k[i:i + 1]), (b, v[i:i + 1])))
             for i, (a, b) in enumerate(texts)]
    assert seen_k.shape == seen_v.shape == (3, H, 7, D)
    right()
    shared.leave(0)
    texts[0] = texts.pop()
    right()
    several = KVCache(2, H, 6, D, np.zeros(0))
    k, v = rng.standard_normal((2, 2, H, 6, D))
    several.append(k, v)
    shared.join(several, 1, 4)
    texts.append((k[1:, :, 2:], v[1:, :, 2:]))
    right()
    shared.leave(2)
    texts.pop()
    right()
    shared = shared.laid_out(9, 12)
    right()
    shared = shared.laid_out(5, 7)
    right()
    assert np.array_equal(shared.select([1, 1]).k[:, :, :5], shared.k[[1, 1], :, :5])
    with pytest.raises(ValueError, match="SharedCache: expected at most 7 positions, got 3 after 5"):
        shared.append(*np.zeros((2, 2, H, 3, D)))
    with pytest.raises(ValueError, match="expected one of 4 rows of 5 columns to be free, got 6 of 6 positions b"):
        shared.join(own(6)[0], 0, 6)
