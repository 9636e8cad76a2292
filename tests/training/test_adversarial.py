"""Adversarial training: where texts are moved to, what is learned there, and that sharing a batch changes nothing."""

from dataclasses import replace

import numpy as np
import pytest

from gpt2np import train
from gpt2np.adapt.lora import add_lora
from gpt2np.interpret.taps import InterpretError, Tap, tapped
from gpt2np.layers.linear import Linear
from gpt2np.models.bert import BERT, BertForPreTraining
from gpt2np.models.config import BertConfig, GPT2Config, TransformerConfig
from gpt2np.models.gpt2 import GPT2
from gpt2np.models.heads import Classifier, TokenClassifier
from gpt2np.models.transformer import Transformer
from gpt2np.training import adversarial
from gpt2np.training.adversarial import (
    Attack,
    adversarially,
    attack_of,
    attacked,
    how_to_learn,
    moved,
    norms,
    scaled,
    steps_up,
    within,
)
from gpt2np.training.errors import TrainingError
from gpt2np.training.loop import MOVED
from gpt2np.training.mpi import MPIParallel
from gpt2np.training.parallel import DataParallel, plainly
from gpt2np.training.plan import Plan
from tests.training.test_commands import arguments, refused
from tests.training.test_loop import PLAN, contents, new_run, records, resumed
from tests.training.test_mpi import on_ranks
from tests.training.test_parallel import assert_close, gradients, model_and_batch

FGM, PGD = Attack(0.5, 1, 0.5), Attack(0.5, 3, 0.3)
MASK = np.array([[True] * 6, [True] * 4 + [False] * 2, [True] * 2 + [False] * 4])


def language(rng, **options):
    """A GPT-2, with a row of which the end does not count."""
    model = GPT2(GPT2Config(20, 8, 12, 3, 2), rng, dtype=np.float64, **options)
    targets = rng.integers(0, 20, (3, 6))
    targets[0, 4:] = -100
    return model, (rng.integers(0, 20, (3, 6)), targets)


def classifier(rng, body=BERT, **options):
    """A head on texts of 6, 4 and 2 tokens."""
    config = BertConfig(20, 8, 12, 3, 2, 24) if body is BERT else GPT2Config(20, 8, 12, 3, 2)
    model = Classifier(body(config, rng, dtype=np.float64, **options), ["a", "b", "c"], rng, dtype=np.float64)
    return model, (rng.integers(0, 20, (3, 6)), np.zeros((3, 6), int), MASK, np.array([0, 2, 1]))


def on_gpt2(rng, **options):
    return classifier(rng, GPT2, **options)


def tokens_of(rng):
    model = TokenClassifier(BERT(BertConfig(20, 8, 12, 3, 1, 24), rng, dtype=np.float64, pooler=False), ["a", "b"],
                            rng, dtype=np.float64)
    return model, (rng.integers(0, 20, (3, 6)), np.zeros((3, 6), int), MASK,
                   np.where(MASK, rng.integers(0, 2, (3, 6)), -100))


def masked(rng):
    model = BertForPreTraining(BertConfig(20, 8, 12, 3, 1, 24), rng, dtype=np.float64)
    return model, (rng.integers(0, 20, (3, 6)), np.zeros((3, 6), int), MASK,
                   np.where(MASK, rng.integers(0, 20, (3, 6)), -100), np.array([0, 1, -100]))


def translation(rng):
    """An encoder and a decoder, which read the one table for two texts."""
    model = Transformer(TransformerConfig(20, 8, 12, 3, 1, 24, "pre"), rng, dtype=np.float64, label_smoothing=0.1)
    return model, (rng.integers(0, 20, (3, 6)), MASK, rng.integers(0, 20, (3, 5)),
                   np.where(MASK[:, :5], rng.integers(0, 20, (3, 5)), -100))


EVERY = [language, classifier, on_gpt2, tokens_of, masked, translation]


def made(make, **options):
    return make(np.random.default_rng(3), **options)


