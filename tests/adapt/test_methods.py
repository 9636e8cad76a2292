"""What holds for every way to train few parameters, in every model: how it begins, is merged, decodes and trains."""

import math

import numpy as np
import pytest

from gpt2np.adapt.prefix import add_prefix, flattened
from gpt2np.adapt.replacing import AdaptError, added, merge, restore
from gpt2np.decoding import generate, generate_batch
from gpt2np.layers.module import Parameter
from gpt2np.models.gpt2 import GPT2
from gpt2np.models.heads import Classifier
from gpt2np.sampling import Sampler
from gpt2np.tracing import trace
from gpt2np.training.adapting import AdaptPlan, adapt
from gpt2np.training.mpi import MPIParallel
from gpt2np.training.parallel import DataParallel
from tests.training.test_mpi import on_ranks

from .models import AT_FIRST_THE_BASE, MERGED, METHODS, MODELS, adapted, batch_for, bert_alone, gpt2, transformer

every_model = pytest.mark.parametrize("name", MODELS)
every_method = pytest.mark.parametrize("method", METHODS)
GREEDY = Sampler(temperature=0)


def losses_and_gradients(model, batch, **options):
    model.zero_grad()
    loss = model.loss_and_gradients(*batch, **options)
    return loss, {path: p.grad for path, p in model.named_parameters() if p.grad is not None}


@every_model
@every_method
def test_gradients_are_those_of_differences(name, method):
    """Of all parameters along a random direction of length 1; and what is frozen has none."""
    model, _ = adapted(name, method)
    batch, rng, h = batch_for(model), np.random.default_rng(3), 1e-5
    loss, gradients = losses_and_gradients(model, batch)
    assert abs(loss - model.loss(*batch)) < 1e-13
    parameters = {path: p for path, p in model.named_parameters() if p.trainable}
    assert gradients.keys() == parameters.keys()
    v = {path: rng.standard_normal(p.shape) for path, p in parameters.items()}
    length, norm = (math.sqrt(sum((a * a).sum() for a in arrays.values())) for arrays in (v, gradients))
    v = {path: a / length for path, a in v.items()}
    values = {path: p.value for path, p in parameters.items()}
    sides = []
    for step in (h, -h):
        for path, p in parameters.items():
            p.value = values[path] + step * v[path]
        sides.append(model.loss(*batch))
    expected = sum((gradients[path] * v[path]).sum() for path in v)
    assert abs((sides[0] - sides[1]) / (2 * h) - expected) < 1e-8 * norm


@every_model
@pytest.mark.parametrize("method", AT_FIRST_THE_BASE)
def test_begins_as_the_base_and_is_taken_out_again(name, method):
    base = MODELS[name]()
    batch = batch_for(base)
    model, old = adapted(name, method, drawn=False)
    assert model.loss(*batch) == base.loss(*batch)
    changed, old = adapted(name, method)
    assert changed.loss(*batch) != base.loss(*batch)
    if old:
        restore(changed, old)
        assert not added(changed) and changed.loss(*batch) == base.loss(*batch)


@every_model
def test_a_prefix_is_taken_out_again(name):
    base, (model, old) = MODELS[name](), adapted(name, "prefix")
    assert model.loss(*batch_for(base)) != base.loss(*batch_for(base))
    restore(model, old)
    assert model.loss(*batch_for(base)) == base.loss(*batch_for(base))


@every_model
@pytest.mark.parametrize("method", MERGED)
@pytest.mark.parametrize("dtype, limit", [(np.float64, 1e-12), (np.float32, 1e-5)])
def test_merged_is_unmerged(name, method, dtype, limit):
    model, old = adapted(name, method, dtype=dtype)
    batch, base = batch_for(model), MODELS[name](dtype=dtype)
    loss = model.loss(*batch)
    merge(model)
    assert not added(model) and abs(model.loss(*batch) - loss) <= limit * abs(loss)
    assert {path: p.value.dtype for path, p in model.named_parameters()} == \
        {path: p.value.dtype for path, p in base.named_parameters()}
    for path, layer in old.items():                                         # the base was not touched
        assert (dict(base.named_modules())[path].w.value == layer.w.value).all()


@pytest.mark.parametrize("method", ["adapter", "block adapter", "prefix"])
def test_what_cannot_be_merged_stays_as_it_is(method):
    model, _ = adapted("GPT2", method)
    loss = model.loss(*batch_for(model))
    with pytest.raises(AdaptError, match=f"merge: expected what changes a matrix, as LoRA does, got {method}"):
        merge(model)
    assert added(model) and model.loss(*batch_for(model)) == loss
    with pytest.raises(AdaptError, match="to which something was added"):
        merge(gpt2())


