"""The loop: it learns, stops and resumes bit for bit, says when it fails, and uses no labels when told so."""

import copy
from contextlib import nullcontext
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.precision import MixedPrecision
from miniature import FACE, STRIDE, samples, spots
from torch import nn

from rtpe.data.loader import as_batch, batches, collate, plain_batches
from rtpe.decode.center_offsets import CenterSettings, from_centers
from rtpe.decode.grouping import GroupingSettings, group
from rtpe.errors import Diverged
from rtpe.geometry import cells
from rtpe.nets.blocks import normalise
from rtpe.structures import PoseMaps
from rtpe.training.loop import Mean, Schedule, mean_terms, train_step, update_average
from rtpe.training.optim import ema_decay, optimizer, restarts, warm_cosine


def weights(state):
    """Everything that training changes, by name."""
    parts = {"net": state.net, "ema": state.ema}
    found = {f"{part}.{name}": value for part, net in parts.items() for name, value in net.state_dict().items()}
    moments = state.optimizer.state_dict()["state"]
    return found | {f"{i}.{name}": value for i, row in moments.items() for name, value in row.items()}


def assert_bit_equal(one, other):
    one, other = weights(one), weights(other)
    assert one.keys() == other.keys() and [name for name in one if not torch.equal(one[name], other[name])] == []


def differs(one, other):
    return any(not torch.equal(a, b) for a, b in zip(weights(one).values(), weights(other).values(), strict=True))


def one_batch(examples):
    return next(batches(examples, 2, epoch=0))


@pytest.mark.slow
@pytest.mark.parametrize("labels", [True, False], ids=["labels and teacher", "teacher alone"])
def test_two_images_are_learned_by_heart(fresh, run, examples, criterion, labels):
    """What cannot over-fit cannot learn: heatmaps come 50 times nearer, and every joint is found within a cell."""
    views = examples(samples(2), augment=None, labels=labels)
    wanted = criterion() if labels else criterion(labels=0.0)
    made = run(examples=views, criterion=wanted, schedule=Schedule(epochs=110, lr=0.004, ema=0.95))
    state = made.go(fresh())
    first, last = made.rows[0], made.rows[-1]
    assert last["loss"] < first["loss"] / 20
    assert all(last[name] < first[name] / 50 for name in (["labels", "teacher"] if labels else ["teacher"]))
    batch = as_batch(collate([views[0, index] for index in range(2)]))
    with torch.no_grad():
        heatmaps = state.ema.eval()(normalise(batch.images)).heatmaps[-1].numpy()
    for heat, photograph in zip(heatmaps, samples(2)):
        maps = PoseMaps(heat, cells(STRIDE), (64, 64), photograph.skeleton)
        (found,) = group(maps, GroupingSettings()).points
        off = np.linalg.norm(found - photograph.points[0, :, :2], axis=-1) / STRIDE
        assert off.max() < 1, off


@pytest.mark.parametrize("size", [1, 3, 4, 9])
def test_the_terms_of_a_net_that_does_not_learn(new_student, examples, criterion, size):
    """Of all images once, alike in batches of any size, and the net is what it was."""
    net, views = new_student(), examples(samples(4), augment=None, cache=None)
    before = copy.deepcopy(net.state_dict())
    means = mean_terms(net, criterion(pull=0.0, push=0.0, person=0.0), plain_batches(views, size), torch.device("cpu"))
    batch = as_batch(collate([views[0, index] for index in range(4)]))
    with torch.no_grad():
        whole = criterion()(net.eval()(normalise(batch.images)), batch)
    assert means.keys() == {"labels"} and means["labels"] == pytest.approx(whole["labels"].item(), rel=1e-5)  # float32
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_nothing_to_judge_by(new_student, examples, criterion):
    assert mean_terms(new_student(), criterion(), plain_batches(examples([]), 4), torch.device("cpu")) == {}


