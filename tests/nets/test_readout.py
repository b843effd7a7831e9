"""The readout head: the published names, shapes and counts; what it computes, by the book; every part of it learns."""

import pytest
import torch
import torch.nn.functional as F

from rtpe.nets.readout import Features, Readout
from rtpe.nets.weights import load_into, load_weights

SD15 = [1280] * 6 + [640] * 3 + [320] * 3
SDXL = [1280] * 3 + [640] * 3 + [320] * 3


def published(channels):
    """Names and shapes of the published file."""
    shapes = {"mixing_weights": (len(channels),)}
    for place, count in enumerate(channels):
        convolutions = {"shortcut": (384, count), "conv1": (96, count), "conv2": (96, 96, 3, 3), "conv3": (384, 96)}
        for name, shape in convolutions.items():
            name, shape = f"bottleneck_layers.{place}.{name}", (*shape, 1, 1)[:4]
            shapes |= {f"{name}.weight": shape, f"{name}.norm.weight": shape[:1], f"{name}.norm.bias": shape[:1]}
        shapes[f"bottleneck_layers.{place}.emb_layers.weight"] = (96, 1280)
        shapes[f"bottleneck_layers.{place}.emb_layers.bias"] = (96,)
    for place, shape in ((0, (128, 384, 3, 3)), (2, (32, 128, 3, 3)), (4, (18, 32, 1, 1))):
        shapes |= {f"output_head.{place}.weight": shape, f"output_head.{place}.bias": shape[:1]}
    return shapes


def tiny(seed=0, joints=3, channels=(8, 32, 16), look=None):
    torch.manual_seed(seed)
    return Readout(joints, channels, embedding=12, look=look, width=32, groups=4)


def features(seed=1, batch=2, sizes=((2, 3), (4, 6), (8, 12))):
    torch.manual_seed(seed)
    maps = [torch.randn(batch, count, *size) for count, size in zip((8, 32, 16), sizes)]
    return Features(maps, torch.randn(1, 12), (8, 12))


@pytest.mark.parametrize(
    "channels, tensors, parameters", [(SD15, 175, 8_485_246), (SDXL, 133, 5_907_931)], ids=["SD 1.5", "SDXL"]
)
def test_names_shapes_and_counts_are_the_published_ones(channels, tensors, parameters):
    with torch.device("meta"):
        net = Readout(18, channels, embedding=1280)
    state = net.state_dict()
    assert {name: tuple(value.shape) for name, value in state.items()} == published(channels)
    assert (len(state), sum(p.numel() for p in net.parameters())) == (tensors, parameters)


def test_a_checkpoint_of_the_published_layout_loads(tmp_path):
    """The weights lie under a key of their own, beside plain settings and the state of an optimiser."""
    net, other = tiny(0), tiny(1)
    optimiser = torch.optim.AdamW(net.parameters())
    net.read(features()).sum().backward()
    optimiser.step()
    config = {"dims": [8, 32, 16], "aggregation_kwargs": {"output_head_channels": 3}, "prompt": "", "log_max": -1}
    saved = {"step": 5, "config": config, "aggregation_network": net.state_dict()}
    torch.save({**saved, "optimizer_state_dict": optimiser.state_dict()}, tmp_path / "published.pt")
    load_into(other, load_weights(tmp_path / "published.pt"), "published.pt")
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in net.state_dict().items())


def test_other_features_than_the_weights_read_are_refused():
    with pytest.raises(ValueError, match="of another shape"):
        load_into(tiny(), tiny(channels=(8, 16, 16)).state_dict(), "x.pt")


def by_the_book(net, seen):
    """Every map is resized first, then goes through its bottleneck; all of them are stacked and weighed."""
    layers, state = [], net.state_dict()

    def normed(name, x, padding=0):
        x = F.conv2d(x, state[f"{name}.weight"], padding=padding)
        return F.group_norm(x, 4, state[f"{name}.norm.weight"], state[f"{name}.norm.bias"])

    for place, x in enumerate(seen.maps):
        name = f"bottleneck_layers.{place}"
        x = F.interpolate(x, seen.size_hw, mode="bilinear", align_corners=False)
        time = F.linear(seen.embedding, state[f"{name}.emb_layers.weight"], state[f"{name}.emb_layers.bias"]).relu()
        h = normed(f"{name}.conv1", x).relu() + time[:, :, None, None]
        h = normed(f"{name}.conv3", normed(f"{name}.conv2", h, padding=1).relu())
        same = f"{name}.shortcut.weight" not in state
        layers.append((h + (x if same else normed(f"{name}.shortcut", x))).relu())
    mixed = torch.einsum("l,lbchw->bchw", torch.softmax(state["mixing_weights"], 0), torch.stack(layers))
    return net.output_head(mixed)


@pytest.mark.parametrize("batch", [1, 3])
def test_it_computes_what_the_paper_does(batch):
    """A map of the common width has no shortcut; small maps are convolved before they are resized."""
    net, seen = tiny(), features(batch=batch)
    with torch.no_grad():
        net.mixing_weights.copy_(torch.tensor([0.5, -1.0, 2.0]))
        for name, value in net.named_parameters():
            if "norm" in name:
                value.add_(torch.randn_like(value))
    want = by_the_book(net, seen)
    assert want.shape == (batch, 3, 8, 12)
    torch.testing.assert_close(net.read(seen), want, rtol=1e-4, atol=1e-5)  # float32 sums in another order


def test_every_parameter_gets_a_gradient_and_what_is_looked_through_none():
    frozen = torch.nn.Conv2d(3, 8, 1).requires_grad_(False)
    seen = features()
    net = tiny(look=lambda images: seen._replace(maps=[frozen(images), *seen.maps[1:]]))
    out = net(torch.randn(2, 3, 8, 12))
    assert list(out.maps) == ["heatmaps"]
    out.heatmaps[0].square().mean().backward()
    assert [name for name, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []
    assert frozen.weight.grad is None
    assert not any(p is q for p in net.parameters() for q in frozen.parameters())


def test_half_precision_features_are_read_in_full():
    net, seen = tiny(), features()
    half = seen._replace(maps=[x.half() for x in seen.maps], embedding=seen.embedding.half())
    got = net.read(half)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, net.read(seen), rtol=0.02, atol=0.02)  # 11 bits of features of about 1


def test_widths_that_cannot_be():
    with pytest.raises(ValueError, match="width: expected a multiple of 128 for 32 groups, got 100"):
        Readout(3, [8], 12, width=100)