@every_method
def test_a_past_is_the_full_pass(method):
    """Token by token, several texts of other lengths at once, a window that slides: all as by one forward each."""
    model, _ = adapted("GPT2", method)
    assert model.n_ctx == (10 if method == "prefix" else 12)
    prompts = [[1, 2, 3], [4], [5, 6, 7, 8, 9]]

    def slowly(tokens, n):
        tokens = list(tokens)
        for _ in range(n):
            tokens.append(int(model.forward([tokens])[0][0, -1].argmax()))
        return tokens[-n:]

    written = list(zip(*generate_batch(model, prompts, 5, GREEDY)))
    assert [list(row) for row in written] == [slowly(prompt, 5) for prompt in prompts]
    assert len(list(generate(model, prompts[0], 20, GREEDY))) == 20         # beyond n_ctx


@every_method
@pytest.mark.parametrize("norms", ["post", "pre"])
def test_a_decoder_with_a_past_is_the_full_pass(method, norms):
    model, _ = adapted("Transformer" if norms == "post" else "Transformer, pre", method)
    source, mask, tokens, _ = batch_for(model)
    logits, _ = model.forward(source, mask, tokens)
    given = model.given(source, mask)
    past = given.new_past(3, given.n_ctx)
    parts = [given.next_logits(tokens[:, t:t + 1], past) for t in range(tokens.shape[1])]
    np.testing.assert_allclose(np.concatenate(parts, axis=1), logits, rtol=0, atol=1e-12)
    alone, _ = model.forward(source[1:2, :2], None, tokens[1:2])            # without its padding
    np.testing.assert_allclose(alone, logits[1:2], rtol=0, atol=1e-12)


@every_method
def test_recomputed_accumulated_and_on_threads(method):
    """The same gradients, however they are worked out; a frozen part keeps nothing and has none."""
    model, _ = adapted("GPT2", method)
    batch = batch_for(model)
    loss, gradients = losses_and_gradients(model, batch)
    again, _ = adapted("GPT2", method, recompute=True)
    loss_again, gradients_again = losses_and_gradients(again, batch)
    assert loss_again == loss and gradients_again.keys() == gradients.keys()
    for path, gradient in gradients.items():
        assert (gradients_again[path] == gradient).all(), path
    for threads, pieces in ((1, 3), (2, 1), (3, 2)):
        with DataParallel(model, threads) as parallel:
            found, norm = parallel.loss_and_gradients(batch, pieces)
        assert abs(found - loss) < 1e-14
        assert abs(norm - math.sqrt(sum((g * g).sum() for g in gradients.values()))) < 1e-13
        for path, gradient in gradients.items():
            np.testing.assert_allclose(dict(model.named_parameters())[path].grad, gradient, rtol=0, atol=1e-14)


@every_method
@pytest.mark.parametrize("name", ["GPT2", "Transformer"])
def test_ranks_are_the_whole_batch(name, method):
    """Each process has the model, a share of the rows, and in the end the gradients of all."""
    model, _ = adapted(name, method)
    batch = batch_for(model)
    loss, gradients = losses_and_gradients(model, batch)

    def work(comm):
        mine, _ = adapted(name, method)
        with MPIParallel(comm, mine, 1) as parallel:
            found, _ = parallel.loss_and_gradients(batch)
        return found, {path: p.grad for path, p in mine.named_parameters() if p.grad is not None}

    for found, of_rank in on_ranks(2, work):
        assert abs(found - loss) < 1e-14 and of_rank.keys() == gradients.keys()
        for path, gradient in gradients.items():
            np.testing.assert_allclose(of_rank[path], gradient, rtol=0, atol=1e-14)


@every_method
def test_dropout_follows_from_the_generator(method):
    losses = set()
    for seed in (1, 1, 2):
        model, _ = adapted("GPT2", method, dropout=0.5, recompute=seed == 2)
        losses.add(float(model.loss_and_gradients(*batch_for(model), rng=np.random.default_rng(seed))))
    assert len(losses) == 2


@every_model
@every_method
def test_frozen_or_not_what_trains_has_the_same_gradient(name, method):
    model, _ = adapted(name, method)
    batch = batch_for(model)
    _, gradients = losses_and_gradients(model, batch)
    model.unfreeze()
    _, all_gradients = losses_and_gradients(model, batch)
    assert gradients.keys() < all_gradients.keys() == {path for path, _ in model.named_parameters()}
    for path, gradient in gradients.items():
        np.testing.assert_allclose(all_gradients[path], gradient, rtol=0, atol=1e-14)


