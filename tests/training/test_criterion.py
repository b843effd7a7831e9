"""The criterion: every part of a net is taught, what nobody knows is not, and each level has its own targets."""

import inspect
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from miniature import FACE

from rtpe.data.loader import Batch, as_batch, collate
from rtpe.data.targets import gaussian_maps, offset_targets, person_centers, shift_targets
from rtpe.nets.blocks import Outputs, normalise
from rtpe.nets.higher_hrnet import HigherHRNet
from rtpe.training import compute
from rtpe.training.criterion import Criterion
from rtpe.training.terms import TERMS as ROWS

TERMS = ("teacher", "labels", "pull", "push", "person")  # and, of nets with centers:
CENTERS = ("center", "offset", "shift")
ALL = dict.fromkeys(TERMS, 1.0)


def only(*names):
    return {name: float(name in names) for name in (*TERMS, *CENTERS)}


def batch(people=2, teacher=True, seed=0):
    """Two 64 x 64 images, 16 x 16 cells."""
    generator = torch.Generator().manual_seed(seed)
    points = torch.cat([torch.rand(2, people, 3, 2, generator=generator) * 64, torch.full((2, people, 3, 1), 2.0)], -1)
    return Batch(
        images=torch.randint(0, 256, (2, 3, 64, 64), generator=generator, dtype=torch.uint8),
        points=points,
        labelled=torch.tensor([True, True]),
        valid=torch.ones(2, 1, 16, 16),
        person=torch.rand(2, 1, 16, 16, generator=generator),
        teacher=torch.rand(2, 3, 16, 16, generator=generator).half() if teacher else None,
    )


def outputs(*cells, seed=0, attention=True):
    """Random maps of these many cells a side, level by level, and tags of the first."""
    torch.manual_seed(seed)
    levels = [torch.randn(2, 3, side, side, requires_grad=True) for side in cells]
    gate = {"attention": [torch.randn(2, 1, cells[0], cells[0], requires_grad=True)]} if attention else {}
    return Outputs({"heatmaps": levels, "tags": [torch.randn(2, 3, cells[0], cells[0], requires_grad=True)], **gate})


def real_batch(examples):
    made = examples()
    return as_batch(collate([made[0, 0], made[0, 1]]))


@pytest.mark.parametrize(
    "numbers",
    [
        {},
        {"stages": 3},
        {"attention": 4, "blocks": [2, 0, 1]},
        {"attention": 0, "context": "plain"},
        {"trunk": {"width": 8, "stem": 8, "bottlenecks": 1, "modules": [], "blocks": 0}},
    ],
    ids=str,
)
def test_all_of_a_student_is_taught(examples, new_student, numbers):
    """A head without a loss, or a branch cut off, would stay random; a frozen stem must stay as it is."""
    net = new_student(**numbers).train()
    views = real_batch(examples)
    Criterion(ALL).total(Criterion(ALL)(net(normalise(views.images)), views)).backward()
    for name, parameter in net.named_parameters():
        frozen = "trunk" in numbers and name.startswith("stem.")
        assert parameter.requires_grad != frozen
        assert (parameter.grad is None) if frozen else parameter.grad.any(), name


@pytest.mark.parametrize("labels", [True, False])
def test_all_of_a_student_with_centers_is_taught(examples, new_student, labels):
    """By labels, or by a teacher's people alone; nothing waits for tags that it has not."""
    net = new_student(heads=["centers", "offsets"]).train()
    made = examples(labels=labels)
    views = as_batch(collate([made[0, 0], made[0, 1]]))
    terms = Criterion({**ALL, "labels": float(labels), "center": 1.0, "offset": 1.0})(
        net(normalise(views.images)), views
    )
    assert terms.keys() == {"teacher", "person", "center", "offset"} | ({"labels"} if labels else set())
    sum(terms.values()).backward()
    assert [name for name, parameter in net.named_parameters() if not parameter.grad.any()] == []


