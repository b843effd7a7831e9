"""HigherHRNet: the names and shapes of the published weights, the wiring behind them, and that it learns."""

import hashlib
from functools import cache

import pytest
import torch
import torch.nn.functional as F

from rtpe.nets.higher_hrnet import HigherHRNet
from rtpe.nets.hrnet import HRNet, trunk_numbers

SMALL = {"width": 4, "stem": 4, "bottlenecks": 2, "modules": (1, 2, 2), "blocks": 1, "head_blocks": 1}

# sha256 over the lines "name<tab>shape" of the published state dicts, sorted
PUBLISHED = {
    32: (28_645_331, "861d73ace9a7630bd7f757c8a9b0b4324e929aa4a83aa6d0bb739874239daf36"),
    48: (63_827_139, "d4f0fb84bbb2fce44163cd6cc3132469b850b2688d91a8f72c5004db23a7fa98"),
}


@cache
def built(**numbers):
    """Names and shapes without the memory."""
    with torch.device("meta"):
        return HigherHRNet(**numbers)


def small(**numbers):
    torch.manual_seed(0)
    return HigherHRNet(**{**SMALL, **numbers})


def parameters(net):
    return sum(parameter.numel() for parameter in net.parameters())


# ---- the published nets


@pytest.mark.parametrize("width", PUBLISHED)
def test_names_and_shapes_are_those_of_the_published_weights(width):
    net, (count, digest) = built(width=width), PUBLISHED[width]
    lines = sorted(f"{name}\t{tuple(value.shape)}" for name, value in net.state_dict().items())
    assert (len(lines), parameters(net)) == (1810, count)
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest() == digest


@pytest.mark.parametrize(
    "name, shape",
    [
        ("conv1.weight", (64, 3, 3, 3)),
        ("layer1.0.downsample.0.weight", (256, 64, 1, 1)),
        ("transition1.0.0.weight", (48, 256, 3, 3)),
        ("transition1.1.0.0.weight", (96, 256, 3, 3)),
        ("stage2.0.fuse_layers.0.1.0.weight", (48, 96, 1, 1)),
        ("stage3.3.fuse_layers.2.0.0.0.weight", (48, 48, 3, 3)),
        ("stage3.3.fuse_layers.2.0.1.0.weight", (192, 48, 3, 3)),
        ("stage4.1.branches.3.3.bn2.running_var", (384,)),
        ("final_layers.0.weight", (34, 48, 1, 1)),
        ("final_layers.1.bias", (17,)),
        ("deconv_layers.0.0.0.weight", (82, 48, 4, 4)),
        ("deconv_layers.0.4.0.conv2.weight", (48, 48, 3, 3)),
    ],
)
def test_some_names_of_the_published_weights(name, shape):
    assert tuple(built(width=48).state_dict()[name].shape) == shape


@pytest.mark.parametrize("width", PUBLISHED)
def test_heads_of_14_joints_differ_in_nothing_else(width):
    """CrowdPose's: 28 channels at level 0, 14 at level 1, and the deconvolution takes in 28 beside the features."""
    ours, coco = (built(joints=joints, width=width).state_dict() for joints in (14, 17))
    assert ours.keys() == coco.keys()
    assert {name: tuple(value.shape) for name, value in ours.items() if value.shape != coco[name].shape} == {
        "final_layers.0.weight": (28, width, 1, 1),
        "final_layers.0.bias": (28,),
        "deconv_layers.0.0.0.weight": (width + 28, width, 4, 4),
        "final_layers.1.weight": (14, width, 1, 1),
        "final_layers.1.bias": (14,),
    }


def test_a_small_one_is_small():
    net = built(width=16, stem=32, modules=(1, 1, 1), blocks=2, head_blocks=1, bottlenecks=2)
    assert parameters(net) < 2e6


# ---- the wiring, against the state dict read aloud


