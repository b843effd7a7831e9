import numpy as np
import pytest

from rtpe.cache.codecs import CODECS, PEAK, RADIUS, TAG_RADIUS, THRESHOLD, Bound, codec, tag_support

FIRST = tuple(CODECS)


def span(stack):
    return max(0.0, float(stack.max())) - min(0.0, float(stack.min()))


def normal(k, h, w, scale=1.0, shift=0.0):
    return (shift + scale * np.random.default_rng(k + h + w).normal(size=(k, h, w))).astype(np.float32)


HEATMAPS = {
    "all zero": np.zeros((3, 5, 7), np.float32),
    "1x1": normal(2, 1, 1),
    "one joint, one row": normal(1, 1, 9),
    "negatives and more than 1": normal(4, 11, 6, scale=2.0),
    "constant": np.full((2, 4, 4), 0.3, np.float32),
    "all negative": normal(2, 6, 5, scale=0.1, shift=-1.0),
    "tiny": normal(2, 6, 5, scale=1e-30),
    "not contiguous": normal(6, 9, 8)[::2, :, ::-1],
}


@pytest.mark.parametrize("dims", [0, 1, 2], ids="T={}".format)
@pytest.mark.parametrize("case", HEATMAPS)
@pytest.mark.parametrize("name", FIRST)
def test_maps_come_back_within_the_bound(name, case, dims):
    heatmaps = HEATMAPS[case]
    tags = 20 * np.random.default_rng(1).normal(size=(dims, *heatmaps.shape)).astype(np.float32) if dims else None
    bound = CODECS[name].bound
    decoded, decoded_tags = CODECS[name].decode(CODECS[name].encode(heatmaps, tags))
    assert decoded.shape == heatmaps.shape and decoded.dtype == np.float32
    error = np.abs(decoded.astype(np.float64) - heatmaps)
    inside = bound.heatmaps + bound.relative * span(heatmaps)
    assert error.max() <= max(inside, bound.outside)
    assert (error[np.abs(heatmaps) > bound.outside] <= inside).all()
    if not dims:
        assert decoded_tags is None
        return
    assert decoded_tags.shape == tags.shape and decoded_tags.dtype == np.float32
    kept = np.broadcast_to(tag_support(decoded) if name == "masked" else True, tags.shape)
    error = np.abs(decoded_tags.astype(np.float64) - tags)[kept]
    assert (error <= bound.tags + bound.relative * span(tags)).all()
    assert (decoded_tags[~kept] == 0).all()


@pytest.mark.parametrize("name", FIRST)
def test_decoding_again_changes_nothing_more(name):
    """What was decoded is encoded and decoded to itself: rounding does not creep from cache to cache."""
    once = CODECS[name].decode(CODECS[name].encode(normal(3, 8, 9), normal(3, 8, 9)[None]))
    again = CODECS[name].decode(CODECS[name].encode(*once))
    tolerance = 1e-5 if name == "uint8" else 0  # its range is computed anew from the rounded values
    assert np.abs(again[0] - once[0]).max() <= tolerance and np.abs(again[1] - once[1]).max() <= tolerance


def test_float32_is_exact_and_masked_is_exact_on_its_steps():
    heatmaps = normal(3, 8, 9)
    assert np.array_equal(CODECS["float32"].decode(CODECS["float32"].encode(heatmaps, None))[0], heatmaps)
    steps = np.rint(heatmaps * 2048) / np.float32(2048)
    steps[np.abs(steps) <= THRESHOLD] = 0
    assert np.array_equal(CODECS["masked"].decode(CODECS["masked"].encode(steps, None))[0], steps)


def test_masked_keeps_the_surroundings_of_peaks_and_drops_the_background():
    heatmaps = np.full((1, 20, 20), 0.01, np.float32)
    heatmaps[0, 4, 5] = PEAK + 0.01
    decoded = CODECS["masked"].decode(CODECS["masked"].encode(heatmaps, None))[0]
    kept = np.zeros((20, 20), bool)
    kept[4 - RADIUS : 5 + RADIUS, 5 - RADIUS : 6 + RADIUS] = True
    assert np.array_equal(decoded[0] > 0, kept)


