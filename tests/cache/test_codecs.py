import numpy as np
import pytest

from rtpe.cache.codecs import CODECS, Bound, codec
from rtpe.cache.codecs.rendered import TAG_STEP as PERSON_STEP
from rtpe.cache.codecs.sparse import HEATMAP_STEP, TAG_STEP, THRESHOLD
from rtpe.decode.grouping import GroupingSettings, group
from rtpe.decode.peaks import dark, local_maxima, quarter
from rtpe.geometry import Affine
from rtpe.skeleton import COCO17, Skeleton
from rtpe.structures import PoseMaps, Poses

KEEPING = [name for name, each in CODECS.items() if not each.renders]


def both_ways(name, heatmaps, tags=None, people=None):
    """What is left of maps after the codec."""
    return CODECS[name].decode(CODECS[name].encode(heatmaps, tags), people)


def span(stack):
    return max(0.0, float(stack.max())) - min(0.0, float(stack.min()))


def normal(k, h, w, scale=1.0, shift=0.0):
    return (shift + scale * np.random.default_rng(k + h + w).normal(size=(k, h, w))).astype(np.float32)


def slow_support(heatmaps):
    """(K, h, w) bool twice, by loops: where the sparse codec keeps heatmap values, and where tags."""
    steps = np.rint(heatmaps / np.float32(HEATMAP_STEP))
    tags = np.zeros(heatmaps.shape, bool)
    _, h, w = heatmaps.shape
    for k, y, x in np.ndindex(heatmaps.shape):
        near = steps[k, max(0, y - 1) : y + 2, max(0, x - 1) : x + 2]
        if steps[k, y, x] > THRESHOLD / HEATMAP_STEP and steps[k, y, x] == near.max():
            inner_y, inner_x = min(max(y, 1), max(h - 2, 1)), min(max(x, 1), max(w - 2, 1))
            tags[k, inner_y - 1 : inner_y + 2, inner_x - 1 : inner_x + 2] = True
    return tags | (np.abs(heatmaps) > THRESHOLD), tags


HEATMAPS = {
    "all zero": np.zeros((3, 5, 7), np.float32),
    "1x1": normal(2, 1, 1),
    "one joint, one row": normal(1, 1, 9),
    "two columns": normal(2, 9, 2),
    "negatives and more than 1": normal(4, 11, 6, scale=2.0),
    "sparse": np.where(normal(3, 40, 50) > 2, normal(3, 40, 50, scale=0.2), 0).astype(np.float32),
    "constant": np.full((2, 4, 4), 0.3, np.float32),
    "one long run": np.full((1, 40, 40), 0.3, np.float32),
    "the last cell, after a long gap": np.pad(np.ones((1, 1, 1), np.float32), ((2, 0), (50, 0), (50, 0))),
    "all negative": normal(2, 6, 5, scale=0.1, shift=-1.0),
    "tiny": normal(2, 6, 5, scale=1e-30),
    "with ties": np.round(normal(3, 13, 17, scale=0.2), 1),
    "not contiguous": normal(6, 9, 8)[::2, :, ::-1],
}


@pytest.mark.parametrize("dims", [0, 1, 2], ids="T={}".format)
@pytest.mark.parametrize("case", HEATMAPS)
@pytest.mark.parametrize("name", KEEPING)
def test_maps_come_back_within_the_bound(name, case, dims):
    heatmaps = HEATMAPS[case]
    tags = 20 * np.random.default_rng(1).normal(size=(dims, *heatmaps.shape)).astype(np.float32) if dims else None
    bound = CODECS[name].bound
    decoded, decoded_tags = both_ways(name, heatmaps, tags)
    assert decoded.shape == heatmaps.shape and decoded.dtype == np.float32
    error = np.abs(decoded.astype(np.float64) - heatmaps)
    inside = bound.heatmaps + bound.relative * span(heatmaps)
    assert error.max() <= max(inside, bound.outside)
    assert (error[np.abs(heatmaps) > bound.outside] <= inside).all()
    if not dims:
        assert decoded_tags is None
        return
    assert decoded_tags.shape == tags.shape and decoded_tags.dtype == np.float32
    kept = np.broadcast_to(slow_support(heatmaps)[1] if name == "sparse" else True, tags.shape)
    error = np.abs(decoded_tags.astype(np.float64) - tags)[kept]
    assert (error <= bound.tags + bound.relative * span(tags)).all()
    assert (decoded_tags[~kept] == 0).all()