def couple(image_id, seed):
    """A photograph of two people, one in either half of 64 x 64 pixels, labelled."""
    rng = np.random.default_rng(seed)
    points = rng.uniform((8, 10), (24, 54), (2, 3, 2)) + np.array([[[0, 0]], [[32, 0]]])
    image = np.maximum(*(spots(person, (64, 64), 4.0) for person in points))
    people = np.concatenate([points, np.full((2, 3, 1), 2)], -1).astype(np.float32)
    return replace(samples(1)[0], image_id=image_id, image=image, points=people, person=None)


@pytest.mark.slow
def test_two_couples_are_learned_by_heart_by_their_centers(fresh, run, examples, new_student, criterion):
    """Four people, told apart by centers and offsets alone, every joint within a cell."""
    photographs = [couple(1, 5), couple(2, 6)]
    views = examples(photographs, augment=None, cache=None)
    wanted = criterion(teacher=0.0, center=1.0, offset=0.1)
    made = run(examples=views, criterion=wanted, schedule=Schedule(epochs=120, lr=0.004, ema=0.95))
    state = made.go(fresh(new_student(heads=["centers", "offsets"])))
    first, last = made.rows[0], made.rows[-1]
    assert all(last[name] < first[name] / 20 for name in ("labels", "center", "offset"))
    batch = as_batch(collate([views[0, index] for index in range(2)]))
    with torch.no_grad():
        read = state.ema.eval().maps(normalise(batch.images))
    for index, photograph in enumerate(photographs):
        own = {name: maps[index].numpy() for name, maps in read.items()}
        maps = PoseMaps(own.pop("heatmaps"), cells(STRIDE), (64, 64), FACE, own)
        poses = from_centers(maps, CenterSettings())
        found = poses.points[poses.points[..., 0].mean(axis=1).argsort()]
        assert len(found) == 2 and (poses.scores > 0).all()
        assert np.linalg.norm(found - photograph.points[..., :2], axis=-1).max() < STRIDE


@pytest.mark.parametrize("stop", [1, 2, 3, 4, 5])
def test_stopped_and_resumed_is_never_stopped(fresh, run, new_student, stop):
    """Killed in mid-epoch or while it is scored, a run ends with the same bits: net, average, optimiser."""
    straight = run(name="whole").go(fresh())
    killed, again, resumed = run(killed_after=stop), run(), fresh(new_student(seed=7))
    with pytest.raises(KeyboardInterrupt):
        killed.go(fresh())
    resumed.restore(again.out / "last.pt")
    again.go(resumed)
    assert (straight.step, straight.epoch, straight.batch) == (resumed.step, resumed.epoch, resumed.batch) == (6, 3, 0)
    assert_bit_equal(straight, resumed)
    assert [row["epoch"] for row in killed.rows + again.rows] == [1, 2, 3]


@pytest.mark.parametrize("stops", [(1,), (2,), (3,), (1, 1, 1, 1, 1), (3, 2)], ids=str)
def test_a_row_is_the_mean_of_its_whole_epoch_however_often_it_was_stopped(fresh, run, new_student, stops):
    """To the bit: an epoch of 4 batches, whose sums a checkpoint holds."""
    straight, rows = run(name="whole", batch=1), []
    straight.go(fresh())
    for stop in (*stops, -1):
        part, state = run(batch=1, killed_after=stop), fresh()
        if (part.out / "last.pt").exists():
            state = fresh(new_student(seed=7))
            state.restore(part.out / "last.pt")
        with nullcontext() if stop < 0 else pytest.raises(KeyboardInterrupt):
            part.go(state)
        rows += part.rows
    timeless = [
        [{k: v for k, v in row.items() if k != "images_per_s"} for row in each] for each in (straight.rows, rows)
    ]
    assert timeless[0] == timeless[1] and state.sums == {} and state.summed == 0