def test_all_of_a_higher_hrnet_is_taught(examples):
    """At both resolutions, by labels alone."""
    torch.manual_seed(0)
    net = HigherHRNet(3, width=8, stem=8, bottlenecks=1, modules=(1, 1, 1), blocks=1, head_blocks=1).train()
    views = real_batch(examples)
    terms = Criterion(only("labels", "pull", "push"), sigmas=(1.5, 2.0))(net(normalise(views.images)), views)
    assert terms.keys() == {"labels", "pull", "push"}
    sum(terms.values()).backward()
    assert [name for name, parameter in net.named_parameters() if not parameter.grad.any()] == []


def test_the_sum_is_weighed():
    criterion = Criterion({**ALL, "labels": 3.0, "push": 0.5})
    terms = criterion(outputs(16), batch())
    want = sum(terms.values()) + 2 * terms["labels"] - 0.5 * terms["push"]
    assert terms.keys() == set(TERMS) and criterion.total(terms).item() == pytest.approx(want.item())


def test_weights_may_change_over_the_run():
    """Linear between knots; what has a weight at some time is computed all the time."""
    criterion = Criterion({**only("labels"), "person": [[0.0, 0.0], [0.5, 2.0]]})
    terms = criterion(outputs(16), batch())
    assert terms.keys() == {"labels", "person"}
    for progress, weight in [(0.0, 0.0), (0.25, 1.0), (0.5, 2.0), (1.0, 2.0)]:
        total = criterion.at(progress).total(terms).item()
        assert total == pytest.approx((terms["labels"] + weight * terms["person"]).item())


@pytest.mark.parametrize(
    "weight", [[], [[0.5]], [[0, 1], [0, 2]], [[0.5, 1], [0.2, 2]], [[0, 1], [1.5, 2]], [[0, 1, 2]]]
)
def test_knots_that_are_none(weight):
    with pytest.raises(
        ValueError, match=r"^loss.labels: expected 0 or more, or \[\[progress, weight\], ...\], progress ri"
    ):
        Criterion({**ALL, "labels": weight})


def test_every_term_has_its_function():
    """And whoever adds a function without a row would never see it computed."""
    functions = {
        name for name, each in vars(compute).items() if inspect.isfunction(each) and each.__module__ == compute.__name__
    }
    assert {name for name in functions if not name.startswith("_")} == set(ROWS)


@pytest.mark.parametrize("name", ["teacher", "labels", "person"])
def test_a_term_of_no_weight_is_not_computed(name):
    assert name not in Criterion({**ALL, name: 0.0})(outputs(16), batch())
    assert not {"pull", "push"} & Criterion({**ALL, "pull": 0.0, "push": 0.0})(outputs(16), batch()).keys()


def test_what_is_missing_gives_no_term():
    """Labels alone, and a net without attention or tags."""
    bare = Outputs({"heatmaps": outputs(16).heatmaps})
    assert Criterion(ALL)(bare, batch(teacher=False)).keys() == {"labels"}


@pytest.mark.parametrize("sides", [(16,), (16, 16), (16, 32), (8, 16, 32)], ids=str)
def test_perfect_maps_cost_nothing_at_any_resolution(sides):
    """Targets are drawn at each level's own resolution, with its own spread; further levels take the last."""
    sigmas, views = (1.5, 2.0), batch()
    perfect = []
    for level, side in enumerate(sides):
        points = views.points * torch.tensor([side / 64, side / 64, 1.0])
        perfect.append(gaussian_maps(points, (side, side), sigmas[min(level, 1)]))
    terms = Criterion(only("labels"), sigmas)(Outputs({"heatmaps": perfect}), views)
    assert terms["labels"] == 0
    another = Criterion(only("labels"), (1.5, 2.1))(Outputs({"heatmaps": perfect}), views)["labels"]
    assert (another > 0) == (len(sides) > 1)


