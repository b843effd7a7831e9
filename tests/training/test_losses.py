"""Losses: what is masked does not count, known answers, and slow loops as oracles."""

import math

import numpy as np
import pytest
import torch
from reference.tags import tag_losses as slow_tag_losses

from rtpe.training.losses import (
    feature_loss,
    heatmap_loss,
    offset_loss,
    pull_loss,
    push_loss,
    segmentation_loss,
    shift_loss,
)

SHAPE = (2, 3, 4, 5)


def tag_losses(tags, indices, weights):
    return pull_loss(tags, indices, weights), push_loss(tags, indices, weights)


def tensors(seed=0):
    """predicted, target, mask with some cells out."""
    generator = torch.Generator().manual_seed(seed)
    predicted, target = torch.randn(SHAPE, generator=generator), torch.rand(SHAPE, generator=generator)
    return predicted, target, (torch.rand(2, 1, 4, 5, generator=generator) > 0.4).float()


OPTIONS = [{}, {"foreground": 5.0}]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_perfect_heatmap_costs_nothing(options):
    _, target, mask = tensors()
    assert heatmap_loss(target, target, mask, **options) == 0


def test_a_heatmap_loss_by_hand():
    """Errors 1 and 3 in a map of 2 cells: (1 + 9) / 2; the other joint is right."""
    predicted = torch.tensor([[[[1.0, 3.0]], [[0.0, 0.0]]]])
    assert heatmap_loss(predicted, torch.zeros(1, 2, 1, 2), torch.ones(1, 1, 1, 2)) == pytest.approx(5.0 / 2)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_masked_cells_do_not_count(options):
    """People nobody labelled would else be taught away: neither the value nor the gradient may see them."""
    predicted, target, mask = tensors()
    changed = (predicted + 100 * torch.randn(SHAPE) * (1 - mask)).requires_grad_()
    loss = heatmap_loss(changed, target, mask, **options)
    assert torch.equal(loss, heatmap_loss(predicted, target, mask, **options))
    loss.backward()
    assert not (changed.grad * (1 - mask)).any() and (changed.grad * mask).any()


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_an_image_of_unknowns_costs_nothing(options):
    """All crowd: no division by its 0 cells."""
    predicted = tensors()[0].requires_grad_()
    loss = heatmap_loss(predicted, tensors()[1], torch.zeros(2, 1, 4, 5), **options)
    loss.backward()
    assert loss == 0 and not predicted.grad.any()


def test_the_mask_does_not_thin_out_the_error():
    """The mean is over the cells that count: half an image must not weigh half."""
    half = torch.ones(1, 1, 4, 4)
    half[..., 2:] = 0
    error = torch.ones(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)
    assert heatmap_loss(*error, half) == heatmap_loss(*error, torch.ones(1, 1, 4, 4)) == 1


@pytest.mark.parametrize("height, weight", [(-0.3, 1), (0, 1), (0.25, 3), (1, 9), (7, 9)])
def test_foreground_weighs_by_the_target(height, weight):
    """1 + 8 * target within 0 and 1: a teacher's overshoot must not weigh more, its undershoot not less than 1."""
    target = torch.full((1, 1, 1, 1), float(height))
    assert heatmap_loss(target + 2, target, torch.ones(1, 1, 1, 1), foreground=8.0) == pytest.approx(4.0 * weight)


def test_the_weight_of_a_cell_is_no_way_to_learn():
    """A target that learns, too, must not lower the loss by making cells count less."""
    predicted, target, mask = tensors()
    learning = target.clone().requires_grad_()
    heatmap_loss(predicted, learning, mask, foreground=5.0).backward()
    cells = mask.sum((2, 3), keepdim=True) * SHAPE[0] * SHAPE[1]
    want = -2 * (predicted - target) * mask * (1 + 5 * target) / cells
    torch.testing.assert_close(learning.grad, want)


def test_half_precision_is_summed_in_full():
    """Sums of many cells in bf16 stop growing at 256."""
    ones = torch.ones(1, 1, 64, 64)
    assert heatmap_loss(ones.bfloat16(), 0 * ones, ones) == 1
    assert segmentation_loss((0 * ones).bfloat16(), ones, ones) == pytest.approx(math.log(2))


@pytest.mark.parametrize("target", [0.0, 0.3, 1.0])
def test_a_logit_of_zero_costs_ln_2(target):
    """A second sigmoid before the loss would make .62 of it."""
    shape = (2, 1, 4, 5)
    loss = segmentation_loss(torch.zeros(shape), torch.full(shape, target), torch.ones(shape))
    assert loss.item() == pytest.approx(math.log(2))


def test_perfect_logits_cost_nothing():
    """With a second sigmoid, perfect logits would still cost .31."""
    target = (tensors()[1][:, :1] > 0.5).float()
    assert segmentation_loss(40 * (2 * target - 1), target, torch.ones_like(target)) < 1e-6


