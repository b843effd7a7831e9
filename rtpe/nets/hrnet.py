"""HRNet: branches of halving resolution, fused again and again (Sun et al., arXiv:1902.09212): trunk and top-down net.

Module names follow the published weights, so that they load without renaming.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from operator import add
from typing import Any

from torch import Tensor, nn

from rtpe.errors import UserError
from rtpe.nets.blocks import Outputs
from rtpe.nets.frozen import Freezable
from rtpe.nets.residual import EXPANSION, PUBLISHED, BasicBlock, Between, Bottleneck
from rtpe.settings.limits import each, refuse_others, whole

COARSEST = 32  # the stride of the last branch
LIMITS = {"stem": whole(1), "bottlenecks": whole(1), "modules": each(whole(1), least=0, most=3), "blocks": whole(0)}
PLACES = ("", "stem", "all")  # where norms or activations are left out


class Exchange(nn.Module):
    """A module of a stage: every branch for itself, then each output the sum of all branches at its resolution.

    Branch b has widths[b] channels and half the resolution of the one before; only the first `outputs` are fused.
    """

    def __init__(self, widths: Sequence[int], blocks: int, outputs: int, between: Between = PUBLISHED):
        super().__init__()
        sources = range(len(widths))
        self.branches = nn.ModuleList(
            nn.Sequential(*(BasicBlock(width, between) for _ in range(blocks))) for width in widths
        )
        self.fuse_layers = nn.ModuleList(
            nn.ModuleList(_fuse(widths, source, target, between) for source in sources) for target in range(outputs)
        )
        self.relu = between.activation()

    def forward(self, branches: list[Tensor]) -> list[Tensor]:
        branches = [branch(x) for branch, x in zip(self.branches, branches)]
        sums = [reduce(add, (layer(x) for layer, x in zip(layers, branches))) for layers in self.fuse_layers]
        return [self.relu(x) for x in sums]


class HRNet(Freezable):
    """Images to features of strides 4, 8, 16, 32, of width, 2, 4 and 8 times width channels.

    Args:
        width: channels of the finest branch.
        stem: channels of the two strided convolutions, and inner channels of the bottlenecks.
        bottlenecks: how many follow the strided convolutions.
        modules: exchange modules in the stages of 2, 3 and 4 branches; fewer numbers make a trunk that ends earlier,
            none the stem alone.
        blocks: basic blocks in each branch of each module.
        outputs: how many of the branches, the finest first, the last module gives back; None for all.
        no_norm: where batch norms are left out, for biases: in the "stem" (the two strided convolutions), in "all" of
            the net, or nowhere.
        no_act: where ReLUs are left out, likewise.

    Attributes:
        channels: of each branch that `features` gives.

    Raises:
        UserError: if there is no such place.
    """

    def __init__(
        self,
        width: int,
        stem: int,
        bottlenecks: int,
        modules: Sequence[int],
        blocks: int,
        outputs: int | None = None,
        no_norm: str = "",
        no_act: str = "",
    ):
        super().__init__()
        given = {"width": width, "stem": stem, "bottlenecks": bottlenecks, "modules": modules, "blocks": blocks}
        refuse_others(given, {"width": whole(1 if modules else 0), **LIMITS})
        for name, place in (("no_norm", no_norm), ("no_act", no_act)):
            if place not in PLACES:
                raise UserError(f"{name}: expected stem, all or nothing, got {place!r}")
        early = Between(norm=not no_norm, act=not no_act)
        between = Between(norm=no_norm != "all", act=no_act != "all")
        widths = [width << branch for branch in range(len(modules) + 1)]
        features = EXPANSION * stem
        self.conv1, self.bn1 = early.conv(3, stem, stride=2), early.norm_of(stem)
        self.conv2, self.bn2 = early.conv(stem, stem, stride=2), early.norm_of(stem)
        self.relu = early.activation()
        inputs = (features if i else stem for i in range(bottlenecks))
        self.layer1 = nn.Sequential(*(Bottleneck(count, stem, between=between) for count in inputs))
        for stage, count in enumerate(modules, start=1):
            own = widths[: stage + 1]
            transition = _new_branch(own, between) if stage > 1 else _first_branches(features, own, between)
            setattr(self, f"transition{stage}", transition)
            last = outputs if outputs and stage == len(modules) else stage + 1
            setattr(self, f"stage{stage + 1}", _stage(own, count, blocks, last, between))
        self.stages = len(modules)
        self.channels = widths[:outputs] if modules else [features]

    def features(self, images: Tensor) -> list[Tensor]:
        """The branches, finest first, of normalised images: (B, 3, H, W) -> (B, width << b, H/4 >> b, W/4 >> b) each.

        Raises:
            UserError: if H or W is no multiple of 32.
        """
        if images.shape[-2] % COARSEST or images.shape[-1] % COARSEST:
            raise UserError(f"images: expected sides that are multiples of {COARSEST}, got {tuple(images.shape[-2:])}")
        x = self.relu(self.bn1(self.conv1(images)))
        x = self.relu(self.bn2(self.conv2(x)))
        branches = [self.layer1(x)]
        for stage in range(1, self.stages + 1):
            transition = getattr(self, f"transition{stage}")
            if stage == 1:
                branches = [begin(branches[0]) for begin in transition]
            else:
                branches = [*branches, transition[-1](branches[-1])]
            branches = getattr(self, f"stage{stage + 1}")(branches)
        return branches


class PoseHRNet(HRNet):
    """A top-down pose net, one person a crop; its defaults are the published pose_hrnet_w32.

    Args:
        joints: heatmaps.
        width: channels of the finest branch; 32 and 48 are published.
        stem, bottlenecks, modules, blocks, no_norm, no_act: as of `HRNet`.

    Attributes:
        numbers: the arguments, by name.
    """

    def __init__(
        self,
        joints: int = 17,
        width: int = 32,
        stem: int = 64,
        bottlenecks: int = 4,
        modules: Sequence[int] = (1, 4, 3),
        blocks: int = 4,
        no_norm: str = "",
        no_act: str = "",
    ):
        super().__init__(width, stem, bottlenecks, modules, blocks, 1, no_norm, no_act)
        left_out = {"no_norm": no_norm, "no_act": no_act}  # the published net does not speak of it
        self.numbers = {
            "joints": joints, "width": width, "stem": stem, "bottlenecks": bottlenecks, "modules": list(modules),
            "blocks": blocks, **{name: place for name, place in left_out.items() if place},
        }  # fmt: skip
        self.final_layer = nn.Conv2d(width, joints, 1)
        initialise(self)
        if no_norm == "all":
            _initialise_without_norms(self, relu=no_act != "all")
        nn.init.normal_(self.final_layer.weight, std=0.001)  # maps start at nothing, as nearly all of their cells end

    def forward(self, images: Tensor) -> Outputs:
        """Normalised images, (B, 3, H, W), sides multiples of 32, to heatmaps (B, K, H/4, W/4)."""
        return Outputs({"heatmaps": [self.final_layer(self.features(images)[0])]})

    def maps(self, images: Tensor) -> dict[str, Tensor]:
        """Heatmaps, (B, K, H/4, W/4)."""
        return self(images).last()


def trunk_numbers(state: Mapping[str, Tensor], stages: int) -> dict[str, Any]:
    """The arguments of the `HRNet` whose weights these are, cut after so many stages.

    Raises:
        UserError: if these are no weights of such a net, or it has fewer stages.
    """
    names = list(state)
    if "conv1.weight" not in state or (f"stage{stages + 1}.0.branches.0.0.conv1.weight" not in names and stages):
        raise UserError(f"expected an HRNet's stem and {stages} stages, got tensors {', '.join(names[:3])}...")

    def count(prefix: str) -> int:
        return len({name.removeprefix(prefix).split(".")[0] for name in names if name.startswith(prefix)})

    modules = [count(f"stage{stage + 2}.") for stage in range(stages)]
    return {
        "width": len(state["transition1.0.0.weight"]) if stages else 0,
        "stem": len(state["conv1.weight"]),
        "bottlenecks": count("layer1."),
        "modules": modules,
        "blocks": count("stage2.0.branches.0.") if stages else 0,
        "outputs": count(f"stage{stages + 1}.{modules[-1] - 1}.fuse_layers.") if stages else None,
    }


def initialise(net: nn.Module) -> None:
    """Weights to train from scratch: Kaiming's for convolutions, plain batch norms, biases 0 (arXiv:1502.01852)."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def _initialise_without_norms(net: HRNet, relu: bool) -> None:
    """Weights with which the mean square of the features stays what it is, however deep the net and without a norm.

    A convolution keeps the mean square of what it is given, with the ReLU behind it (He et al., arXiv:1502.01852). One
    whose output is added to what passes beside it gives the n-th part of that, where n sums follow each other: all of
    them together make it at most e times as large (after Fixup, Zhang et al., arXiv:1901.09321, whose branches begin at
    0; these begin small, so that every weight has a gradient from the first step).
    """
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu" if relu else "linear")
    exchanges = [module for module in net.modules() if isinstance(module, Exchange)]
    sums = len(net.layer1) + sum(1 + len(exchange.branches[0]) for exchange in exchanges)
    for conv, beside in _added(net):
        nn.init.kaiming_normal_(conv.weight, nonlinearity="linear")
        conv.weight.data /= math.sqrt(sums * beside)