def loss_at(model, batch, r):
    """The loss as it is learned, with label smoothing, of texts that are moved by r; the gradients are left alone."""
    before = {p: p.grad for _, p in model.named_parameters()}
    model.zero_grad()
    with moved(model, r):
        loss = plainly(model, batch, None, None)
    for p, grad in before.items():
        p.grad = grad
    return loss


# ---- where the texts are moved to


@pytest.mark.parametrize("make", EVERY)
def test_the_gradient_by_the_embeddings_is_that_of_differences(make):
    model, batch = made(make)
    with moved(model) as tap:
        plainly(model, batch, None, None)
    assert len(tap.g) == 1 + (make is translation)
    rng, h = np.random.default_rng(0), 1e-5
    for i, g in enumerate(tap.g):
        for _ in range(3):
            v = [np.zeros_like(other) for other in tap.g]
            v[i] = rng.standard_normal(g.shape)
            up, down = (loss_at(model, batch, [h * sign * one for one in v]) for sign in (1, -1))
            error = (g * v[i]).sum() - (up - down) / (2 * h)
            assert abs(error) <= 1e-7 * np.sqrt((g * g).sum() * (v[i] * v[i]).sum())


@pytest.mark.parametrize("make", EVERY)
def test_fgm_moves_each_text_by_epsilon_along_its_gradient_and_no_padding(make):
    model, batch = made(make)
    with moved(model) as tap:
        plainly(model, batch, None, None)
    r = attacked(FGM, model, batch)
    for its, g in zip(r, tap.g, strict=True):
        np.testing.assert_allclose(norms(its).ravel(), 0.5, rtol=1e-13)
        np.testing.assert_allclose((its * g).sum(axis=(1, 2)), 0.5 * norms(g).ravel(), rtol=1e-12)
    if make is not language:
        assert (r[0][~MASK] == 0).all()                 # not nearly


@pytest.mark.parametrize("make", EVERY)
def test_it_hurts_and_several_steps_hurt_more(make):
    model, batch = made(make)
    small = Attack(0.02, 1, 0.02)
    before, after = loss_at(model, batch, ()), loss_at(model, batch, attacked(small, model, batch))
    assert after > before
    within_reach = [Attack(0.5, K, 0.5 / 4) for K in (1, 4, 16)]
    losses = [loss_at(model, batch, attacked(attack, model, batch)) for attack in within_reach]
    assert before < losses[0] < losses[1] < losses[2] * (1 + 1e-9)


@pytest.mark.parametrize("make", EVERY)
def test_pgd_of_one_step_of_epsilon_is_fgm_and_none_leaves_the_ball(make):
    model, batch = made(make)
    plan = Plan(1, adversarial="fgm", perturbation=0.5)
    assert attack_of(plan) == attack_of(replace(plan, adversarial="pgd", attack_steps=1, attack_size=0.5)) == FGM
    for attack in (PGD, Attack(0.1, 5, 7.0)):
        for r in attacked(attack, model, batch):
            assert (norms(r) <= attack.epsilon * (1 + 1e-12)).all()
    inside = attacked(Attack(5.0, 3, 0.3), model, batch)
    assert (norms(inside[0]) <= 0.9 + 1e-12).all()


def test_a_text_without_a_gradient_stays_where_it_is_and_a_tiny_one_is_seen():
    g = np.zeros((3, 2, 4), np.float32)
    g[0, 0, 0], g[1] = 1e-30, 3.0                       # whose square is 0 in float32
    r = scaled(g, 0.5)
    assert r.dtype == np.float32
    np.testing.assert_allclose(norms(r).ravel(), [0.5, 0.5, 0], rtol=1e-6)
    np.testing.assert_array_equal(within(r, 0.0), 0)
    model, (tokens, targets) = made(language)
    targets[1] = -100
    r, = attacked(PGD, model, (tokens, targets))
    assert (r[1] == 0).all() and (norms(r)[[0, 2]] > 0).all()


