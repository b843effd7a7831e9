"""The student: shapes, what acts on what, what stays frozen, and that half precision learns."""

import copy
import json

import pytest
import torch
from torch import nn

from rtpe.nets.blocks import normalise
from rtpe.nets.colours import COLOURS
from rtpe.nets.cost import gmacs, parameters
from rtpe.nets.stems import Trunk
from rtpe.nets.student import BESIDE, ContextAwareModule, PlainModule, Student

SMALL = {"joints": 3, "width": 32, "stages": 2, "dilations": (1, 2), "attention": 1}
WIDE = {"attention": 4, "blocks": (2, 0, 1)}  # logits at all strides, a level without blocks
FILE = {
    "trunk": {
        "nodes": [{"op": "Conv", "inputs": [0, -1], "strides": [8, 8]}], "shapes": [[2, 3, 8, 8]], "channels": 2,
        "order": [0, 1, 2], "gain": [1, 1, 1], "offset": [0, 0, 0],
    }
}  # fmt: skip
STEM = {"trunk": {"width": 8, "stem": 8, "bottlenecks": 1, "modules": [1], "blocks": 1}}


def student(**numbers):
    torch.manual_seed(0)
    return Student(**{**SMALL, **numbers})


def images(count=2, size_hw=(64, 96), seed=0):
    generator = torch.Generator().manual_seed(seed)
    return normalise(torch.randint(0, 256, (count, 3, *size_hw), generator=generator, dtype=torch.uint8))


def settled(net):
    """With norms that have seen images, as after some training."""
    net.train()
    for seed in range(3):
        net(images(4, seed=seed))
    return net.eval()


def everything(outputs):
    return [maps for levels in outputs.maps.values() for maps in levels]


