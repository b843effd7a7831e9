"""Top-down nets: the names and shapes of the published weights, the wiring behind them, and that they learn."""

import hashlib
from functools import cache

import pytest
import torch
import torch.nn.functional as F

from rtpe.nets.hrnet import PoseHRNet
from rtpe.nets.simple_baseline import SimpleBaseline as Simple

SMALL_HRNET = {"width": 4, "stem": 4, "bottlenecks": 1, "modules": (1, 1, 1), "blocks": 1}
SMALL = {PoseHRNet: SMALL_HRNET, Simple: {"width": 4, "deconv": 8}}
# tensors, parameters, and sha256 over the lines "name<tab>shape" of the published state dicts, sorted
PUBLISHED = [
    (PoseHRNet, {"width": 32}, 1754, 28_536_113, "8f7f29569dba38af1c67f7fece577829b8ec0f9d4ff1a8cc869fc8c8f11d3e53"),
    (PoseHRNet, {"width": 48}, 1754, 63_595_745, "503d1eaa63a3827560a1b4ae6c01800395e65a7a12c081aa64aa36423dcf4060"),
    (Simple, {"depth": 50}, 338, 33_999_697, "f3ef8399c3a0c8648350206a81ebce1c45f9a61ab6087b74ce74672dd9b475c3"),
    (Simple, {"depth": 101}, 644, 52_991_825, "1cdb5c9e70414704a92433ea062d39e617d669964a60f126e2cce0d25c016e23"),
    (Simple, {"depth": 152}, 950, 68_635_473, "15131998ceb07cae71d22a2db4b7229d2ea1867efae3c7c653c7d8d16f91b211"),
]  # fmt: skip


@cache
def built(kind, **numbers):
    """Names and shapes without the memory."""
    with torch.device("meta"):
        return kind(**numbers)


def small(kind, **numbers):
    torch.manual_seed(0)
    return kind(**{**SMALL[kind], **numbers})


@pytest.mark.parametrize("kind, numbers, tensors, count, digest", PUBLISHED)
def test_names_and_shapes_are_those_of_the_published_weights(kind, numbers, tensors, count, digest):
    net = built(kind, **numbers)
    lines = sorted(f"{name}\t{tuple(value.shape)}" for name, value in net.state_dict().items())
    assert (len(lines), sum(parameter.numel() for parameter in net.parameters())) == (tensors, count)
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest() == digest


@pytest.mark.parametrize(
    "kind, name, shape",
    [
        (PoseHRNet, "final_layer.weight", (17, 32, 1, 1)),
        (PoseHRNet, "transition3.3.0.0.weight", (256, 128, 3, 3)),
        (Simple, "conv1.weight", (64, 3, 7, 7)),
        (Simple, "layer2.0.downsample.0.weight", (512, 256, 1, 1)),
        (Simple, "deconv_layers.0.weight", (2048, 256, 4, 4)),
        (Simple, "deconv_layers.7.running_var", (256,)),
        (Simple, "final_layer.bias", (17,)),
    ],
)
def test_some_names_of_the_published_weights(kind, name, shape):
    assert tuple(built(kind).state_dict()[name].shape) == shape


# ---- the wiring, against the state dict read aloud; HRNet's trunk is in test_higher_hrnet.py


def norm(x, state, name):
    mean, var, weight, bias = (state[f"{name}.{key}"] for key in ("running_mean", "running_var", "weight", "bias"))
    return F.batch_norm(x, mean, var, weight, bias)


def bottleneck(x, state, name, stride, style):
    """The stride stands on the 3x3 convolution, or in Caffe's style on the first 1x1."""
    first, second = (stride, 1) if style == "caffe" else (1, stride)
    y = norm(F.conv2d(x, state[f"{name}.conv1.weight"], None, first), state, f"{name}.bn1").relu()
    y = norm(F.conv2d(y, state[f"{name}.conv2.weight"], None, second, 1), state, f"{name}.bn2").relu()
    y = norm(F.conv2d(y, state[f"{name}.conv3.weight"]), state, f"{name}.bn3")
    if f"{name}.downsample.0.weight" in state:
        x = norm(F.conv2d(x, state[f"{name}.downsample.0.weight"], None, stride), state, f"{name}.downsample.1")
    return (y + x).relu()


def simple_baseline_by_hand(x, state, net):
    x = norm(F.conv2d(x, state["conv1.weight"], None, 2, 3), state, "bn1").relu()
    x = F.max_pool2d(x, 3, 2, 1)
    for layer, blocks in enumerate((3, 4, 6, 3), 1):
        for block in range(blocks):
            stride = 2 if layer > 1 and block == 0 else 1
            x = bottleneck(x, state, f"layer{layer}.{block}", stride, net.numbers["style"])
    for place in (0, 3, 6):
        x = F.conv_transpose2d(x, state[f"deconv_layers.{place}.weight"], None, 2, 1)
        x = norm(x, state, f"deconv_layers.{place + 1}").relu()
    return F.conv2d(x, state["final_layer.weight"], state["final_layer.bias"])


