"""The circle: a spot in a photograph, preprocessed, seen, cached, decoded, comes back to its place in the photograph.

This is the test that padding is never stretched over an image, that no stage adds or forgets half a pixel, and that a
mirrored view swaps sides exactly once. A spot is a Gaussian of two cells, as teachers draw them; the net has no weights
(a joint is where its colour is), so whatever is off is off by geometry. Half a network input's pixel would be .1 to 1.2
pixels of these photographs.
"""

from functools import cache

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from miniature import FACE, STRIDE, cache_of, look, mirrored, spots
from torch import nn

from rtpe.cache import STORES
from rtpe.data.settings import AugmentSettings
from rtpe.data.transforms import plain_view, random_view, warp_points, warp_teacher_maps
from rtpe.decode.grouping import GroupingSettings, group
from rtpe.geometry import short_side
from rtpe.nets.blocks import IMAGENET_MEAN, IMAGENET_STD
from rtpe.predictors.bottom_up import BottomUpPredictor
from rtpe.skeleton import Skeleton
from rtpe.structures import Poses, Prediction

SIZES_HW = [(60, 240), (64, 192), (150, 300), (480, 640), (333, 334), (427, 320), (401, 199), (633, 211), (400, 100)]
MIDDLE = Skeleton("middle", ("nose", "neck", "pelvis"), (), (0.1, 0.1, 0.1))
INPUT, SPREAD = 256, 2.0  # pixels of the short side or of both, and cells
RESIZES = ["short_side", "letterbox"]
WORST_PX, MEAN_PX = 0.1, 0.03  # DARK is exact to .01 cell, a cell here is up to 10 pixels
VIEW_HW = (256, 192)
VIEWS = AugmentSettings(rotate=25.0, scale=(0.7, 1.35), shift=0.12, flip=0.5)


class Colours(nn.Module):
    """A net without weights: joint k is seen where colour k is."""

    def maps(self, images):
        mean, std = (torch.tensor(numbers).view(1, 3, 1, 1) for numbers in (IMAGENET_MEAN, IMAGENET_STD))
        return {"heatmaps": F.avg_pool2d(images * std + mean, STRIDE)}


def nobody(maps):
    return Poses.none(maps.skeleton)


def predictor(fit, flip):
    return BottomUpPredictor(Colours(), MIDDLE, nobody, "colours", "0" * 64, size=INPUT, resize=fit, flip=flip)


def cell_px(size_hw, fit):
    """Pixels of the photograph in a cell."""
    return STRIDE * (min if fit == "short_side" else max)(size_hw) / INPUT


def places(size_hw, cell, seed=0):
    """Three sub-pixel places, far enough inside that all of their spot is in the photograph."""
    low = np.full(2, 2.5 * SPREAD * cell)
    high = np.maximum(np.array(size_hw[::-1]) - low, low)
    return np.random.default_rng([seed, *size_hw]).uniform(low, high, (3, 2))


@cache
def predicted(size_hw, fit, flip):
    """Where the spots are, and what is said of their photograph."""
    cell = cell_px(size_hw, fit)
    points = places(size_hw, cell)
    (prediction,) = predictor(fit, flip)([spots(points, size_hw, SPREAD * cell)])
    return points, prediction


def distances(points, maps):
    """Pixels from each spot to where it was found, (3,)."""
    poses = group(maps, GroupingSettings())
    assert len(poses) == 1 and (poses.scores > 0).all()
    return np.linalg.norm(poses.points[0] - points, axis=-1)


@pytest.mark.parametrize("store", sorted(STORES))
@pytest.mark.parametrize("flip", [False, True], ids=["plain", "flip-averaged"])
@pytest.mark.parametrize("fit", RESIZES)
def test_a_spot_comes_back_to_its_place(tmp_path, fit, flip, store):
    """Preprocess, see, cache, decode, for every aspect ratio: none of them is stretched or shifted."""
    made = {index: predicted(size_hw, fit, flip) for index, size_hw in enumerate(SIZES_HW)}
    held = cache_of(tmp_path / "cache", {index: told for index, (_, told) in made.items()}, MIDDLE, store=store)
    for index, (points, _) in made.items():
        maps = held.load(index).maps
        (across, skew, _), (slant, down, _) = maps.to_image.matrix
        worst = distances(points, maps).max()
        assert across == pytest.approx(down) and skew == slant == 0
        assert worst < WORST_PX, f"{SIZES_HW[index]}: {worst:.3f} px"


def test_the_circle_is_closed_on_average():
    """A small shift that the bound would pass, in all photographs alike, shows in the mean."""
    cases = [predicted(size_hw, fit, flip) for size_hw in SIZES_HW for fit in RESIZES for flip in (False, True)]
    found = np.concatenate([distances(points, told.maps) for points, told in cases])
    print(f"circle: mean {found.mean():.4f} px, worst {found.max():.4f} px of {found.size} joints")
    assert found.mean() < MEAN_PX