def conv(x, state, name, stride=1):
    weight = state[f"{name}.weight"]
    return F.conv2d(x, weight, state.get(f"{name}.bias"), stride, padding=weight.shape[-1] // 2)


def norm(x, state, name):
    mean, var, weight, bias = (state[f"{name}.{key}"] for key in ("running_mean", "running_var", "weight", "bias"))
    return F.batch_norm(x, mean, var, weight, bias)


def basic(x, state, name):
    y = norm(conv(x, state, f"{name}.conv1"), state, f"{name}.bn1").relu()
    return (norm(conv(y, state, f"{name}.conv2"), state, f"{name}.bn2") + x).relu()


def bottleneck(x, state, name):
    y = norm(conv(x, state, f"{name}.conv1"), state, f"{name}.bn1").relu()
    y = norm(conv(y, state, f"{name}.conv2"), state, f"{name}.bn2").relu()
    y = norm(conv(y, state, f"{name}.conv3"), state, f"{name}.bn3")
    if f"{name}.downsample.0.weight" in state:
        x = norm(conv(x, state, f"{name}.downsample.0"), state, f"{name}.downsample.1")
    return (y + x).relu()


def exchange(branches, state, name, outputs):
    branches = [basic(x, state, f"{name}.branches.{b}.0") for b, x in enumerate(branches)]
    fused = []
    for i in range(outputs):
        total = 0
        for j, x in enumerate(branches):
            layer = f"{name}.fuse_layers.{i}.{j}"
            if j > i:
                x = norm(conv(x, state, f"{layer}.0"), state, f"{layer}.1")
                x = x.repeat_interleave(2 ** (j - i), -1).repeat_interleave(2 ** (j - i), -2)
            for t in range(i - j):
                x = norm(conv(x, state, f"{layer}.{t}.0", stride=2), state, f"{layer}.{t}.1")
                x = x.relu() if t < i - j - 1 else x
            total = total + x
        fused.append(total.relu())
    return fused


def transition(x, state, name, stride):
    return norm(conv(x, state, f"{name}.0", stride), state, f"{name}.1").relu()


def by_hand(x, state):
    """Level 0 with its tags, and level 1, of the net of SMALL."""
    for i in (1, 2):
        x = norm(conv(x, state, f"conv{i}", stride=2), state, f"bn{i}").relu()
    for i in range(2):
        x = bottleneck(x, state, f"layer1.{i}")
    branches = [transition(x, state, "transition1.0", 1), transition(x, state, "transition1.1.0", 2)]
    branches = exchange(branches, state, "stage2.0", 2)
    branches.append(transition(branches[-1], state, "transition2.2.0", 2))
    for module in range(2):
        branches = exchange(branches, state, f"stage3.{module}", 3)
    branches.append(transition(branches[-1], state, "transition3.3.0", 2))
    branches = exchange(branches, state, "stage4.0", 4)
    (x,) = exchange(branches, state, "stage4.1", 1)
    level0 = conv(x, state, "final_layers.0")
    x = torch.cat([x, level0], dim=1)
    x = F.conv_transpose2d(x, state["deconv_layers.0.0.0.weight"], stride=2, padding=1)
    x = basic(norm(x, state, "deconv_layers.0.0.1").relu(), state, "deconv_layers.0.1.0")
    return level0, conv(x, state, "final_layers.1")


def test_the_forward_pass_by_hand():
    net = small().double().eval()
    with torch.no_grad():
        for value in net.state_dict().values():  # nothing is left at 0 or 1, where a mistake could hide
            if value.is_floating_point():
                value.copy_(torch.rand_like(value) * 0.5 + 0.1 if value.ndim < 4 else torch.randn_like(value) / 4)
        images = torch.randn(2, 3, 64, 96, dtype=torch.float64)
        out, (level0, level1) = net(images), by_hand(images, net.state_dict())
    for got, want in [
        (out.heatmaps[0], level0[:, :17]),
        (out.maps["tags"][0], level0[:, 17:]),
        (out.heatmaps[1], level1),
    ]:
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)  # float64, another order of sums


# ---- shapes and maps


@pytest.mark.parametrize("deconvs", [0, 1, 2])
def test_every_deconvolution_adds_a_level(deconvs):
    out = small(deconvs=deconvs, joints=5).eval()(torch.randn(2, 3, 32, 64))
    assert [level.shape for level in out.heatmaps] == [(2, 5, 8 << i, 16 << i) for i in range(deconvs + 1)]
    assert out.maps["tags"][0].shape == (2, 5, 8, 16)