def test_texts_do_not_depend_on_one_another():
    for make in EVERY:
        model, batch = made(make)
        counted = model.counted(*batch)                 # a loss of two means weighs them by it
        together = attacked(PGD, model, batch)
        for row in range(3):
            alone = attacked(PGD, model, tuple(array[row:row + 1] for array in batch), counted)
            for its, all_of_them in zip(alone, together, strict=True):
                np.testing.assert_allclose(its[0], all_of_them[row], rtol=1e-9, atol=1e-12)


# ---- what is learned there


@pytest.mark.parametrize("attack", [FGM, PGD])
@pytest.mark.parametrize("make", EVERY)
def test_both_losses_are_learned_with_what_was_added_held_still(make, attack):
    model, batch = made(make)
    r = attacked(attack, model, batch)
    assert all(p.grad is None for _, p in model.named_parameters())
    losses = adversarially(attack, model, batch, None, None)
    np.testing.assert_allclose(losses, [loss_at(model, batch, ()), loss_at(model, batch, r)], rtol=1e-12)
    rng, h = np.random.default_rng(1), 1e-5
    v = {path: rng.standard_normal(p.value.shape) for path, p in model.named_parameters()}
    length = np.sqrt(sum((one * one).sum() for one in v.values()))
    v = {path: one / length for path, one in v.items()}
    expected = sum((p.grad * v[path]).sum() for path, p in model.named_parameters())
    sides = []
    for sign in (1, -1):
        for path, p in model.named_parameters():
            p.value = p.value + sign * h * v[path]
        sides.append(loss_at(model, batch, ()) + loss_at(model, batch, r))
        for path, p in model.named_parameters():
            p.value = p.value - sign * h * v[path]
    norm = np.sqrt(sum((p.grad * p.grad).sum() for _, p in model.named_parameters()))
    assert abs(expected - (sides[0] - sides[1]) / (2 * h)) <= 1e-8 * norm


@pytest.mark.parametrize("make", [language, classifier, on_gpt2])
def test_recomputed_blocks_and_dropped_numbers_make_no_difference(make):
    found = []
    for recompute in (False, True):
        model, batch = made(make, recompute=recompute, dropout=0.3)
        losses = adversarially(PGD, model, batch, None, np.random.default_rng(7))
        found.append((losses, gradients(model)))
    np.testing.assert_array_equal(found[0][0], found[1][0])
    for path, g in found[0][1].items():
        np.testing.assert_array_equal(g, found[1][1][path])


def test_each_pass_drops_the_same_numbers(monkeypatch):
    model, batch = made(language, dropout=0.5)
    seen = []
    monkeypatch.setattr(adversarial, "plainly", lambda model, rows, counted, rng: [
        plainly(model, rows, counted, rng), seen.append(rng.bit_generator.state["state"]["state"])][0])
    rng = np.random.default_rng(0)
    adversarially(PGD, model, batch, None, rng)
    assert len(seen) == 4 and len(set(seen)) == 1 == len({*seen, rng.bit_generator.state["state"]["state"]})


@pytest.mark.parametrize("make", EVERY)
def test_what_is_frozen_stays_so_and_the_rest_is_learned_as_before(make):
    """Where the tables are frozen, and where all but a head is."""
    for trained in (["h", "head", "decoder", "mlm", "encoder"], ["head", "ln_f", "ln_decoder", "mlm.ln"]):
        model, batch = made(make)
        whole, _ = made(make)
        for path, p in model.named_parameters():
            inside = f".{path}."
            p.trainable = any(f".{name}." in inside for name in trained) and not path.endswith(("wte", "wpe"))
        which = {path for path, p in model.named_parameters() if p.trainable}
        assert which
        got, expected = (adversarially(PGD, one, batch, None, None) for one in (model, whole))
        np.testing.assert_allclose(got, expected, rtol=1e-12)
        assert {path for path, p in model.named_parameters() if p.grad is not None} == which
        assert {path for path, p in model.named_parameters() if p.trainable} == which
        grads = gradients(whole)
        assert_close(gradients(model), {path: grads[path] for path in which}, 1e-11)