def test_time_that_is_given_to_an_epoch_later_counts_with_what_it_had(fresh, run):
    """Its rows are the means of what was trained of the epoch until then."""
    made = run(schedule=Schedule(epochs=1000, lr=0.0, minutes=1.0), batch=1)
    state = fresh()
    state.seconds = 59.999
    made.go(state)
    assert (state.batch, state.summed) == (1, 1)
    state.seconds = 59.9999
    made.go(state)
    assert (state.batch, state.summed) == (2, 2)
    assert made.rows[1]["loss"] == pytest.approx(state.sums["loss"] / 2) != made.rows[0]["loss"]


@pytest.mark.parametrize("stop", [1, 4])
def test_schedules_resume_too(fresh, run, criterion, new_student, stop):
    """Restarts and weights that change depend on progress alone."""
    changing = {
        "criterion": criterion(teacher=[[0.0, 1.0], [1.0, 0.2]], person=[[0.3, 0.0], [0.6, 0.5]]),
        "schedule": Schedule(epochs=3, lr=0.003, checkpoint_minutes=0.0, shape=partial(restarts, cycles=2)),
    }
    straight = run(name="whole", **changing).go(fresh())
    killed, again, resumed = run(killed_after=stop, **changing), run(**changing), fresh(new_student(seed=7))
    with pytest.raises(KeyboardInterrupt):
        killed.go(fresh())
    resumed.restore(again.out / "last.pt")
    again.go(resumed)
    assert_bit_equal(straight, resumed)
    assert [row["lr"] for row in killed.rows + again.rows] == [0.003 * restarts(step / 6, 2) for step in (1, 3, 5)]
    assert differs(straight, run(name="plain").go(fresh()))


def test_a_step_that_overflows_in_fp16_is_left_out(fabric, fresh, run, criterion, examples, tmp_path):
    """The scaler halves its factor and the run goes on; the factor is resumed; what overflows unscaled is an error."""
    precision = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=2.0**40))
    half = Fabric(accelerator="cpu", devices=1, plugins=[precision])
    state = fresh()
    net = copy.deepcopy(state.ema).requires_grad_(True)
    state.net, state.optimizer = half.setup(net, optimizer(net, 0.003, 0.0))
    state.scaler = precision.scaler
    before = [parameter.detach().clone() for parameter in net.parameters()]
    step = partial(train_step, half, state, criterion(), one_batch(examples()), 0.003, Schedule(1, 0.003))
    assert step()["gradient"] == 0 and state.scaler.get_scale() == 2.0**39
    assert all(map(torch.equal, net.parameters(), before)) and state.step == 1
    state.save(tmp_path / "last.pt")
    state.scaler.update(2.0)
    state.restore(tmp_path / "last.pt")
    assert state.scaler.get_scale() == 2.0**39
    state.scaler.update(2.0**8)
    assert step()["gradient"] > 0 and state.step == 2
    assert not any(map(torch.equal, net.parameters(), before))
    state.scaler.update(1.0)
    with torch.no_grad():
        net.heads["tags"].weight.fill_(float("inf"))
    with pytest.raises(Diverged, match="step 2: loss"):
        step()


def test_a_finished_run_stays_finished(fresh, run):
    state = run().go(fresh())
    again = run()
    again.go(state)
    assert state.step == 6 and again.rows == []


def test_a_run_goes_on_with_larger_batches(fresh, run):
    """Stopped after batch 3 of 4, resumed where an epoch has 2: the epoch is over, the next one begins."""
    with pytest.raises(KeyboardInterrupt):
        run(batch=1, killed_after=3).go(fresh())
    again, state = run(batch=2), fresh()
    state.restore(again.out / "last.pt")
    assert state.batch == 3
    again.go(state)
    assert [row["epoch"] for row in again.rows] == [2, 3] and state.step == 3 + 4