@pytest.mark.parametrize("name", KEEPING)
def test_decoding_again_changes_nothing_more(name):
    """What was decoded is encoded and decoded to itself: rounding does not creep from cache to cache."""
    once = both_ways(name, normal(3, 8, 9), normal(3, 8, 9)[None])
    again = both_ways(name, *once)
    tolerance = 1e-5 if name == "uint8" else 0  # its range is computed anew from the rounded values
    assert np.abs(again[0] - once[0]).max() <= tolerance and np.abs(again[1] - once[1]).max() <= tolerance


def test_float32_is_exact_and_sparse_is_exact_on_its_steps():
    heatmaps = normal(3, 8, 9)
    assert np.array_equal(both_ways("float32", heatmaps)[0], heatmaps)
    steps = (np.rint(heatmaps / HEATMAP_STEP) * HEATMAP_STEP).astype(np.float32)
    assert np.array_equal(both_ways("sparse", steps)[0], np.where(slow_support(steps)[0], steps, 0))


@pytest.mark.parametrize("case", HEATMAPS)
def test_sparse_keeps_what_a_slow_search_keeps(case):
    heatmaps = HEATMAPS[case]
    kept, around_peaks = slow_support(heatmaps)
    steps = np.rint(heatmaps / np.float32(HEATMAP_STEP)) * np.float32(HEATMAP_STEP)
    decoded, tags = both_ways("sparse", heatmaps, np.ones((2, *heatmaps.shape), np.float32))
    assert np.array_equal(decoded, np.where(kept, steps, 0))
    assert np.array_equal(tags, np.broadcast_to(around_peaks, tags.shape))


@pytest.mark.parametrize("y, x", [(0, 0), (0, 5), (4, 7), (8, 8)], ids=str)
def test_a_narrow_peak_is_found_exactly_where_it_was(y, x):
    """The cells beside a peak are kept however low they are: its place is read from them, at the border as well."""
    rows, columns = np.mgrid[:9, :9]
    center = np.array([y, x]) + np.where(np.array([y, x]) < 4, 0.2, -0.2)
    heatmaps = np.exp(-((rows - center[0]) ** 2 + (columns - center[1]) ** 2) / (2 * 0.8**2))[None].astype(np.float32)
    places = [dark(maps, [0], [y], [x]) for maps in (heatmaps, both_ways("sparse", heatmaps)[0])]
    # the lowest cell of the 3 x 3 is ten steps high: half a step is a good part of its logarithm
    assert np.abs(places[0] - places[1]).max() <= 0.03


def moved(heatmaps, decoded, refine):
    """How far each peak above .3 of the first maps moves to its nearest of the second, in cells."""
    before, after = local_maxima(heatmaps, threshold=0.3), local_maxima(decoded)
    here = refine(heatmaps, before.joints, before.ys, before.xs)
    there = refine(decoded, after.joints, after.ys, after.xs)
    return [
        np.linalg.norm(there[after.joints == joint] - point, axis=1).min() for joint, point in zip(before.joints, here)
    ]


@pytest.mark.parametrize("refine", [quarter, dark])
@pytest.mark.parametrize("noise", [0.004, 0.02])
def test_sparse_moves_peaks_by_less_than_a_hundredth_of_a_cell(gaussians, refine, noise):
    rng = np.random.default_rng(3)
    shifts = []
    for _ in range(6):
        heatmaps = gaussians(rng, rng.uniform(6, 58, (2, 17, 2)), (64, 64), noise=noise)
        shifts += moved(heatmaps, both_ways("sparse", heatmaps)[0], refine)
    assert len(shifts) > 100 and np.mean(shifts) <= 0.01