def test_beside_lora():
    model, batch = made(language)
    add_lora(model, r=2, rng=np.random.default_rng(0))
    r, = attacked(FGM, model, batch)
    losses = adversarially(FGM, model, batch, None, None)
    assert losses[1] == pytest.approx(loss_at(model, batch, [r]), rel=1e-12)
    assert all((p.grad is not None) == p.trainable for _, p in model.named_parameters())


def test_what_goes_wrong_on_the_way_leaves_the_model_as_it_was():
    model, (tokens, targets) = made(language)
    model.wpe.trainable = False
    before = [(p, p.trainable) for _, p in model.named_parameters()]
    for bad in (tokens + 100, tokens):
        with pytest.raises(ValueError):
            adversarially(PGD, model, (bad, targets[:, :2]), None, None)
        with pytest.raises(ValueError):
            attacked(PGD, model, (bad, targets[:, :2]))
    assert [(p, p.trainable) for _, p in model.named_parameters()] == before
    assert "forward" not in vars(model.wte)


# ---- however it is shared


@pytest.mark.parametrize("attack", [FGM, PGD])
@pytest.mark.parametrize("threads, pieces", [(1, 1), (2, 1), (3, 2), (1, 5)])
def test_threads_and_pieces_learn_the_whole_batch(attack, threads, pieces):
    model, tokens, targets = model_and_batch(5)
    targets[0, 2:] = -100
    expected_losses = adversarially(attack, model, (tokens, targets), None, None)
    expected = gradients(model)

    def learn(*work):
        return adversarially(attack, *work)

    with DataParallel(model, threads) as parallel:
        for _ in range(2):
            losses, norm = parallel.loss_and_gradients((tokens, targets), pieces, learn=learn)
            np.testing.assert_allclose(losses, expected_losses, rtol=1e-12)
            assert_close(gradients(model), expected, 1e-11)
            assert norm == pytest.approx(np.sqrt(sum((g * g).sum() for g in expected.values())), rel=1e-12)


@pytest.mark.parametrize("B, ranks", [(5, 2), (2, 3)])
def test_ranks_learn_the_whole_batch(B, ranks):
    model, tokens, targets = model_and_batch(B)
    expected_losses = adversarially(PGD, model, (tokens, targets), None, None)
    expected = gradients(model)

    def work(comm):
        mine, *_ = model_and_batch(B)
        with MPIParallel(comm, mine, 2) as parallel:
            losses, norm = parallel.loss_and_gradients((tokens, targets), learn=lambda *work: adversarially(PGD, *work))
            return losses, norm, gradients(mine)

    for losses, norm, got in on_ranks(ranks, work):
        np.testing.assert_allclose(losses, expected_losses, rtol=1e-12)
        assert_close(got, expected, 1e-11)
        assert norm == pytest.approx(np.sqrt(sum((g * g).sum() for g in expected.values())), rel=1e-12)


# ---- runs


SHORT = replace(PLAN, steps=3, eval_every=3, sample=0, threads=1)
ADVERSARIAL = replace(SHORT, adversarial="pgd", perturbation=0.3, attack_steps=2, attack_size=0.2, dropout=0.1)


def test_a_perturbation_of_0_is_training_without_to_the_bit(tmp_path):
    for name, plan in (("plain", SHORT), ("nothing", replace(SHORT, adversarial="fgm", perturbation=0.0))):
        with new_run(tmp_path / name, plan) as trainer:
            list(trainer.run())
    assert records(tmp_path / "plain") == records(tmp_path / "nothing")
    assert contents(tmp_path / "plain" / "best") == contents(tmp_path / "nothing" / "best")