def pose_hrnet_by_hand(x, state, net):
    return F.conv2d(net.features(x)[0], state["final_layer.weight"], state["final_layer.bias"])


@pytest.mark.parametrize(
    "kind, numbers", [(PoseHRNet, {}), (Simple, {}), (Simple, {"style": "pytorch"}), (Simple, {"style": "caffe"})]
)
def test_the_forward_pass_by_hand(kind, numbers):
    net = small(kind, **numbers).double().eval()
    with torch.no_grad():
        for value in net.state_dict().values():  # nothing is left at 0 or 1, where a mistake could hide
            if value.is_floating_point():
                value.copy_(torch.rand_like(value) * 0.5 + 0.1 if value.ndim < 4 else torch.randn_like(value) / 4)
        images, state = torch.randn(2, 3, 64, 96, dtype=torch.float64), net.state_dict()
        want = (simple_baseline_by_hand if kind is Simple else pose_hrnet_by_hand)(images, state, net)
        torch.testing.assert_close(net(images).heatmaps[0], want, rtol=1e-9, atol=1e-9 * want.abs().max())  # float64


@pytest.mark.parametrize("kind", SMALL)
def test_maps_are_the_heatmaps_and_no_tags(kind):
    net, images = small(kind, joints=5).eval(), torch.randn(2, 3, 64, 32)
    with torch.no_grad():
        (heatmaps,) = net.maps(images).values()
        assert heatmaps.shape == (2, 5, 16, 8)
        assert torch.equal(heatmaps, net(images).heatmaps[0])


@pytest.mark.parametrize("kind", SMALL)
def test_sides_that_cannot_be_halved(kind):
    with pytest.raises(ValueError, match=r"images: expected sides that are multiples of 32, got \(64, 48\)"):
        small(kind)(torch.zeros(1, 3, 64, 48))


def test_a_depth_that_there_is_not():
    with pytest.raises(ValueError, match="depth: choose from 50, 101, 152, got 34"):
        Simple(depth=34)


def test_a_style_that_there_is_not():
    with pytest.raises(ValueError, match=r"^style: choose from pytorch, caffe, got 'tensorflow'$"):
        Simple(style="tensorflow")


def test_in_caffes_style_the_first_convolution_halves_and_no_name_or_shape_tells():
    """So weights of one load into the other without a word, and show something else."""
    caffe, torchs = small(Simple, style="caffe").eval(), small(Simple).eval()
    for layer in (2, 3, 4):
        blocks = getattr(caffe, f"layer{layer}"), getattr(torchs, f"layer{layer}")
        strides = [[convolution.stride for convolution in (of[0].conv1, of[0].conv2)] for of in blocks]
        assert strides == [[(2, 2), (1, 1)], [(1, 1), (2, 2)]]
        assert all(of[1].conv1.stride == of[1].conv2.stride == (1, 1) for of in blocks)
    shapes = [{name: value.shape for name, value in net.state_dict().items()} for net in (caffe, torchs)]
    assert shapes[0] == shapes[1]
    torchs.load_state_dict(caffe.state_dict())
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        one, other = (net(images).heatmaps[0] for net in (caffe, torchs))
    assert (one - other).abs().max() > 0.1 * one.abs().max()


@pytest.mark.parametrize("kind", SMALL)
def test_numbers_build_the_net_again(kind):
    net = small(kind, joints=14)
    again = kind(**net.numbers)
    assert {name: value.shape for name, value in again.state_dict().items()} == {
        name: value.shape for name, value in net.state_dict().items()
    }
    assert again.numbers == net.numbers


@pytest.mark.parametrize("kind", SMALL)
def test_every_parameter_gets_a_gradient(kind):
    net = small(kind)
    net(torch.randn(2, 3, 64, 64)).heatmaps[0].square().mean().backward()
    silent = [name for name, parameter in net.named_parameters() if parameter.grad is None or not parameter.grad.any()]
    assert not silent


@pytest.mark.parametrize("kind", SMALL)
def test_two_images_are_learnt_by_heart(kind):
    net, images = small(kind, joints=2, width=8), torch.randn(2, 3, 64, 64)
    target = torch.zeros(2, 2, 16, 16)
    target[0, 0, 4, 5] = target[1, 1, 9, 3] = 1
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    losses = []
    for _ in range(40):
        losses.append(F.mse_loss(net(images).heatmaps[0], target))
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < 0.5 * losses[0]  # empty maps, where it starts, keep it at 1
