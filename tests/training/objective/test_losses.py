"""Losses at their limits, against plain cross-entropy, and by hand."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from made.tiny import generator
from torch.nn import functional

from nuhtc.training.objective.losses import SeesawLoss, dice_loss, smooth_l1

CLASSES = 3


def test_dice_of_right_and_wrong_answers() -> None:
    target = torch.tensor([[[1.0, 1, 0, 0]]])
    sure = 40 * (target - 0.5)
    assert float(dice_loss(sure, target)) == pytest.approx(0, abs=1e-5)
    assert float(dice_loss(-sure, target)) == pytest.approx(1, abs=1e-3)


def test_dice_by_hand() -> None:
    # Half sure of four pixels that are all inside: 2 * 2 / (4 * 0.25 + 4), and the constant.
    loss = dice_loss(torch.zeros(1, 2, 2), torch.ones(1, 2, 2))
    assert float(loss) == pytest.approx(1 - 4.001 / 5.001, abs=1e-6)


def test_dice_is_the_mean_over_the_first_axis() -> None:
    logits = torch.randn(3, 5, 5, generator=generator())
    target = (torch.rand(3, 5, 5, generator=generator(1)) > 0.5).float()
    each = [float(dice_loss(logits[i : i + 1], target[i : i + 1])) for i in range(3)]
    assert float(dice_loss(logits, target)) == pytest.approx(sum(each) / 3, abs=1e-6)


@given(st.integers(0, 1000))
def test_dice_pulls_every_pixel_the_right_way(seed: int) -> None:
    logits = torch.randn(2, 4, 4, generator=generator(seed)).requires_grad_()
    target = (torch.rand(2, 4, 4, generator=generator(seed + 1)) > 0.5).float()
    loss = dice_loss(logits, target)
    assert 0 <= float(loss.detach()) <= 1
    loss.backward()
    assert logits.grad is not None
    assert bool((logits.grad[target == 0] >= 0).all()), "background is pushed down"
    assert bool(logits.grad.isfinite().all())


def test_dice_of_nothing_is_zero_and_still_has_a_gradient() -> None:
    logits = torch.zeros(0, 28, 28, requires_grad=True)
    loss = dice_loss(logits, torch.zeros(0, 28, 28))
    loss.backward()
    assert float(loss.detach()) == 0


def test_dice_of_an_empty_target_goes_to_zero_as_the_answer_does() -> None:
    target = torch.zeros(1, 8, 8)
    sure, unsure = (float(dice_loss(torch.full((1, 8, 8), x), target)) for x in (-20.0, 0.0))
    assert sure == pytest.approx(0, abs=1e-6)
    assert unsure > 0.99


def test_smooth_l1_by_hand() -> None:
    # Within beta half the square over beta, beyond it the distance less half of beta.
    prediction, target = torch.tensor([[0.5, 2.0, 0.0, 0.0]]), torch.zeros(1, 4)
    assert float(smooth_l1(prediction, target, 1.0, 1)) == pytest.approx(0.125 + 1.5)
    assert float(smooth_l1(prediction, target, 0.5, 4)) == pytest.approx((0.25 + 1.75) / 4)


def test_smooth_l1_of_nothing() -> None:
    assert float(smooth_l1(torch.zeros(0, 4), torch.zeros(0, 4), 1.0, 0)) == 0


def random_logits(seed: int, count: int = 12) -> torch.Tensor:
    return torch.randn(count, CLASSES + 2, generator=generator(seed)) * 3


@given(st.integers(0, 1000))
def test_without_p_and_q_it_is_cross_entropy(seed: int) -> None:
    logits = random_logits(seed)
    labels = torch.randint(-1, CLASSES + 1, (12,), generator=generator(seed))
    classes, pair = SeesawLoss(CLASSES, p=0, q=0)(logits, labels)
    typed = (labels >= 0) & (labels < CLASSES)
    expected = (
        functional.cross_entropy(logits[typed, :CLASSES], labels[typed])
        if bool(typed.any())
        else torch.zeros(())
    )
    torch.testing.assert_close(classes, expected)
    torch.testing.assert_close(
        pair, functional.cross_entropy(logits[:, CLASSES:], (labels == CLASSES).long())
    )


def test_equal_counts_and_right_answers_are_plain_cross_entropy() -> None:
    # Nobody is rarer than anybody, and no wrong class scores above the right one.
    logits = torch.tensor([[2.0, 1, 0, 0, 0], [0, 3, 1, 0, 0], [-1, 0, 1, 0, 0]])
    labels = torch.tensor([0, 1, 2])
    classes, _ = SeesawLoss(CLASSES).train()(logits, labels)
    torch.testing.assert_close(classes, functional.cross_entropy(logits[:, :3], labels))


@pytest.mark.parametrize(("label", "expected"), [(0, math.log(1 + 0.01**0.8)), (1, math.log(2))])
def test_a_frequent_class_spares_a_rare_one(label: int, expected: float) -> None:
    loss = SeesawLoss(2, p=0.8, q=0).eval()
    loss.seen[:] = torch.tensor([100.0, 1.0])
    classes, _ = loss(torch.zeros(1, 4), torch.tensor([label]))
    assert float(classes) == pytest.approx(expected, rel=1e-5)


def test_a_wrong_class_that_wins_is_punished_more() -> None:
    # The wrong class scores e^2 times the right one; squared, its logit of 2 counts as 6.
    loss = SeesawLoss(2, p=0, q=2).eval()
    classes, _ = loss(torch.tensor([[2.0, 0, 0, 0]]), torch.tensor([1]))
    assert float(classes) == pytest.approx(math.log(1 + math.exp(6)), rel=1e-5)


def test_nuclei_of_unknown_class_train_the_pair_only() -> None:
    logits = random_logits(3, 4).requires_grad_()
    classes, pair = SeesawLoss(CLASSES)(logits, torch.full((4,), -1))
    (classes + pair).backward()
    assert float(classes.detach()) == 0
    assert logits.grad is not None
    assert not logits.grad[:, :CLASSES].any()
    assert bool((logits.grad[:, CLASSES] < 0).all()), "an object, whatever its class"
    assert bool((logits.grad[:, CLASSES + 1] > 0).all())


def test_background_trains_the_pair_only() -> None:
    logits = random_logits(4, 4).requires_grad_()
    classes, pair = SeesawLoss(CLASSES)(logits, torch.full((4,), CLASSES))
    (classes + pair).backward()
    assert logits.grad is not None
    assert not logits.grad[:, :CLASSES].any()
    assert bool((logits.grad[:, CLASSES] > 0).all())


def test_counts_grow_in_training_only() -> None:
    loss = SeesawLoss(CLASSES)
    labels = torch.tensor([0, 2, 2, -1, CLASSES])
    loss.eval()(random_logits(0, 5), labels)
    assert loss.seen.tolist() == [0, 0, 0]
    loss.train()
    for _ in range(2):
        loss(random_logits(0, 5), labels)
    assert loss.seen.tolist() == [2, 0, 4]
    assert loss.state_dict()["seen"].tolist() == [2, 0, 4], "a resumed run goes on counting"


@given(st.integers(0, 1000))
def test_extreme_logits_stay_finite(seed: int) -> None:
    logits = (random_logits(seed) * 1000).requires_grad_()
    labels = torch.randint(-1, CLASSES + 1, (12,), generator=generator(seed))
    classes, pair = SeesawLoss(CLASSES).train()(logits, labels)
    (classes + pair).backward()
    assert logits.grad is not None
    assert math.isfinite(float(classes.detach() + pair.detach()))
    assert bool(logits.grad.isfinite().all())