@pytest.mark.parametrize("deconvs", [0, 1, 2])
def test_maps_are_the_mean_of_the_levels_at_the_finest(deconvs):
    net, images = small(deconvs=deconvs).eval(), torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        out, (heatmaps, tags) = net(images), net.maps(images).values()
    levels = [
        F.interpolate(level, scale_factor=2.0 ** (deconvs - i), mode="bilinear", align_corners=False)
        for i, level in enumerate(out.heatmaps)
    ]
    torch.testing.assert_close(heatmaps, torch.stack(levels).mean(0))
    torch.testing.assert_close(tags, F.interpolate(out.maps["tags"][0], scale_factor=2.0**deconvs, mode="bilinear"))


@pytest.mark.parametrize("stages", [0, 1, 2, 3])
def test_a_trunk_is_the_beginning_of_the_whole_net(stages):
    """A student stands on a teacher's first stages: same names, same numbers read from the weights, same features."""
    net, images = small(modules=(1, 2, 1)).eval(), torch.randn(1, 3, 32, 64)
    state = net.state_dict()
    trunk = HRNet(**trunk_numbers(state, stages)).eval()
    trunk.load_state_dict({name: state[name] for name in trunk.state_dict()})
    features = trunk.features(images)
    assert [x.shape[1] for x in features] == trunk.channels
    whole = []
    last = net.layer1 if not stages else getattr(net, f"stage{stages + 1}")
    hook = last.register_forward_hook(lambda module, inputs, output: whole.append(output))
    net(images)
    hook.remove()
    torch.testing.assert_close(features[0], whole[0] if not stages else whole[0][0], rtol=0, atol=0)


def test_a_trunk_of_other_weights_is_refused():
    with pytest.raises(ValueError, match="expected an HRNet's stem and 1 stages, got tensors head"):
        trunk_numbers({"head.weight": torch.zeros(1)}, 1)


@pytest.mark.parametrize("size_hw", [(64, 48), (33, 64), (1, 1)], ids=str)
def test_sides_that_the_branches_cannot_halve(size_hw):
    with pytest.raises(ValueError, match=rf"images: expected sides that are multiples of 32, got \({size_hw[0]}, "):
        small()(torch.zeros(1, 3, *size_hw))


def test_numbers_build_the_net_again():
    net = small(joints=14, deconvs=2)
    again = HigherHRNet(**net.numbers)
    assert {name: value.shape for name, value in again.state_dict().items()} == {
        name: value.shape for name, value in net.state_dict().items()
    }
    assert again.numbers == net.numbers


def test_memory_layout_changes_no_value():
    net, images = small().eval(), torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        one = net.maps(images)
        other = net.to(memory_format=torch.channels_last).maps(images.to(memory_format=torch.channels_last))
    for maps, same in zip(one.values(), other.values()):
        torch.testing.assert_close(maps, same, rtol=1e-4, atol=1e-6)  # float32 sums in another order


# ---- training


def test_a_fresh_net_says_nearly_nothing_and_keeps_its_features_in_bounds():
    net = small(width=16, stem=16)
    out = net(torch.randn(2, 3, 64, 64))
    assert all(level.std() < 0.1 for level in (*out.heatmaps, out.maps["tags"][0]))
    assert all(head.bias.abs().max() == 0 for head in net.final_layers)
    features = net.features(torch.randn(2, 3, 64, 64))[0]
    assert 0.2 < features.std() < 5


def test_every_parameter_gets_a_gradient():
    net = small(deconvs=2)
    out = net(torch.randn(2, 3, 64, 64))
    sum(level.square().mean() for level in (*out.heatmaps, out.maps["tags"][0])).backward()
    silent = [name for name, parameter in net.named_parameters() if parameter.grad is None or not parameter.grad.any()]
    assert not silent


def test_two_images_are_learnt_by_heart():
    net = small(joints=2, width=8, stem=8)
    images = torch.randn(2, 3, 64, 64)
    targets = [torch.zeros(2, 2, side, side) for side in (16, 32)]
    for target, scale in zip(targets, (1, 2)):
        target[0, 0, 4 * scale, 5 * scale] = target[1, 1, 9 * scale, 3 * scale] = 1
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    losses = []
    for _ in range(40):
        losses.append(sum(F.mse_loss(level, target) for level, target in zip(net(images).heatmaps, targets)))
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < 0.5 * losses[0]  # empty maps, where it starts, keep it at 1
