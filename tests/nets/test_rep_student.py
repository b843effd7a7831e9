"""The student of plain convolutions: its maps, and that merging its branches changes none of them."""

import copy
import subprocess
import sys

import pytest
import torch
from torch import nn

from rtpe.nets.cost import gmacs, parameters
from rtpe.nets.rep_student import SIZES, RepStudent
from rtpe.nets.repvgg import RepConv, merged

ALL = ["tags", "centers", "offsets", "shifts"]
SMALL = {"widths": [16, 32, 32, 48, 64], "convs": [0, 1, 2, 1], "neck": 32}


def trained(net, seed=0):
    """Norms with statistics of their own, as after training."""
    generator = torch.Generator().manual_seed(seed)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low, high in (
                (module.running_mean, -0.5, 0.5),
                (module.running_var, 0.3, 3.0),
                (module.weight.data, 0.5, 1.5),
                (module.bias.data, -0.3, 0.3),
            ):
                tensor.uniform_(low, high, generator=generator)
    return net.eval()


@pytest.mark.parametrize("inputs, outputs, stride", [(9, 9, 1), (9, 7, 1), (9, 9, 2), (3, 16, 2), (3, 3, 1)])
@pytest.mark.parametrize("size", [(8, 8), (7, 5)], ids=str)
def test_a_merged_convolution_is_the_sum_of_its_branches(inputs, outputs, stride, size):
    torch.manual_seed(0)
    conv = trained(RepConv(inputs, outputs, stride)).double()
    x = torch.randn(2, inputs, *size, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(conv.merged()(x.clone()), conv(x), rtol=1e-10, atol=1e-10)
    assert (conv.same is None) == (inputs != outputs or stride == 2) and (conv.point is None) == (inputs == 3)


@pytest.mark.parametrize(
    "numbers",
    [{}, {"stride": 4}, {"heads": ["tags"]}, {"heads": []}, {"heads": ["centers", "offsets", "shifts"]}],
    ids=str,
)
def test_a_merged_net_gives_the_same_maps(numbers):
    torch.manual_seed(0)
    net = trained(RepStudent(joints=5, **SMALL, **numbers))
    before = copy.deepcopy(net.state_dict())
    one = merged(net)
    images = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        for plain, same in zip(net.maps(images).values(), one.maps(images).values(), strict=True):
            assert (plain is None) == (same is None)
            if plain is not None:
                torch.testing.assert_close(same, plain, rtol=1e-4, atol=1e-5 * float(plain.abs().max()))
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())  # it is a copy
    assert not any(isinstance(module, RepConv | nn.BatchNorm2d) for module in one.modules())
    assert parameters(one) < parameters(net) and gmacs(one, (64, 96)) < gmacs(net, (64, 96))
    assert merged(one) is one


@pytest.mark.parametrize("stride", [4, 8])
def test_maps_are_of_the_stride(stride):
    out = RepStudent(joints=5, stride=stride, heads=ALL, **SMALL)(torch.zeros(2, 3, 64, 96))
    grid = (64 // stride, 96 // stride)
    assert [
        maps.shape
        for maps in (
            *out.heatmaps,
            out.maps["tags"][0],
            out.maps["centers"][0],
            out.maps["offsets"][0],
            out.maps["shifts"][0],
        )
    ] == [(2, count, *grid) for count in (5, 5, 1, 10, 10)]


@pytest.mark.parametrize("size", SIZES)
def test_sizes_are_of_whole_vectors_and_grow(size):
    """Processors' bf16 and int8 kernels want channels in whole vectors."""
    widths, _, neck = SIZES[size]
    assert all(width % 32 == 0 for width in (*widths[1:], neck))
    costs = [gmacs(RepStudent(size=each), (64, 64)) for each in SIZES]
    assert costs == sorted(costs)


def test_its_numbers_make_it_again():
    net = RepStudent(joints=5, size="nano", stride=4)
    again = RepStudent(**net.numbers)
    again.load_state_dict(net.state_dict())
    assert again.numbers == net.numbers


@pytest.mark.parametrize(
    "numbers, said",
    [
        ({"size": "huge"}, "size: choose from nano, s, m, l, got 'huge'"),
        ({"widths": [16, 32]}, "widths: expected "),
        ({"widths": [16, 32, 32, 32, 33]}, "widths: expected "),
        ({"convs": [1, 1, 1]}, "convs: expected "),
        ({"neck": 0}, "neck: expected "),
        ({"stride": 16}, "stride: choose from 4, 8, got 16"),
    ],
)
def test_what_is_no_such_net_is_refused(numbers, said):
    with pytest.raises(ValueError, match="^" + said):
        RepStudent(**numbers)


@pytest.mark.parametrize("size", SIZES)
def test_half_precision_learns(size):
    """In a process of its own: where torch's kernels of bf16 write beyond their memory, it ends without a word."""
    code = f"""
import torch
from rtpe.nets.rep_student import RepStudent
net = RepStudent(size={size!r}).to(memory_format=torch.channels_last)
for _ in range(3):
    images = torch.randn(4, 3, 128, 160).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        out = net(images)
    sum((maps.float() ** 2).sum() for maps in out.last().values()).backward()
assert all(parameter.grad.isfinite().all() for parameter in net.parameters())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_part_learns():
    torch.manual_seed(0)
    net = RepStudent(joints=5, heads=ALL, **SMALL)
    out = net(torch.randn(2, 3, 64, 64))
    sum(
        (maps**2).sum()
        for maps in (
            *out.heatmaps,
            out.maps["tags"][0],
            out.maps["centers"][0],
            out.maps["offsets"][0],
            out.maps["shifts"][0],
        )
    ).backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in net.parameters())