def test_without_labels_no_label_is_read(fresh, run, examples, criterion):
    """`loss.labels` 0: other people, other masks, the same bits."""
    poison = {"points": np.full((2, 3, 3), 20, np.float32), "valid": np.zeros((64, 64), np.uint8)}
    wrong = [replace(photograph, **poison) for photograph in samples(4)]
    unlabelled = criterion(labels=0.0)
    clean = run(examples=examples(labels=False), criterion=unlabelled).go(fresh())
    poisoned = run(examples=examples(wrong, labels=False), criterion=unlabelled, name="poisoned").go(fresh())
    assert_bit_equal(clean, poisoned)
    assert differs(clean, run(examples=examples(wrong), name="labelled").go(fresh()))


@pytest.mark.parametrize("people", ["nobody", "bare photographs", "mixed"])
def test_images_without_people_or_labels_are_stepped_on(fresh, run, examples, people):
    """The whole epoch through, and finite: photographs without labels learn from the teacher's people."""
    nobody = np.zeros((0, 3, 3), np.float32)
    changed = [replace(photo, points=nobody, labelled=people != "bare photographs") for photo in samples(4)]
    views = examples(changed[:2] + samples(4)[2:] if people == "mixed" else changed)
    made = run(examples=views)
    made.go(fresh())
    assert all(np.isfinite(list(row.values())).all() for row in made.rows)
    assert (made.rows[0]["labels"] == 0) == (people == "bare photographs")


def test_a_loss_that_is_not_finite_stops_the_run(fresh, run):
    """With the step, the term that went wrong, and a remedy; the weights are those before the step."""
    state = fresh()
    with torch.no_grad():
        state.net.heads["heatmaps"].bias.fill_(float("inf"))
    before = {name: value.clone() for name, value in state.net.state_dict().items() if "running" not in name}
    want = r"step 0: loss inf \(.*labels inf.*\), gradient nan: lower --train.lr, or train with --train.precision fp32"
    with pytest.raises(Diverged, match=want):
        run().go(state)
    after = state.net.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items() if "num_batches" not in name)


@pytest.mark.parametrize("at", [0, 1, 3, 5])
@pytest.mark.parametrize("minutes", [0.0, 9.0], ids=["saved after each step", "saved after each epoch"])
def test_what_is_looked_at_late_is_never_saved(fresh, run, monkeypatch, at, minutes):
    """As on a GPU, a step late: the message names the same step and term, and what was saved is finite."""
    monkeypatch.setattr("rtpe.training.loop.looks_late", lambda *_: True)
    state, made = fresh(), run(schedule=Schedule(epochs=3, lr=0.003, checkpoint_minutes=minutes))

    def poisoned(epoch, start):
        for batch in batches(made.examples, 2, epoch, start):
            if state.step == at:
                with torch.no_grad():
                    state.net.heads["heatmaps"].bias.fill_(float("inf"))
            yield batch

    monkeypatch.setattr(made, "_of", poisoned)
    with pytest.raises(Diverged, match=rf"step {at}: loss inf \(.*labels inf.*\), gradient nan: lower --train.lr"):
        made.go(state)
    if (made.out / "last.pt").exists():
        other = fresh()
        other.restore(made.out / "last.pt")
        assert 0 < other.step <= at
        weights = [*other.net.state_dict().values(), *other.ema.state_dict().values()]
        assert all(torch.isfinite(value.float()).all() for value in weights)
    assert all(step <= at for step in made.kept) and len(made.rows) == at // 2


def test_late_looks_change_no_bit(fresh, run, monkeypatch):
    soon = run(name="soon").go(fresh())
    monkeypatch.setattr("rtpe.training.loop.looks_late", lambda *_: True)
    assert_bit_equal(soon, run(name="late").go(fresh()))


def test_the_average_by_hand():
    """Weights and statistics move by 1 - decay; counters are copied."""
    net, average = (nn.Sequential(nn.Linear(1, 1), nn.BatchNorm1d(1)) for _ in range(2))
    for module, value in ((net, 3.0), (average, 1.0)):
        for tensor in module.state_dict().values():
            tensor.fill_(value)
    update_average(average, net, decay=0.75)
    for name, tensor in average.state_dict().items():
        assert tensor.item() == (3 if "num_batches" in name else 0.75 * 1 + 0.25 * 3), name