@pytest.mark.parametrize("numbers", [{}, {"stages": 1}, STEM, {"joints": 17, "width": 64}], ids=str)
@pytest.mark.parametrize("size_hw", [(32, 32), (64, 96)], ids=str)
def test_shapes(numbers, size_hw):
    """One map a joint at stride 4 from every stage, tags alike, one attention."""
    net, (h, w) = student(**numbers).eval(), size_hw
    out = net(images(2, size_hw))
    want = (2, net.numbers["joints"], h // 4, w // 4)
    assert [maps.shape for maps in out.heatmaps] == [want] * net.numbers["stages"]
    assert out.maps["tags"][0].shape == want and [level.shape for level in out.maps["attention"]] == [
        (2, 1, h // 4, w // 4)
    ]
    read = net.maps(images(2, size_hw))
    assert torch.equal(read["heatmaps"], out.heatmaps[-1]) and torch.equal(read["tags"], out.maps["tags"][0])


@pytest.mark.parametrize("numbers", [{}, STEM, FILE, {**FILE, "direct": True}], ids=["own", "hrnet", "file", "direct"])
@pytest.mark.parametrize("size_hw", [(32, 32), (64, 96)], ids=str)
def test_maps_at_stride_8(numbers, size_hw):
    """All maps, whatever the stride of the stem; logits from twice as coarse as ever."""
    net, (h, w) = student(**numbers, stride=8, heads=["tags", "centers", "offsets"], attention=2).eval(), size_hw
    out = net(images(2, size_hw))
    want = h // 8, w // 8
    maps = [
        *out.heatmaps,
        out.maps["tags"][0],
        out.maps["centers"][0],
        out.maps["offsets"][0],
        out.maps["attention"][-1],
    ]
    assert [each.shape[2:] for each in maps] == [want] * len(maps)
    assert out.maps["attention"][0].shape[2:] == (-(-h // 16), -(-w // 16))


@pytest.mark.parametrize("stride", [4, 8])
def test_heads_may_see_the_stem_itself(stride):
    """Without the pyramid all maps are linear in the stem's features; where heads do not see these, nothing is left."""
    for direct in (False, True):
        net = student(**FILE, stride=stride, direct=direct).eval()
        net.stem.trunk.constants[0].data.normal_()
        heads = [layer for heads in (*net.early, net.heads) for layer in heads.values()]
        for head in heads:
            nn.init.zeros_(head.bias)
            head.weight.data[:, : net.numbers["width"]] = 0
        features = BESIDE * net.level(net.stem(images()))
        out = net(images())
        for maps, head in zip([*out.heatmaps, out.maps["tags"][0]], heads, strict=True):
            want = nn.functional.conv2d(features, head.weight[:, net.numbers["width"] :]) if direct else 0 * maps
            torch.testing.assert_close(maps, want)
            assert bool(maps.abs().max() > 0) == direct


def test_a_files_channels_count_alike_however_large_they_are():
    """Maps stand beside features in networks' files; what a pyramid sees of them has one deviation."""
    net = student(**FILE, stride=8).train()
    with torch.no_grad():
        net.stem.trunk.constants[0].normal_()
        net.stem.trunk.constants[0][1] *= 1e4
    seen = []
    net.enter.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    for seed in range(100):  # the running statistics keep .9 of what they were
        net(images(seed=seed))
    net.eval()(images())
    for features in (seen[0], seen[-1]):
        deviations = features.std((0, 2, 3))
        assert deviations.min() > 0.8 and deviations.max() < 1.25  # 192 cells of a batch stray by 5 %
    assert not net.stem.training and not list(net.level.parameters())


@pytest.mark.parametrize("attention", [0, False, 1, True, 2, 4])
def test_attention_at_several_strides(attention):
    """Coarse to fine, the last at stride 4; none without a gate."""
    net = student(attention=attention)
    out = net(images(2, (64, 96)))
    want = [(2, 1, 64 // stride, 96 // stride) for stride in (4, 8, 16, 32)[: int(attention)][::-1]]
    assert [level.shape for level in out.maps.get("attention", [])] == want
    assert net.numbers["attention"] == int(attention)


def test_the_defaults_are_those_of_older_weights():
    """Weights written before a number existed are rebuilt without it: no name may change, none may come or go."""
    old = {"joints": 17, "width": 32, "stages": 2, "trunk": None, "dilations": [1, 2, 3, 4], "attention": 1}
    net = Student(**old)
    assert parameters(net) == 532_940 and gmacs(net, (256, 256)) == pytest.approx(0.269358592)
    names = {name.split(".")[0] for name in net.state_dict()}
    assert names == {"stem", "enter", "down", "context", "side", "attention", "stages", "early", "heads"}
    assert "down.2.1.conv2.weight" in net.state_dict() and net.attention.weight.shape == (1, 32, 3, 3)


@pytest.mark.parametrize(
    "numbers",
    [STEM, {**WIDE, "heads": ["tags", "centers", "offsets"]}, {"context": "plain", "colours": "lab"}],
    ids=str,
)
def test_its_numbers_rebuild_it(numbers):
    """They travel with the weights: plain values, and all of them."""
    net = student(**numbers, stages=1)
    assert json.loads(json.dumps(net.numbers)) == net.numbers
    again = Student(**net.numbers)
    again.load_state_dict(net.state_dict())
    assert again.numbers == net.numbers
    assert all(torch.equal(a, b) for a, b in zip(everything(again.eval()(images())), everything(net.eval()(images()))))


def test_a_batch_is_its_images():
    """In evaluation no image may see another: equal up to the order of float32 sums."""
    net = settled(student())
    together = everything(net(images()))
    for index in range(2):
        for alone, both in zip(everything(net(images()[index : index + 1])), together):
            torch.testing.assert_close(alone[0], both[index], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("tags", [["tags"], []], ids=str)
def test_centers_come_with_offsets(tags):
    """In place of tags, or beside them; two maps of offsets a joint."""
    net = student(heads=[*tags, "centers", "offsets"]).eval()
    out = net(images(2, (64, 96)))
    assert out.maps["centers"][0].shape == (2, 1, 16, 24) and out.maps["offsets"][0].shape == (2, 6, 16, 24)
    maps = net.maps(images(2, (64, 96)))
    assert list(maps) == ["heatmaps", *tags, "centers", "offsets"]
    assert all(torch.equal(each, out.maps[name][-1]) for name, each in maps.items())
    assert "centers" not in student().eval()(images()).maps


@pytest.mark.parametrize("colours", ["rgb", "hsv", "lab"])
def test_the_stem_sees_the_colours_that_it_asks_for(colours):
    """And takes plain normalised RGB, as everybody hands it over."""
    net, seen = student(colours=colours).eval(), []
    net.stem.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    net(images())
    assert torch.equal(seen[0], COLOURS[colours](images()))
    assert torch.equal(seen[0], images()) == (colours == "rgb")


def test_maps_start_near_nothing():
    """Most cells are empty in the end; a start far from it costs the first epochs."""
    assert all(maps.abs().max() < 0.5 for maps in student().train()(images()).heatmaps)


@pytest.mark.parametrize("bias, factor", [(float("-inf"), 1), (0, 1.5), (float("inf"), 2)])
def test_attention_raises_the_features_of_people(bias, factor):
    """To twice as much where somebody is; where it sees nobody nothing is lost, for it may be wrong."""
    net, plain, seen = settled(student(attention=1)), student(attention=0), []
    plain.load_state_dict({name: value for name, value in net.state_dict().items() if "attention" not in name})
    with torch.no_grad():
        net.attention.weight.zero_()
        net.attention.bias.fill_(bias)
    for each in (net, plain.eval()):
        each.stages[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        each(images())
    assert seen[1].any() and torch.equal(seen[0], factor * seen[1])


def test_coarser_attention_reaches_the_features():
    """Each level corrects the coarser one: what the coarsest says is in all of them, exactly where it is constant."""
    net = settled(student(attention=3))
    before = net(images()).maps["attention"]
    with torch.no_grad():
        net.coarse_attention[-1].bias += 5
    for one, other in zip(before, net(images()).maps["attention"]):
        torch.testing.assert_close(other, one + 5, rtol=1e-4, atol=1e-4)  # float32 of sums


def test_without_attention_the_sum_of_the_pyramid_goes_on_as_it_is():
    net, seen = settled(student(attention=False)), []
    net.stages[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    x = images()
    sides = net._sides(net.stem(x))
    net(x)
    merged = sides[0]
    for side in sides[1:]:
        merged = merged + torch.nn.functional.interpolate(side, merged.shape[2:], mode="bilinear", align_corners=False)
    assert torch.equal(seen[0], merged)


def test_each_stage_adds_to_the_last():
    """Refinement: a stage sees, and keeps, all that went before; its own heatmaps are read from the sum."""
    net, seen = settled(student()), []
    layers = [heads["heatmaps"] for heads in (*net.early, net.heads)]
    for part in (*net.stages, *layers):
        part.register_forward_hook(lambda _, inputs, output: seen.append((inputs[0], output)))
    net(images())
    (x, added), (first, _), (second_x, second_added), (second, _) = seen
    assert torch.equal(first, x + added) and torch.equal(second_x, first)
    assert torch.equal(second, second_x + second_added)


def test_a_frozen_stem_is_evaluated_while_the_rest_trains():
    """Its norms' statistics would else drift away from the weights that rely on them."""
    net = student(**STEM)
    before = copy.deepcopy(net.stem.state_dict())
    assert isinstance(net.stem, Trunk) and not any(p.requires_grad for p in net.stem.parameters())
    net.train()
    assert net.training and net.attention.training and not any(module.training for module in net.stem.modules())
    sum(maps.square().mean() for maps in everything(net(images()))).backward()
    assert all(torch.equal(value, before[name]) for name, value in net.stem.state_dict().items())
    assert all(p.grad is None for p in net.stem.parameters())
    rest = [p for name, p in net.named_parameters() if not name.startswith("stem.")]
    assert rest and all(p.requires_grad for p in rest)


def test_a_stem_of_its_own_learns():
    net = student()
    before = copy.deepcopy(net.stem.state_dict())
    net.train()(images())
    assert all(p.requires_grad for p in net.parameters())
    assert not torch.equal(net.stem[0][1].running_mean, before["0.1.running_mean"])


@pytest.mark.parametrize("channels, dilations", [(32, (1, 2, 3, 4)), (64, (1,))])
def test_a_context_aware_module_has_its_parameters(channels, dilations):
    """Counted by hand: c channels, n = c / 4 inside, d branches."""
    c, n, d = channels, channels // 4, len(dilations)
    residual = c * c + 2 * c
    attention = (c * n + n) + (n * c + c)
    context = d * (9 * c * n + 2 * n)
    mix = d * n * c + 2 * c
    module = ContextAwareModule(channels, dilations)
    assert sum(p.numel() for p in module.parameters()) == residual + attention + context + mix


@pytest.mark.parametrize("channels", [32, 64])
def test_a_plain_module_has_its_parameters(channels):
    """Counted by hand: c channels, n = 3 c / 4 inside."""
    c, n = channels, channels * 3 // 4
    want = (c * c + 2 * c) + (9 * c * n + 2 * n) + (9 * n * c + 2 * c)
    assert parameters(PlainModule(channels)) == want


def test_plain_modules_stand_wherever_context_aware_ones_do():
    net = student(context="plain")
    assert not any(isinstance(module, ContextAwareModule) for module in net.modules())
    assert sum(isinstance(module, PlainModule) for module in net.modules()) == 1 + SMALL["stages"]


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"blocks": (1, 1)}, "blocks: expected a list of 3 values, each a whole number, 0 or more, got (1, 1)"),
        ({"blocks": (1, -1, 1)}, "blocks: expected a list of 3 values, each a whole number, 0 or more, got (1, -1, 1)"),
        ({"attention": 5}, "attention: expected a whole number, 0 to 4, got 5"),
        ({"context": "none"}, "context: choose from cam, plain, got 'none'"),
        ({"colours": "bgr"}, "colours: choose from rgb, hsv, lab, got 'bgr'"),
        (
            {"colours": "lab", **STEM},
            "colours: a teacher's stem was trained on rgb, got 'lab': choose rgb, or no --net.stem",
        ),
    ],
)
def test_a_choice_that_there_is_not_is_refused(wrong, message):
    with pytest.raises(ValueError) as error:
        student(**wrong)
    assert str(error.value) == message


def test_a_context_aware_module_sees_as_far_as_its_dilation():
    """By branches of dilation 1 and 4, 4 cells away and not 5 (attention, a mean of all, is held constant)."""
    torch.manual_seed(0)
    module = ContextAwareModule(16, (1, 4)).eval()
    nn.init.zeros_(module.excite.weight)
    dark = torch.zeros(1, 16, 15, 15)
    lit = dark.clone()
    lit[..., 7, 7] = 5.0
    changed = (module(lit) != module(dark)).any(1)[0].nonzero()
    assert changed.min() == 3 and changed.max() == 11


def test_context_is_weighed_by_channel_attention():
    """Attention at 0 leaves the residual alone; at 1/2, without any weights, half of the context is added."""
    torch.manual_seed(0)
    module, x = ContextAwareModule(16, (1, 2)).eval(), torch.randn(2, 16, 8, 8)
    nn.init.zeros_(module.excite.weight)
    nn.init.constant_(module.excite.bias, float("-inf"))
    torch.testing.assert_close(module(x), module.residual(x).relu())
    nn.init.zeros_(module.excite.bias)
    context = module.mix(torch.cat([branch(x) for branch in module.context], 1))
    torch.testing.assert_close(module(x), (module.residual(x) + context / 2).relu())


@pytest.mark.parametrize("width", [32, 64])
def test_half_precision_learns(width):
    """Some kernels for dilated convolutions in bf16 return NaN gradients for odd widths; not for multiples of 32."""
    net = student(width=width, dilations=(1, 2, 3, 4)).train()
    with torch.autocast("cpu", torch.bfloat16):
        out = net(images())
    sum(maps.float().square().mean() for maps in everything(out)).backward()
    assert all(torch.isfinite(p.grad).all() for p in net.parameters() if p.grad is not None)
    assert any(p.grad.any() for p in net.stem.parameters())
