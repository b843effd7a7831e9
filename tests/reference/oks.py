"""Object keypoint similarity the slow way, word for word as https://cocodataset.org/#keypoints-eval has it."""

import math


def similarity(found, labelled, area, sigmas):
    """One found person, (K, 2), against one labelled, (K, 3)."""
    total, count = 0.0, 0
    for (x, y), (true_x, true_y, visibility), sigma in zip(found, labelled, sigmas):
        if visibility > 0:
            count += 1
            if not math.isnan(x):
                distance = math.hypot(x - true_x, y - true_y)
                total += math.exp(-(distance**2) / (2 * area * (2 * sigma) ** 2))
    return total / count if count else 0.0