def test_the_average_follows_the_net_step_by_step(fabric, fresh, criterion, examples):
    """Against a sum by hand, with the memory that grows at first."""
    state, schedule = fresh(), Schedule(epochs=1, lr=0.003, ema=0.9)
    want = state.net.heads["heatmaps"].bias.detach().clone()
    for step in range(4):
        train_step(fabric, state, criterion(), one_batch(examples()), 0.003, schedule)
        decay = ema_decay(0.9, step)
        want = decay * want + (1 - decay) * state.net.heads["heatmaps"].bias.detach()
    torch.testing.assert_close(state.ema.heads["heatmaps"].bias, want)
    assert not any(p.requires_grad for p in state.ema.parameters()) and state.step == 4


def test_gradients_are_clipped(fabric, fresh, criterion, examples):
    """The norm that is told is the one before; what AdamW is given is at most the limit."""
    state = fresh()
    told = train_step(fabric, state, criterion(labels=100.0), one_batch(examples()), 0.0, Schedule(1, 0.0, clip=0.01))
    squares = sum(p.grad.square().sum() for p in state.net.parameters() if p.grad is not None)
    assert told["gradient"] > 0.01 and squares.sqrt().item() == pytest.approx(0.01, rel=1e-3)


def test_each_step_has_the_rate_of_its_progress(fresh, run):
    """And the log tells the last one of the epoch."""
    made = run(schedule=Schedule(epochs=3, lr=0.002))
    state = made.go(fresh())
    assert [row["lr"] for row in made.rows] == pytest.approx([0.002 * warm_cosine(step / 6) for step in (1, 3, 5)])
    assert {group["lr"] for group in state.optimizer.param_groups} == {made.rows[-1]["lr"]}


def test_time_ends_a_run_within_an_epoch(fresh, run):
    """What was learned until then is scored and kept, and the run is over."""
    made = run(schedule=Schedule(epochs=1000, lr=0.003, minutes=1.0))
    state = fresh()
    state.seconds = 59.999
    made.go(state)
    assert (state.step, state.batch, len(made.rows), made.kept) == (1, 1, 1, [1])
    again = run(schedule=Schedule(epochs=1000, lr=0.003, minutes=1.0))
    other = fresh()
    other.restore(made.out / "last.pt")
    again.go(other)
    assert again.rows == []


@pytest.mark.parametrize(
    "scores, kept",
    [([], [2, 4, 6]), ([0.1, 0.3, 0.2], [2, 4]), ([0.0, 0.0, 0.0], [2, 4, 6]), ([0.5, 0.1, 0.5], [2, 6])],
    ids=str,
)
def test_the_best_epoch_is_kept(fresh, run, scores, kept):
    """Of equal ones the last; without scores simply the last."""
    made = run(scores=list(scores))
    state = made.go(fresh())
    assert made.kept == kept and state.best == max(scores, default=0)


def test_an_epoch_tells_the_mean_of_its_terms(fresh, run):
    """Over its batches, and what it was trained on."""
    made = run()
    made.go(fresh())
    assert made.rows[0].keys() >= {
        "loss",
        "teacher",
        "labels",
        "pull",
        "push",
        "person",
        "gradient",
        "lr",
        "images_per_s",
    }
    weigh = made.criterion.weights
    for row in made.rows:
        assert row["loss"] == pytest.approx(sum(weigh[name] * row[name] for name in weigh), rel=1e-5)


def test_means():
    assert Mean({"a": 3.0}, 2).result() == {"a": 1.5}
    mean = Mean()
    assert mean.result() == {}
    for value in (1.0, 2.0, 6.0):
        mean.add({"a": torch.tensor(value)})
    assert mean.result() == {"a": 3.0}
