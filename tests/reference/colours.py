"""Colours changed the slow way: a look-up a channel, a mean of floats, noise from the generator's own normals."""

import numpy as np


def photometric(image, settings, rng):
    """As `rtpe.data.transforms.photometric`, but for the grain, and without rounding it: (H, W, 3) float."""
    gain = 1 + rng.uniform(-settings.light, settings.light) + rng.uniform(-1, 1, 3) * settings.light / 3
    offset = rng.uniform(-settings.light, settings.light) * 64
    table = np.clip(np.arange(256)[:, None] * gain + offset, 0, 255).astype(np.uint8)
    changed = np.stack([table[:, channel][image[..., channel]] for channel in range(3)], -1)
    if rng.random() < settings.grey:
        changed = np.repeat(changed.mean(-1, keepdims=True).astype(np.uint8), 3, -1)
    if settings.noise and rng.random() < 1 / 3:
        deviation = rng.uniform(0, settings.noise)
        return np.clip(changed + rng.standard_normal(image.shape) * deviation, 0, 255)
    return changed