def test_ignored_cells_do_not_count():
    logits, target, mask = (tensor[:, :1] for tensor in tensors())
    changed = (logits + 50 * (1 - mask)).requires_grad_()
    loss = segmentation_loss(changed, target, mask)
    assert torch.equal(loss, segmentation_loss(logits, target, mask))
    loss.backward()
    assert not (changed.grad * (1 - mask)).any()
    assert segmentation_loss(logits, target, torch.zeros_like(mask)) == 0


def tag_case(people, seed=0):
    """tags (3, 4, 5, 6), indices and visible (3, P, 4): some joints missing, one person absent, one image empty."""
    rng = np.random.default_rng([seed, people])
    tags = torch.from_numpy(rng.normal(0, 1, (3, 4, 5, 6)).astype(np.float32))
    visible = torch.from_numpy(rng.random((3, people, 4)) > 0.3)
    visible[1, :1], visible[2] = False, False
    return tags, torch.from_numpy(rng.integers(0, 30, (3, people, 4))), visible


@pytest.mark.parametrize("people", [1, 2, 3, 6])
@pytest.mark.parametrize("seed", range(3))
def test_tag_losses_equal_the_slow_loop(people, seed):
    """Absent people, padded to the fullest image of the batch, neither pull nor push."""
    tags, indices, visible = tag_case(people, seed)
    want = slow_tag_losses(tags.tolist(), indices.tolist(), visible.tolist())
    got = [loss.item() for loss in tag_losses(tags, indices, visible)]
    assert got == pytest.approx(want, rel=1e-5)


@pytest.mark.parametrize("people", [1, 2, 6])
def test_weighed_tag_losses_equal_the_slow_loop(people):
    tags, indices, visible = tag_case(people)
    weights = visible * torch.from_numpy(np.random.default_rng(1).random((3, people, 4)))
    want = slow_tag_losses(tags.tolist(), indices.tolist(), weights.tolist())
    assert [loss.item() for loss in tag_losses(tags, indices, weights)] == pytest.approx(want, rel=1e-5)


@pytest.mark.parametrize("people", [0, 2])
def test_nobody_costs_nothing_and_still_has_a_gradient(people):
    """A batch without people must pass `backward`, and all processes must take part in it."""
    tags, indices, visible = tag_case(people)
    tags.requires_grad_()
    pull, push = tag_losses(tags, indices, torch.zeros_like(visible))
    (pull + push).backward()
    assert pull == push == 0 and tags.grad is not None and not tags.grad.any()


def test_one_person_pushes_nobody():
    """Pushed from itself, every image would cost 1."""
    tags, indices, visible = tag_case(1)
    assert tag_losses(tags, indices, visible)[1] == 0


def test_tags_by_hand():
    """Tags 0 and 2 of one person, 3 of another: pull (1 + 0) / 2, push exp(-(1 - 3)^2)."""
    tags = torch.tensor([[[[0.0, 3.0]], [[2.0, 9.0]]]])
    indices = torch.tensor([[[0, 0], [1, 0]]])
    visible = torch.tensor([[[True, True], [True, False]]])
    pull, push = tag_losses(tags, indices, visible)
    assert pull.item() == pytest.approx(0.5) and push.item() == pytest.approx(math.exp(-4))


def test_unsure_tags_by_hand():
    """The case before, the second tag a third as sure: mean 2 / 4 of tags 0 and 2, pull (.25 + 2.25 / 3) / 2 over two
    people, push exp(-2.5^2) times 2 / 3, how sure the first person is; the second one half as sure halves that again.
    """
    tags = torch.tensor([[[[0.0, 3.0]], [[2.0, 9.0]]]])
    indices = torch.tensor([[[0, 0], [1, 0]]])
    for second in (1.0, 0.5):
        pull, push = tag_losses(tags, indices, torch.tensor([[[1.0, 1 / 3], [second, 0.0]]]))
        assert pull.item() == pytest.approx(0.5 / 2)
        assert push.item() == pytest.approx(math.exp(-6.25) * 2 / 3 * second)


def test_tags_learn_to_tell_people_apart():
    """Followed, the gradient brings each person's tags together, and the people apart."""
    tags, indices = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(0)), torch.arange(6).view(1, 2, 3)
    tags.requires_grad_()
    for _ in range(300):
        pull, push = tag_losses(tags, indices, torch.ones(1, 2, 3, dtype=torch.bool))
        (gradient,) = torch.autograd.grad(pull + push, tags)
        tags.data -= gradient
    assert pull < 0.01 and push < 0.05


def offset_case(people, seed=0):
    """offsets (2, 6, 4, 5), indices (2, P, 3), targets (2, P, 3, 3, 2), counts (2, P, 3, 3), sizes (2, P)."""
    generator = torch.Generator().manual_seed(seed)
    shape = (2, people, 3)
    return (
        20 * torch.randn(2, 6, 4, 5, generator=generator),
        torch.randint(0, 20, shape, generator=generator),
        20 * torch.randn(*shape, 3, 2, generator=generator),
        torch.rand(*shape, 3, generator=generator) > 0.4,
        40 * torch.rand(2, people, generator=generator),
    )