@pytest.mark.parametrize("fit", RESIZES)
@pytest.mark.parametrize("size_hw", SIZES_HW, ids=str)
def test_a_spot_on_the_border_stays_there(size_hw, fit):
    """Cut by the border, a spot is no Gaussian any more; it still peaks within about a cell of its place."""
    cell = cell_px(size_hw, fit)
    width, height = size_hw[::-1]
    points = np.array([[0.1, height / 2], [width - 0.3 * cell, height - 0.3 * cell], [width / 2, 0.1]])
    (prediction,) = predictor(fit, False)([spots(points, size_hw, SPREAD * cell)])
    assert distances(points, prediction.maps).max() < 1.25 * cell


@pytest.mark.parametrize("fit", RESIZES)
@pytest.mark.parametrize("size_hw", [(1, 1), (1, 4), (4, 1), (1, 2000), (3, 5)], ids=str)
def test_the_smallest_photographs_go_round(tmp_path, size_hw, fit):
    """An image of one pixel is enlarged, not divided by; whatever is found lies in it, give or take a cell."""
    (prediction,) = predictor(fit, True)([np.full((*size_hw, 3), 200, np.uint8)])
    held = cache_of(tmp_path / "cache", {1: prediction}, MIDDLE).load(1).maps
    points, cell = group(held, GroupingSettings()).points, held.to_image.scale
    assert held.image_hw == size_hw and (points > -cell).all() and (points < np.array(size_hw[::-1]) + cell).all()


@cache
def viewed(size_hw, seed):
    """Spots, their photograph under a view, and the places that the labels have there: (points, photograph, view)."""
    fits = plain_view(size_hw, VIEW_HW)
    rng = np.random.default_rng([seed, *size_hw])
    view = [fits, mirrored(fits, VIEW_HW)][seed] if seed < 2 else random_view(size_hw, VIEW_HW, VIEWS, rng)
    cell = STRIDE / fits.scale
    points = places(size_hw, cell, seed)
    return points, spots(points, size_hw, SPREAD * cell), view


def labelled(points, view):
    """Labels of the spots in the frame of the view, and which of them lie whole in it."""
    people = np.concatenate([points, np.full((3, 1), 2)], 1)[None]
    moved = warp_points(people, view, VIEW_HW, FACE.flip)[0]
    room = np.minimum(moved[:, :2], np.array(VIEW_HW[::-1]) - moved[:, :2]).min(1)
    return moved[:, :2], (moved[:, 2] > 0) & (room > 2.5 * SPREAD * STRIDE)


def off_by(maps, view, moved, whole):
    """Distance in pixels of the view between what the maps say and the labels."""
    found = group(maps, GroupingSettings())
    return np.linalg.norm(view(found.points.astype(float))[0, whole] - moved[whole], axis=-1) if whole.any() else []


def test_a_students_view_closes_the_circle():
    """Plain, mirrored, turned, scaled: the joint that the labels put at a place is the one that is seen there.

    A swap forgotten, or done twice, would be off by the distance of the eyes; a shift by itself.
    """
    found = []
    for size_hw in SIZES_HW:
        for seed in range(8):
            points, photograph, view = viewed(size_hw, seed)
            moved, whole = labelled(points, view)
            found.extend(np.array(off_by(look(photograph, VIEW_HW, view), view, moved, whole)) / view.scale)
    print(f"student's view: mean {np.mean(found):.4f} px, worst {np.max(found):.4f} px of {len(found)} joints")
    assert len(found) > 100 and np.max(found) < 0.5 and np.mean(found) < 0.05


@pytest.mark.parametrize("size, bound_cells", [(128, 0.3), (256, 0.15)])
def test_a_cached_teacher_points_to_the_labels(tmp_path, size, bound_cells):
    """A teacher's map, cached and carried into the student's view, peaks where `warp_points` puts the joint.

    Bilinear samples of a map that is enlarged have kinks, which DARK takes for a quarter of a cell at most; where it is
    halved or more, peaks are made flat first, for three of its own cells.
    """
    found, grid_hw = [], (VIEW_HW[0] // STRIDE, VIEW_HW[1] // STRIDE)
    for size_hw in SIZES_HW:
        input_hw, teachers = short_side(size_hw, size)
        for seed in range(6):
            points, _, view = viewed(size_hw, seed)
            told = look(spots(points, size_hw, SPREAD * STRIDE / teachers.scale), input_hw, teachers)
            if teachers.scale / view.scale < 3:
                held = cache_of(tmp_path / f"{size_hw}{seed}", {1: Prediction(told, nobody(told))}).load(1).maps
                moved, whole = labelled(points, view)
                found.extend(off_by(warp_teacher_maps(held, view, grid_hw, STRIDE), view, moved, whole))
    worst, mean = np.max(found) / STRIDE, np.mean(found) / STRIDE
    print(f"teacher of {size}: mean {mean:.4f} cells, worst {worst:.4f} cells of {len(found)} joints")
    assert len(found) > 30 and worst < bound_cells and mean < bound_cells / 3