def test_sparse_is_less_than_half_of_the_dense_codecs(gaussians):
    rng = np.random.default_rng(0)
    heatmaps = gaussians(rng, rng.uniform(0, 80, (3, 17, 2)), (80, 80))
    sizes = {name: len(each.encode(heatmaps, heatmaps[None])) for name, each in CODECS.items()}
    assert sizes["rendered"] < 64 and 2 * sizes["sparse"] < sizes["uint8"] < sizes["float16"] < sizes["float32"]


def test_sparse_is_a_hundredth_of_plain_float32(gaussians):
    """By the bytes alone: a compressed npz of such noise is 7% smaller than its bytes."""
    rng = np.random.default_rng(1)
    heatmaps = gaussians(rng, rng.uniform(0, 160, (4, 17, 2)), (160, 160))
    assert 100 * len(CODECS["sparse"].encode(heatmaps, None)) <= 0.93 * heatmaps.nbytes


FACE = Skeleton("face", ("nose", "left_eye", "right_eye"), ((0, 1), (0, 2)), (0.1, 0.1, 0.1))


def poses_of(points, scores, skeleton=FACE):
    points, scores = np.asarray(points, np.float32), np.asarray(scores, np.float32)
    return Poses(points, scores, scores.mean(axis=1), skeleton)


def test_poses_of_nobody_are_empty_maps():
    heatmaps, tags = both_ways("rendered", normal(3, 5, 7), normal(3, 5, 7)[None], Poses.none(FACE))
    assert heatmaps.shape == (3, 5, 7) and tags.shape == (1, 3, 5, 7) and not heatmaps.any() and not tags.any()
    assert both_ways("rendered", normal(3, 5, 7), None, Poses.none(FACE))[1] is None


def test_poses_are_gaussians_at_the_exact_points_as_high_as_the_score():
    points = [[[10.3, 7.9], [20.5, 15.5], [0, 0]], [[13.1, 8.2], [-40, 9], [0, 0]]]
    heatmaps, tags = both_ways("rendered", np.zeros((3, 24, 32)), np.zeros((2, 3, 24, 32)), poses_of(points, SCORES))
    y, x = np.mgrid[:24, :32] + 0.5
    drawn = [
        0.8 * np.exp(-((x - 10.3) ** 2 + (y - 7.9) ** 2) / 8),
        0.6 * np.exp(-((x - 13.1) ** 2 + (y - 8.2) ** 2) / 8),
    ]
    # what is left out beyond four spreads is less than exp(-8)
    assert np.abs(heatmaps[0] - np.maximum(*drawn)).max() <= 4e-4
    assert heatmaps[1, 15, 20] == np.float32(0.5) and not heatmaps[2].any()  # a joint with score 0 is not there
    assert tags[0, 0, 7, 10] == tags[1, 1, 15, 20] == PERSON_STEP and tags[0, 0, 8, 13] == 2 * PERSON_STEP
    assert tags[0, 0, 8, 11] == PERSON_STEP and not tags[:, :, :, -1].any()


SCORES = [[0.8, 0.5, 0], [0.6, 0.9, 0]]


@pytest.mark.parametrize("sigma", [0.8, 1.5, 3.0])
def test_poses_are_as_wide_as_the_teachers_peaks(gaussians, sigma):
    maps = gaussians(np.random.default_rng(2), np.array([[[20.2, 19.7], [11.5, 12.5], [25.1, 30.3]]]), (40, 40), sigma)
    heatmaps = both_ways("rendered", maps, None, poses_of([[[20.5, 20.5], [0, 0], [0, 0]]], [[1, 0, 0]]))[0]
    drawn = np.sqrt(-1 / (2 * np.log(heatmaps[0, 20, 21])))
    assert abs(drawn - sigma) <= 0.1 * sigma  # noise bends the logarithm of wide peaks


