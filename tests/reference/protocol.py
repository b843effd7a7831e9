"""The published test of HigherHRNet, one image at a time: its input, its runs, and how their maps become one.

Here, and nowhere else, a coordinate is the index of a pixel: its center is a whole number.
"""

import cv2
import numpy as np
import torch

MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def input_wh(image_wh, size, scale, least_scale):
    """The input's (width, height) at one scale, if the smallest of all scales is `least_scale`."""
    w, h = image_wh
    least = int((least_scale * size + 63) // 64 * 64)
    if w < h:
        return int(least * scale / least_scale), int((least / w * h + 63) // 64 * 64 * scale / least_scale)
    return int((least / h * w + 63) // 64 * 64 * scale / least_scale), int(least * scale / least_scale)


def resize_factor(image_wh, to_wh):
    """Of the short side; the long one gets a border, or loses less than a pixel."""
    return to_wh[0] / image_wh[0] if image_wh[0] < image_wh[1] else to_wh[1] / image_wh[1]


def middle(image_wh):
    return np.array([int(side / 2 + 0.5) for side in image_wh], float)


def resized(image, to_wh):
    """The image in an input: the affine of three pairs of points, black beyond the image."""
    image_wh = image.shape[1], image.shape[0]
    directions = np.array([[0, 0], [0, -1], [-1, 0]]) * to_wh[0] / 2
    there = np.float32(middle(image_wh) + directions / resize_factor(image_wh, to_wh))
    matrix = cv2.getAffineTransform(there, np.float32(np.array(to_wh) / 2 + directions))
    return cv2.warpAffine(image, matrix, to_wh, flags=cv2.INTER_LINEAR)


def to_image(points, maps_wh, image_wh, to_wh):
    """Points in maps, read as (x + .5, y + .5) of a cell's indices, to pixel indices of the image."""
    cells = np.array(to_wh) / np.array(maps_wh)
    return middle(image_wh) + (points - np.array(maps_wh) / 2) * cells / resize_factor(image_wh, to_wh)


def aggregated(net, image, size, swaps, scales=(1,), flip=True):
    """Heatmaps (K, H, W) and tags (T, K, H, W), a cell for each pixel of the input at scale 1.

    Args:
        net: normalised (1, 3, H, W) -> level 0, (1, 2 K, H/4, W/4), tags last, and level 1, (1, K, H/2, W/2).
        swaps: the joint of the other side for each joint.
    """
    image_wh, least, joints = (image.shape[1], image.shape[0]), min(scales), len(swaps)
    base_wh = input_wh(image_wh, size, 1, least)
    total, tags = 0, None
    for scale in sorted(scales, reverse=True):
        pixels = resized(image, input_wh(image_wh, size, scale, least))
        runs = [_run(net, pixels, joints, base_wh)]
        if flip:
            heat, tag = (maps[:, :, ::-1][swaps] for maps in _run(net, pixels[:, ::-1], joints, base_wh))
            runs.append((heat, tag))
        total = total + sum(heat for heat, _ in runs) / len(runs)
        if scale == 1 or len(scales) == 1:
            tags = np.stack([tag for _, tag in runs])
    return total / len(scales), tags


def _run(net, pixels, joints, base_wh):
    inputs = torch.tensor((pixels / 255 - MEAN) / STD, dtype=torch.float32).permute(2, 0, 1)[None]
    with torch.no_grad():
        coarse, fine = (level[0].double().numpy() for level in net(inputs))
    fine_wh = fine.shape[2], fine.shape[1]
    heat = (enlarged(coarse[:joints], fine_wh) + fine) / 2
    return enlarged(heat, base_wh), enlarged(enlarged(coarse[joints:], fine_wh), base_wh)


def enlarged(maps, to_wh):
    """Bilinear, where cells are areas: their outer edges stay together."""
    across, down = (_weights(there, side) for there, side in zip(maps.shape[:0:-1], to_wh))
    return down @ maps @ across.T


def _weights(there, to):
    weights = np.zeros((to, there))
    for row in range(to):
        place = max((row + 0.5) * there / to - 0.5, 0)
        first = min(int(place), there - 1)
        weights[row, first] += 1 - (place - first)
        weights[row, min(first + 1, there - 1)] += place - first
    return weights
