"""The cost of networks in files equals that of the same nets in torch."""

import pytest
import torch
from places import REAL
from torch import nn

from rtpe.nets.cost import gmacs, parameters
from rtpe.predictors.adapters.onnx_cost import onnx_cost

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the newer exporter takes seconds a net
onnx = pytest.importorskip("onnx", reason="onnx is not installed: pip install rtpe[export]")


def written(path, net, free=False):
    pytest.importorskip("onnxscript", reason="onnxscript is not installed: pip install rtpe[export]")
    shapes = {"x": {2: "h", 3: "w"}} if free else None
    torch.onnx.export(
        net.eval(), (torch.zeros(1, 3, 32, 48),), path, dynamo=False, input_names=["x"], dynamic_axes=shapes
    )
    return path


def small_net():
    """All kinds of layers that have products, norms, which have statistics, and a resize, which has sizes."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.PReLU(8), nn.Conv2d(8, 8, 3, 1, 1, groups=4, bias=False),
        nn.ConvTranspose2d(8, 6, 4, 2, 1), nn.Upsample(scale_factor=2), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(6, 5),
    )  # fmt: skip


def test_a_file_costs_what_its_net_costs(tmp_path):
    net = small_net()
    net[2].weight.data = torch.rand(8)
    found = onnx_cost(written(tmp_path / "net.onnx", net), (32, 48))
    assert found[1] == pytest.approx(gmacs(net, (32, 48)), rel=1e-9)
    folded = 16  # the norm's scale and shift become the convolution's
    assert found[0] in (parameters(net), parameters(net) - folded)


def test_the_size_is_the_one_that_is_asked_for(tmp_path):
    net = nn.Conv2d(3, 4, 1)
    path = written(tmp_path / "net.onnx", net, free=True)
    assert [round(1e9 * onnx_cost(path, size)[1]) for size in ((2, 2), (4, 8))] == [48, 384]


def test_what_cannot_be_told_is_not_guessed(tmp_path):
    """No file, no network, no product; a score must never fail for it."""
    (tmp_path / "torn.onnx").write_bytes(b"torn")
    for path in (tmp_path / "none.onnx", tmp_path / "torn.onnx", written(tmp_path / "relu.onnx", nn.ReLU())):
        assert onnx_cost(path, (32, 32)) is None


@pytest.mark.parametrize(
    "file, size_hw",
    [("hpe0001/human-pose-estimation-0001.onnx", (256, 456)), ("simplepose/simplepose.onnx", (256, 192))],
)
def test_real_networks(file, size_hw):
    """Four bytes a parameter are the file, but for norms' statistics and names; four times the pixels, as many more."""
    path = REAL / "teachers" / file
    if not path.is_file():
        pytest.skip("the real-data folder is absent")
    found, billions = onnx_cost(path, size_hw)
    assert 0.9 < 4 * found / path.stat().st_size < 1
    assert onnx_cost(path, tuple(2 * side for side in size_hw))[1] == pytest.approx(4 * billions)