def test_people_drawn_and_read_again_are_the_same_people():
    """A circle: poses to maps to poses, through an affine that is not the identity."""
    rng = np.random.default_rng(4)
    to_image = Affine(np.array([[4.0, 0.2, -7], [0.1, 3.5, 11]]))
    cells = np.array([[20, 24], [70, 60]])[:, None] + rng.uniform(-16, 16, (2, 17, 2))
    people = poses_of(to_image(cells), rng.uniform(0.3, 1, (2, 17)), COCO17)
    blob = CODECS["rendered"].encode(np.zeros((17, 96, 96)), np.zeros((1, 17, 96, 96)))
    heatmaps, tags = CODECS["rendered"].decode(blob, people.moved(to_image.inverse()))
    again = group(PoseMaps(heatmaps, to_image, (300, 400), COCO17, {"tags": tags}), GroupingSettings())
    order = np.argsort(again.points[:, 0, 0])
    # people lie apart by more than their tags' threshold, peaks are read to .01 cell, a cell is 4 pixels
    assert len(again) == 2 and np.abs(again.points[order] - people.points).max() <= 0.05


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", CODECS)
def test_values_that_are_not_finite_are_refused(name, bad):
    broken = np.zeros((1, 3, 3), np.float32)
    broken[0, 1, 1] = bad
    with pytest.raises(ValueError, match="heatmaps: expected finite values, got NaN or infinity: check the pred"):
        CODECS[name].encode(broken, None)
    with pytest.raises(ValueError, match="tags: expected finite values"):
        CODECS[name].encode(np.ones((1, 3, 3), np.float32), broken[None])


@pytest.mark.parametrize("name, largest", [("sparse", 32767 / 2048), ("float16", 65504.0)])
def test_values_beyond_the_range_are_refused(name, largest):
    edge = np.array([[[-largest, largest]]], np.float32)
    assert np.array_equal(both_ways(name, edge)[0], edge)
    with pytest.raises(ValueError, match=r"heatmaps: this codec holds values up to .*, got .*: use --cache.codec floa"):
        CODECS[name].encode(edge * 2, None)


@pytest.mark.parametrize("name", CODECS)
def test_no_cells_are_refused(name):
    with pytest.raises(ValueError, match=r"heatmaps: expected at least one cell, got shape \(2, 0, 4\)"):
        CODECS[name].encode(np.zeros((2, 0, 4), np.float32), None)


def test_an_unknown_codec_lists_the_choices():
    with pytest.raises(ValueError, match="unknown codec 'zip': choose from sparse, rendered, uint8, float16, float32"):
        codec("zip")


def test_the_stated_bounds():
    """They are written into every manifest: changing one makes old caches differ from new ones."""
    assert CODECS["sparse"].bound == Bound(heatmaps=1 / 4096, tags=1 / 64, outside=0.046875)
    assert CODECS["sparse"].bound == Bound(heatmaps=HEATMAP_STEP / 2, tags=TAG_STEP / 2, outside=THRESHOLD)
    assert CODECS["float32"].bound == Bound(heatmaps=0.0, tags=0.0)
    assert CODECS["rendered"].bound == Bound(heatmaps=None, tags=None)


@pytest.mark.parametrize("name", KEEPING)
def test_the_order_of_the_axes_in_memory_changes_nothing(name):
    """Nets that compute with channels last hand over maps whose last axis is not the quickest."""
    heatmaps, tags = normal(4, 20, 24, scale=0.1), normal(4, 20, 24)[None]
    strided = np.ascontiguousarray(heatmaps.transpose(1, 2, 0)).transpose(2, 0, 1)
    strided_tags = np.ascontiguousarray(tags.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    assert not strided.flags.c_contiguous
    assert CODECS[name].encode(strided, strided_tags) == CODECS[name].encode(heatmaps, tags)