def test_a_prefix_of_tokens_is_a_model_that_has_read_them():
    base, model = gpt2(), gpt2()
    add_prefix(model, length=3, tokens=[4, 9, 1])
    logits, _ = base.forward([[4, 9, 1, 5, 2]])
    np.testing.assert_allclose(model.forward([[5, 2]])[0], logits[:, 3:], rtol=0, atol=1e-14)
    with pytest.raises(AdaptError, match="tokens: expected 3, one for each position"):
        add_prefix(gpt2(), length=3, tokens=[4, 9])


@pytest.mark.parametrize("make", [gpt2, transformer])
def test_an_mlp_makes_a_prefix_and_is_dropped(make):
    model = make()
    add_prefix(model, length=2, hidden=5)
    batch = batch_for(model)
    trained = {path for path, p in model.named_parameters() if p.trainable}
    assert trained == set(added(model)) and sum(path.endswith("table") for path in trained) == 1
    losses_and_gradients(model, batch)
    for p in added(model).values():
        p.value = p.value - 0.1 * p.grad
    loss = model.loss(*batch)
    flattened(model)
    assert {path.rpartition(".")[2] for path in added(model)} == {"prefix_k", "prefix_v"}
    assert abs(model.loss(*batch) - loss) < 1e-14


@pytest.mark.parametrize("length", [12, 13])
def test_a_prefix_leaves_room_for_a_text(length):
    with pytest.raises(AdaptError, match=f"fewer than the 12 positions that the model sees, .* got {length}"):
        add_prefix(gpt2(), length=length)
    model = gpt2()
    add_prefix(model, length=11)
    assert model.n_ctx == 1 and model.forward([[3]])[0].shape == (1, 1, 11)
    with pytest.raises(ValueError, match="T from 1 to 1"):
        model.forward([[3, 4]])


@pytest.mark.parametrize("method", MERGED)
def test_no_product_is_made_for_what_is_frozen(method, monkeypatch):
    """No gradient of a matrix of the base is offered to it, nor one of the embeddings."""
    model, _ = adapted("GPT2", method)
    new, offered = {id(p) for p in added(model).values()}, []
    monkeypatch.setattr(Parameter, "accumulate", lambda p, grad: offered.append(p))
    assert isinstance(model, GPT2)
    model.loss_and_gradients(*batch_for(model))
    assert offered and all(id(p) in new for p in offered)


def test_a_trace_counts_the_narrow_matrices():
    """LoRA's two products stand below the path of its layer, AdaLoRA's under it; 2 r (I + O) operations a token."""
    N, C = 3, 12
    for method, name, formula, flops in (
            ("lora, q and v", "h.0.attn.c_attn.lora.1.out", "y = scale (x a) u", 2 * N * 2 * (C + C) + N * 2),
            ("adalora", "h.1.attn.c_attn", "y = x w + b + alpha / (first_r + 1e-5) ((x p) e) q",
             (2 * C + 1) * N * 3 * C + 2 * N * 3 * (C + 3 * C))):
        model, _ = adapted("GPT2", method)
        step, = (step for step in trace(model, [[1, 2, 3]]) if step.name == name)
        assert (step.formula, step.flops) == (formula, flops)


@pytest.mark.parametrize("body", [gpt2, bert_alone])
def test_a_new_head_stands_on_an_adapted_body(body):
    """As finetune wants it: the head is trained besides, and sees as much of a text as the body."""
    model = Classifier(body(), ["no", "yes"], np.random.default_rng(1), dtype=np.float64)
    head = {path for path, _ in model.named_parameters() if not path.startswith("body.")}
    adapt(model, AdaptPlan(steps=9, adapt="prefix", prefix_length=2), besides=sorted(head))
    trained = {path for path, p in model.named_parameters() if p.trainable}
    assert trained == head | set(added(model)) and head and all(path.startswith("body.") for path in added(model))
    tokens = np.arange(20).reshape(2, 10) % 9
    model.zero_grad()
    model.loss_and_gradients(tokens, None, None, np.array([0, 1]))
    assert {path for path, p in model.named_parameters() if p.grad is not None} == trained
    with pytest.raises(ValueError, match="T from 1 to 10"):
        model.forward(np.zeros((1, 11), int))
