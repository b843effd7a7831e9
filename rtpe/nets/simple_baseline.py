"""SimpleBaselines: a ResNet and three deconvolutions (Xiao et al., arXiv:1804.06208; He et al., arXiv:1512.03385).

Module names follow the published weights, so that they load without renaming. Those were trained on images whose
channels were blue, green and red, and normalised by the means of red, green and blue: see `--teacher.color`.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from rtpe.errors import UserError
from rtpe.nets.blocks import Outputs
from rtpe.nets.frozen import Freezable
from rtpe.nets.hrnet import initialise
from rtpe.nets.residual import EXPANSION, Bottleneck
from rtpe.settings.limits import choice, refuse_others, whole

DEPTHS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}  # bottlenecks in each of the four layers
COARSEST = 32  # the stride before the deconvolutions
DECONVS = 3
LIMITS = {
    "depth": choice(*DEPTHS),
    "width": whole(1),
    "deconv": whole(1),
    "style": choice("pytorch", "caffe"),
}


class SimpleBaseline(Freezable):
    """A top-down pose net, one person a crop; its defaults are the published pose_resnet_50.

    Args:
        joints: heatmaps.
        depth: of the ResNet: 50, 101 or 152.
        width: channels of the first convolution, and inner ones of the first layer.
        deconv: channels of each deconvolution.
        style: where a bottleneck halves the resolution: in its 3x3 convolution (pytorch), or in its first 1x1 (caffe),
            as in weights that began as Caffe's ResNet. Names and shapes are the same: no file tells.

    Attributes:
        numbers: the arguments, by name.

    Raises:
        UserError: if there is no ResNet of that depth, or no such style.
    """

    def __init__(self, joints: int = 17, depth: int = 50, width: int = 64, deconv: int = 256, style: str = "pytorch"):
        super().__init__()
        self.numbers = {"joints": joints, "depth": depth, "width": width, "deconv": deconv, "style": style}
        refuse_others(self.numbers, LIMITS)
        self.conv1, self.bn1 = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False), nn.BatchNorm2d(width)
        inputs = width
        for layer, blocks in enumerate(DEPTHS[depth]):
            planes = width << layer
            setattr(self, f"layer{layer + 1}", _layer(inputs, planes, blocks, 2 if layer else 1, style == "caffe"))
            inputs = EXPANSION * planes
        self.deconv_layers = _deconvolutions(inputs, deconv)
        self.final_layer = nn.Conv2d(deconv, joints, 1)
        initialise(self)
        nn.init.normal_(self.final_layer.weight, std=0.001)  # maps start at nothing, as nearly all of their cells end

    def forward(self, images: Tensor) -> Outputs:
        """Normalised images, (B, 3, H, W), to heatmaps (B, K, H/4, W/4).

        Raises:
            UserError: if H or W is no multiple of 32.
        """
        if images.shape[-2] % COARSEST or images.shape[-1] % COARSEST:
            raise UserError(f"images: expected sides that are multiples of {COARSEST}, got {tuple(images.shape[-2:])}")
        x = F.relu(self.bn1(self.conv1(images)), inplace=True)
        x = F.max_pool2d(x, kernel_size=3, stride=2, padding=1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return Outputs({"heatmaps": [self.final_layer(self.deconv_layers(x))]})

    def maps(self, images: Tensor) -> dict[str, Tensor]:
        """Heatmaps, (B, K, H/4, W/4)."""
        return self(images).last()


def _layer(inputs: int, planes: int, blocks: int, stride: int, caffe: bool) -> nn.Sequential:
    others = (Bottleneck(EXPANSION * planes, planes) for _ in range(blocks - 1))
    return nn.Sequential(Bottleneck(inputs, planes, stride, caffe=caffe), *others)


def _deconvolutions(inputs: int, channels: int) -> nn.Sequential:
    """Thrice twice the resolution."""
    layers = []
    for count in (inputs, *[channels] * (DECONVS - 1)):
        layers += [
            nn.ConvTranspose2d(count, channels, kernel_size=4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers)