def test_tags_are_kept_around_the_peaks_of_their_own_joint():
    heatmaps = np.zeros((2, 9, 9), np.float32)
    heatmaps[0, 4, 4] = 1
    decoded = CODECS["masked"].decode(CODECS["masked"].encode(heatmaps, np.ones((2, 2, 9, 9), np.float32)))[1]
    assert decoded[:, 0, 2:7, 2:7].min() == 1 and decoded[:, 0].sum() == 2 * 25 and not decoded[:, 1].any()


def test_tag_support_equals_a_slow_search():
    heatmaps = np.round(np.random.default_rng(5).uniform(-0.1, 0.4, (3, 13, 17)), 2).astype(np.float32)  # with ties
    expected = np.zeros(heatmaps.shape, bool)
    for k, y, x in np.ndindex(heatmaps.shape):
        near = heatmaps[k, max(0, y - 1) : y + 2, max(0, x - 1) : x + 2]
        if heatmaps[k, y, x] > THRESHOLD and heatmaps[k, y, x] == near.max():
            expected[k, max(0, y - TAG_RADIUS) : y + TAG_RADIUS + 1, max(0, x - TAG_RADIUS) : x + TAG_RADIUS + 1] = True
    assert 0 < expected.sum() < expected.size and np.array_equal(tag_support(heatmaps), expected)


def quarter(maps, k, y, x):
    """The argmax moved a quarter cell to its higher neighbour, as decoders do; relative to indices."""
    dx = np.sign(maps[k, y, x + 1] - maps[k, y, x - 1])
    dy = np.sign(maps[k, y + 1, x] - maps[k, y - 1, x])
    return np.array([x + dx / 4, y + dy / 4])


def test_masked_moves_peaks_by_less_than_a_hundredth_of_a_cell(gaussians):
    rng = np.random.default_rng(3)
    shifts = []
    for _ in range(6):
        points = rng.uniform(6, 58, (1, 17, 2))
        heatmaps = gaussians(rng, points, (64, 64))
        decoded = CODECS["masked"].decode(CODECS["masked"].encode(heatmaps, None))[0]
        for k in range(17):
            places = [np.unravel_index(maps[k].argmax(), (64, 64)) for maps in (heatmaps, decoded)]
            shifts.append(np.linalg.norm(quarter(heatmaps, k, *places[0]) - quarter(decoded, k, *places[1])))
    assert np.mean(shifts) <= 0.01


def test_masked_is_less_than_half_of_the_dense_codecs(gaussians):
    rng = np.random.default_rng(0)
    heatmaps = gaussians(rng, rng.uniform(0, 80, (3, 17, 2)), (80, 80))
    sizes = {name: len(CODECS[name].encode(heatmaps, heatmaps[None])) for name in FIRST}
    assert 2 * sizes["masked"] < sizes["uint8"] < sizes["float16"] < sizes["float32"]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", FIRST)
def test_values_that_are_not_finite_are_refused(name, bad):
    broken = np.zeros((1, 3, 3), np.float32)
    broken[0, 1, 1] = bad
    with pytest.raises(ValueError, match="heatmaps: expected finite values, got NaN or infinity: check the pred"):
        CODECS[name].encode(broken, None)
    with pytest.raises(ValueError, match="tags: expected finite values"):
        CODECS[name].encode(np.ones((1, 3, 3), np.float32), broken[None])


@pytest.mark.parametrize("name, largest", [("masked", 32767 / 2048), ("float16", 65504.0)])
def test_values_beyond_the_range_are_refused(name, largest):
    edge = np.array([[[-largest, largest]]], np.float32)
    assert np.array_equal(CODECS[name].decode(CODECS[name].encode(edge, None))[0], edge)
    with pytest.raises(ValueError, match=r"heatmaps: this codec holds values up to .*, got .*: use --cache.codec floa"):
        CODECS[name].encode(edge * 2, None)


def test_no_cells_are_refused():
    with pytest.raises(ValueError, match=r"heatmaps: expected at least one cell, got shape \(2, 0, 4\)"):
        CODECS["masked"].encode(np.zeros((2, 0, 4), np.float32), None)


def test_an_unknown_codec_lists_the_choices():
    with pytest.raises(ValueError, match="unknown codec 'zip': choose from masked, uint8, float16, float32"):
        codec("zip")


def test_the_stated_bounds():
    """They are written into every manifest: changing one makes old caches differ from new ones."""
    assert CODECS["masked"].bound == Bound(heatmaps=1 / 4096, tags=1 / 128, outside=0.046875)
    assert CODECS["float32"].bound == Bound(heatmaps=0.0, tags=0.0)