def test_a_run_learns_says_both_losses_and_goes_on_where_it_was(tmp_path):
    with new_run(tmp_path / "whole", ADVERSARIAL) as trainer:
        list(trainer.run())
    with new_run(tmp_path / "cut", ADVERSARIAL) as trainer:
        for record in trainer.run():
            if record["step"] == 2 and "loss" in record:
                break
        trainer.save()
    with resumed(tmp_path / "cut", ADVERSARIAL) as trainer:
        list(trainer.run())
    steps = [record for record in records(tmp_path / "whole") if "loss" in record]
    assert len(steps) == SHORT.steps and all(record[MOVED] > record["loss"] for record in steps)
    evaluations = [record["val_loss"] for record in records(tmp_path / "whole") if "val_loss" in record]
    assert evaluations[-1] < evaluations[0]
    assert records(tmp_path / "whole") == records(tmp_path / "cut")
    assert contents(tmp_path / "whole" / "best") == contents(tmp_path / "cut" / "best")


def test_the_command(text, tmp_path, capsys):
    assert train.main([*arguments(text, tmp_path / "run", 2), "--adversarial", "pgd", "--perturbation", "0.2",
                       "--attack-steps", "2", "--attack-size", "0.1"]) == 0
    assert [MOVED in record for record in records(tmp_path / "run") if "loss" in record] == [True] * 2


@pytest.mark.parametrize("options, message", [
    (["--adversarial", "fgm", "--perturbation", "-1"], "--perturbation: expected a number of 0 or more, got -1"),
    (["--adversarial", "fgm", "--perturbation", "nan"], "--perturbation: expected .*, got .*nan"),
    (["--adversarial", "fgm", "--attack-steps", "2"],
     "--attack-steps: expected only with --adversarial pgd, got it with fgm"),
    (["--attack-size", "2"], "--attack-size: expected only with --adversarial pgd, got it without"),
    (["--perturbation", "2"], "--perturbation: expected only with --adversarial fgm or pgd, got it without"),
    (["--adversarial", "pgd", "--attack-size", "0"], "--attack-size: expected a number above 0, got 0"),
    (["--adversarial", "pgd", "--attack-steps", "0"], "--attack-steps: expected .*1.*, got 0"),
    (["--adversarial", "fgsm"], "--adversarial: .*fgsm"),
])
def test_bad_options_end_in_a_sentence(text, tmp_path, capsys, options, message):
    refused(capsys, [*arguments(text, tmp_path / "run", 2), *options], message, 2)
    assert not (tmp_path / "run").exists()


def test_a_model_without_a_table_of_words_is_refused():
    plan = Plan(1, adversarial="fgm")
    with pytest.raises(TrainingError, match=r"^--adversarial: expected a model with a table of embeddings, wte, got a "
                                            r"Linear, which has none$"):
        how_to_learn(Linear(2, 2, None), plan)
    assert how_to_learn(Linear(2, 2, None), replace(plan, adversarial="none")) is plainly


# ---- the tap at one part


def test_one_part_alone_is_tapped_also_where_blocks_are_recomputed():
    model, (tokens, _) = made(language, recompute=True)
    seen = []

    class Seeing(Tap):
        def after(self, path, y, cache):
            seen.append(path)
            return y

    with tapped(model, Seeing(), "wte"):
        model.forward(tokens)
    assert seen == ["wte"]
    with pytest.raises(InterpretError, match="runs each block twice"), tapped(model, Seeing(), "h.0.attn"):
        pass
    with pytest.raises(InterpretError, match=r"got wt; there are .*wte"), tapped(model, Seeing(), "wt"):
        pass


def test_steps_up_from_nothing_and_from_r():
    g, r = [np.full((1, 1, 4), 2.0)], [np.full((1, 1, 4), 0.25)]        # |g| = 4, |r| = 0.5
    np.testing.assert_allclose(steps_up(Attack(9.0, 1, 1.0), g)[0], 0.5)
    np.testing.assert_allclose(steps_up(Attack(9.0, 1, 1.0), g, r)[0], 0.75)
    np.testing.assert_allclose(steps_up(Attack(1.2, 1, 1.0), g, r)[0], 0.6)