@pytest.mark.parametrize("people", [1, 3])
def test_offsets_cost_what_the_slow_loop_says(people):
    """x and y of each joint in turn; squares up to a tenth of the person's size, which is 4 cells at least."""
    offsets, indices, targets, counts, sizes = offset_case(people)
    errors = []
    for image, person, cell, joint in counts.nonzero().tolist():
        row, column = divmod(indices[image, person, cell].item(), 5)
        size, error = max(sizes[image, person].item(), 4.0), 0.0
        for axis in range(2):
            told = offsets[image, 2 * joint + axis, row, column].item()
            off = abs(told - targets[image, person, cell, joint, axis].item()) / size
            error += off**2 / 0.2 if off < 0.1 else off - 0.05
        errors.append(error)
    assert offset_loss(offsets, indices, targets, counts, sizes).item() == pytest.approx(np.mean(errors), rel=1e-5)


@pytest.mark.parametrize("people", [0, 2])
def test_offsets_of_nobody_cost_nothing_and_still_have_a_gradient(people):
    offsets, indices, targets, counts, sizes = offset_case(people)
    offsets.requires_grad_()
    loss = offset_loss(offsets, indices, targets, torch.zeros_like(counts), sizes)
    loss.backward()
    assert loss == 0 and offsets.grad is not None and not offsets.grad.any()


def test_an_offset_off_by_a_share_of_the_size_costs_the_same_for_all_people():
    """Large people must not outweigh small ones."""
    for size in (8.0, 80.0):
        told = torch.zeros(1, 2, 1, 1)
        target = torch.tensor([0.25 * size, 0.0]).view(1, 1, 1, 1, 2)
        index, counts = torch.zeros(1, 1, 1, dtype=torch.long), torch.ones(1, 1, 1, 1, dtype=torch.bool)
        assert offset_loss(told, index, target, counts, torch.tensor([[size]])).item() == pytest.approx(0.2)


def shift_case(people, seed=0):
    """shifts (2, 6, 4, 5), indices (2, P, 9, 3), targets (2, P, 9, 3, 2), counts (2, P, 9, 3)."""
    generator = torch.Generator().manual_seed(seed)
    shape = (2, people, 9, 3)
    return (
        torch.randn(2, 6, 4, 5, generator=generator),
        torch.randint(0, 20, shape, generator=generator),
        torch.randn(*shape, 2, generator=generator),
        torch.rand(shape, generator=generator) > 0.4,
    )


@pytest.mark.parametrize("people", [1, 3])
def test_shifts_cost_what_the_slow_loop_says(people):
    """In cells, whoever it is: squares up to a tenth of a cell."""
    shifts, indices, targets, counts = shift_case(people)
    errors = []
    for image, person, cell, joint in counts.nonzero().tolist():
        row, column = divmod(indices[image, person, cell, joint].item(), 5)
        error = 0.0
        for axis in range(2):
            told = shifts[image, 2 * joint + axis, row, column].item()
            off = abs(told - targets[image, person, cell, joint, axis].item())
            error += off**2 / 0.2 if off < 0.1 else off - 0.05
        errors.append(error)
    assert shift_loss(shifts, indices, targets, counts).item() == pytest.approx(np.mean(errors), rel=1e-5)


@pytest.mark.parametrize("people", [0, 2])
def test_shifts_of_nobody_cost_nothing_and_still_have_a_gradient(people):
    shifts, indices, targets, counts = shift_case(people)
    shifts.requires_grad_()
    loss = shift_loss(shifts, indices, targets, torch.zeros_like(counts))
    loss.backward()
    assert loss == 0 and shifts.grad is not None and not shifts.grad.any()


def test_the_same_features_cost_nothing():
    features = torch.randn(SHAPE)
    assert feature_loss(features, features) == 0


def test_a_feature_loss_by_hand():
    """Two channels of deviation 1 and 10, off by 1 and by 20: (1 + 4) / 2."""
    wanted = torch.tensor([[[[-1.0, 1.0]], [[90.0, 110.0]]]])
    predicted = wanted + torch.tensor([1.0, 20.0])[:, None, None]
    assert feature_loss(predicted, wanted) == pytest.approx(2.5)


@pytest.mark.parametrize("unit", [1e-3, 1.0, 1e3])
def test_features_have_no_unit(unit):
    """What a network's features are multiplied by does not change the loss."""
    wanted, predicted = torch.randn(SHAPE), torch.randn(SHAPE)
    assert feature_loss(predicted * unit, wanted * unit) == pytest.approx(
        feature_loss(predicted, wanted).item(), rel=1e-4
    )


def test_a_channel_that_never_changes_is_measured_by_the_others():
    """Three channels, two of deviation 1: the root mean square of all is .82, a tenth of it .082."""
    wanted = torch.tensor([[[[-1.0, 1.0]], [[-1.0, 1.0]], [[3.0, 3.0]]]])
    predicted = wanted + torch.tensor([0.0, 0.0, 0.01])[:, None, None]
    assert feature_loss(predicted, wanted) == pytest.approx((0.01 / 0.0816) ** 2 / 3, rel=0.01)
    constant = torch.full(SHAPE, 2.0)
    assert torch.isfinite(feature_loss(constant + 1e-6, constant))
