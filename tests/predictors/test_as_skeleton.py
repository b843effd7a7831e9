"""Other joints of the same people: channels and points go together, and who lacks a joint cannot serve."""

import numpy as np
import pytest

from rtpe.geometry import Affine
from rtpe.predictors.as_skeleton import AsSkeleton
from rtpe.skeleton import COCO17, LSP14, OPENPOSE18
from rtpe.structures import PoseMaps, Poses, Prediction


class Numbered:
    """Joint k has heat k, lies at (k, 2 k) and scores k."""

    skeleton = OPENPOSE18

    def __call__(self, images):
        heat = np.arange(18, dtype=np.float32)
        maps = PoseMaps(np.broadcast_to(heat[:, None, None], (18, 4, 4)), Affine.identity(), (4, 4), OPENPOSE18)
        return [Prediction(maps, Poses(np.stack([heat, 2 * heat], 1)[None], heat[None], [1], OPENPOSE18))] * len(images)

    def describe(self):
        return {"name": "numbered", "weights_sha256": "", "settings": {"size": 4}}


def test_joints_are_chosen_by_name():
    made = AsSkeleton(Numbered(), COCO17)
    assert made([]) == []
    (found,) = made([np.zeros((4, 4, 3), np.uint8)])
    by_hand = [0, 15, 14, 17, 16, 5, 2, 6, 3, 7, 4, 11, 8, 12, 9, 13, 10]
    assert found.maps.heatmaps[:, 0, 0].tolist() == found.poses.scores[0].tolist() == by_hand
    assert found.poses.points[0].tolist() == [[k, 2 * k] for k in by_hand]
    assert found.maps.skeleton == found.poses.skeleton == made.skeleton == COCO17


def test_it_says_whose_joints_it_reads():
    """A cache must not be continued by a predictor that is asked for its joints in another order."""
    said = AsSkeleton(Numbered(), COCO17).describe()
    assert said == {"name": "numbered", "weights_sha256": "", "settings": {"size": 4, "skeleton": "openpose18"}}


def test_a_joint_that_is_lacking():
    with pytest.raises(ValueError, match="skeleton openpose18 lacks head_top of lsp14"):
        AsSkeleton(Numbered(), LSP14)