def _added(net: HRNet) -> Iterator[tuple[nn.Conv2d, int]]:
    """The convolutions whose outputs are added to what passes beside them, and how many are added to it."""
    for module in net.modules():
        if isinstance(module, BasicBlock):
            yield module.conv2, 1
        elif isinstance(module, Bottleneck):
            yield module.conv3, 1
        elif isinstance(module, Exchange):
            for target, layers in enumerate(module.fuse_layers):
                for layer in (*layers[:target], *layers[target + 1 :]):
                    yield [each for each in layer.modules() if isinstance(each, nn.Conv2d)][-1], len(layers) - 1


def _stage(widths: Sequence[int], modules: int, blocks: int, outputs: int, between: Between) -> nn.Sequential:
    fused = [len(widths)] * (modules - 1) + [outputs]
    return nn.Sequential(*(Exchange(widths, blocks, count, between) for count in fused))


def _first_branches(features: int, widths: Sequence[int], between: Between) -> nn.ModuleList:
    """The stem's features become the two finest branches."""
    fine, coarse = between.conv_norm_act(features, widths[0]), between.conv_norm_act(features, widths[1], stride=2)
    return nn.ModuleList([fine, nn.Sequential(coarse)])


def _new_branch(widths: Sequence[int], between: Between) -> nn.ModuleList:
    """The branches so far pass; the coarsest one also starts the next."""
    passing = [nn.Identity() for _ in widths[:-1]]
    return nn.ModuleList([*passing, nn.Sequential(between.conv_norm_act(widths[-2], widths[-1], stride=2))])


def _fuse(widths: Sequence[int], source: int, target: int, between: Between) -> nn.Module:
    """Bring one branch to the resolution and the width of another."""
    if source == target:
        return nn.Identity()
    if source > target:
        upsample = nn.Upsample(scale_factor=float(1 << (source - target)), mode="nearest")
        return nn.Sequential(*between.conv_norm(widths[source], widths[target], kernel=1), upsample)
    halvings = [between.conv_norm_act(widths[source], widths[source], stride=2) for _ in range(target - source - 1)]
    return nn.Sequential(*halvings, between.conv_norm(widths[source], widths[target], stride=2))