@pytest.mark.parametrize("side", [8, 16, 32])
def test_a_perfect_student_of_the_teacher_costs_nothing(side):
    """The teacher's maps come on one grid, and are resized by a pure factor to each level."""
    views = batch()
    like = F.interpolate(views.teacher.float(), (side, side), mode="bilinear", align_corners=False)
    assert Criterion(only("teacher"))(Outputs({"heatmaps": [like]}), views)["teacher"] == 0


def test_levels_count_alike():
    """Twice the stages must not double the loss."""
    out, views = outputs(16), batch()
    doubled = replace(out, maps={**out.maps, "heatmaps": out.heatmaps * 2})
    for name in ("teacher", "labels"):
        one, two = (Criterion(only(name))(each, views)[name] for each in (out, doubled))
        assert one.item() == pytest.approx(two.item())


@pytest.mark.parametrize("name", ["teacher", "labels"])
def test_tags_that_no_term_asks_for_learn_nothing(name):
    """But they get a gradient: without one, the second step of several processes would fail."""
    out = outputs(16)
    Criterion(only(name))(out, batch())[name].backward()
    assert out.maps["tags"][0].grad is not None and not out.maps["tags"][0].grad.any()


@pytest.mark.parametrize("side", [2, 8, 16])
def test_coarse_attention_is_judged_by_the_share_of_each_cell(side):
    """The mean of all that a cell covers: a thin body between two samples would else be nobody."""
    views = batch()
    share = views.person.reshape(2, 1, side, 16 // side, side, 16 // side).mean((3, 5))
    perfect = torch.logit(share)
    entropy = -(share * share.log() + (1 - share) * (1 - share).log()).mean()  # the least that is possible
    term = Criterion(only("person"))(Outputs({"attention": [perfect]}), views)["person"]
    assert term.item() == pytest.approx(entropy.item(), rel=1e-4)


def test_an_unlabelled_image_is_no_truth():
    """Its points are the teacher's people: good for tags, but no labels; the other image is taught as before."""
    views, out = replace(batch(), labelled=torch.tensor([False, True])), outputs(16)
    Criterion(only("labels"))(out, views)["labels"].backward()
    assert not out.heatmaps[0].grad[0].any() and out.heatmaps[0].grad[1].any()


def test_tags_and_persons_are_learned_from_a_teachers_people():
    views, out = replace(batch(), labelled=torch.tensor([False, False])), outputs(16)
    terms = Criterion(ALL)(out, views)
    assert terms["labels"] == 0 and terms["push"] > 0 and terms["pull"] > 0 and terms["person"] > 0


@pytest.mark.parametrize("name", ["teacher", "labels", "person"])
def test_nothing_is_taught_where_nobody_knows(name):
    """In a crowd neither heatmaps nor attention may learn, from whomever."""
    views, out = batch(), outputs(16, 16)
    views.valid[:, :, 4:9, 3:12] = 0
    Criterion(only(name))(out, views)[name].backward()
    taught = out.maps["attention"] if name == "person" else out.heatmaps
    for maps in taught:
        assert not maps.grad[:, :, 4:9, 3:12].any() and maps.grad[:, :, :4].any()


@pytest.mark.parametrize("people", [0, 1, 3])
def test_images_without_people_can_be_stepped_on(people):
    """All terms are finite, and all parts of the outputs have a gradient: other processes wait for it."""
    views, out = batch(people), outputs(16)
    views.points[:, :, :, 2] = 0
    terms = Criterion(ALL)(out, views)
    sum(terms.values()).backward()
    assert all(torch.isfinite(value) for value in terms.values()) and terms["pull"] == terms["push"] == 0
    assert all(maps.grad is not None for maps in (*out.heatmaps, out.maps["tags"][0], *out.maps["attention"]))


def test_tags_are_read_where_the_joints_are():
    """In the cells of the tags, whatever their resolution: one constant a person costs nothing."""
    views = batch(people=2)
    for side in (16, 32):
        tags = torch.zeros(2, 3, side, side)
        for image in range(2):
            for person in range(2):
                for joint in range(len(FACE)):
                    x, y = (views.points[image, person, joint, :2] * side / 64).int().tolist()
                    tags[image, joint, y, x] = 100.0 * person
        terms = Criterion(only("pull", "push"))(Outputs({"tags": [tags]}), views)
        assert terms["pull"] == 0 and terms["push"] < 1e-6


def with_centers(views, side=16, sigma=2.0):
    """Perfect centers and offsets of a batch; cells that nobody asks say 99."""
    points = views.points * torch.tensor([side / 64, side / 64, 1.0])
    centers, _ = person_centers(points)
    indices, offsets, counts = offset_targets(points, centers, (side, side))
    told = torch.full((2, 3, 2, side * side), 99.0)
    image, person, cell, joint = counts.nonzero().unbind(1)
    told[image, joint, :, indices[image, person, cell]] = offsets[image, person, cell, joint]
    heat, offsets = gaussian_maps(centers, (side, side), sigma), told.flatten(1, 2).unflatten(2, (side, side))
    return Outputs({"centers": [heat], "offsets": [offsets]})


@pytest.mark.parametrize("side", [8, 16, 32])
def test_perfect_centers_cost_nothing_at_any_resolution(side):
    """The last of the sigmas is theirs."""
    views, criterion = batch(), Criterion(only(*CENTERS), sigmas=(1.0, 2.0))
    terms = criterion(with_centers(views, side), views)
    assert terms["center"] == 0 and terms["offset"] < 1e-10  # float32
    assert criterion(with_centers(views, side, sigma=1.0), views)["center"] > 0
    views.points[..., 0] += 4
    assert all(value > 0 for value in criterion(with_centers(batch(), side), views).values())


@pytest.mark.parametrize("side", [8, 16, 32])
def test_perfect_shifts_cost_nothing_at_any_resolution(side):
    views, criterion = batch(), Criterion(only("shift"))
    points = views.points * torch.tensor([side / 64, side / 64, 1.0])
    indices, shifts, counts = shift_targets(points, (side, side))
    told = torch.full((2, 3, 2, side * side), 99.0)
    image, person, cell, joint = counts.nonzero().unbind(1)
    told[image, joint, :, indices[image, person, cell, joint]] = shifts[image, person, cell, joint]
    out = Outputs({"shifts": [told.flatten(1, 2).unflatten(2, (side, side))]})
    assert criterion(out, views)["shift"] < 1e-10  # float32
    views.points[..., 0] += 4
    assert criterion(out, views)["shift"] > 0
    assert Criterion(ALL)(out, batch()).keys() == Criterion(only("shift"))(outputs(16), batch()).keys() == set()


def test_centers_are_not_judged_without_a_weight_or_without_heads():
    views = batch()
    assert Criterion(ALL)(with_centers(views), views).keys() == set()
    assert not set(CENTERS) & Criterion(only(*CENTERS))(outputs(16), views).keys()


@pytest.mark.parametrize("people", [0, 1, 3])
def test_centers_of_nobody_can_be_stepped_on(people):
    views = batch(people)
    views.points[..., 2] = 0
    heat, offsets = (torch.randn(2, count, 16, 16, requires_grad=True) for count in (1, 6))
    out = Outputs({"centers": [heat], "offsets": [offsets]})
    terms = Criterion(only(*CENTERS))(out, views)
    sum(terms.values()).backward()
    assert terms["center"] > 0 and terms["offset"] == 0 and not out.maps["offsets"][0].grad.any()


def test_centers_are_not_taught_where_nobody_knows():
    """A crowd is neither a person nor nobody."""
    views = batch()
    views.valid[:, :, 4:9, 3:12] = 0
    heat = torch.randn(2, 1, 16, 16, requires_grad=True)
    out = Outputs({"centers": [heat], "offsets": [torch.zeros(2, 6, 16, 16)]})
    Criterion(only("center"))(out, views)["center"].backward()
    assert not out.maps["centers"][0].grad[:, :, 4:9, 3:12].any() and out.maps["centers"][0].grad[:, :, :4].any()
