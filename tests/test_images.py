"""Images: files in and out, what a torn one says, and warps that hold the pixel convention."""

import math
import struct
import zlib

import cv2
import numpy as np
import pytest

from rtpe.errors import UserError
from rtpe.geometry import Affine, index_to_point
from rtpe.images import UnreadableImage, encode_jpeg, encode_png, read_image, read_reduced, write_image
from rtpe.raster import add_grain, capsules, filled, greatest, polygons, recolour, resize, warp, warp_maps

BLEND = 1 / 32  # cv2 places bilinear samples on a raster of 1/32 pixel


def noise(size_hw=(20, 30), seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*size_hw, 3), dtype=np.uint8)


def center_of_mass(image):
    """Where a spot lies, in points."""
    y, x = (index_to_point(axis) for axis in np.mgrid[: image.shape[0], : image.shape[1]])
    return np.array([(x * image).sum(), (y * image).sum()]) / image.sum()


def test_a_png_comes_back_bit_for_bit(tmp_path):
    """Swapped colours would still look like an image."""
    write_image(tmp_path / "a.png", noise())
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), noise())
    (tmp_path / "b.png").write_bytes(encode_png(noise()))
    np.testing.assert_array_equal(read_image(tmp_path / "b.png"), noise())


def test_a_jpeg_keeps_its_colours(tmp_path):
    red = np.zeros((16, 16, 3), np.uint8)
    red[..., 0] = 200
    (tmp_path / "a.jpg").write_bytes(encode_jpeg(red))
    np.testing.assert_allclose(read_image(tmp_path / "a.jpg"), red, atol=3)  # JPEG's own loss on a flat colour


def test_writing_leaves_nothing_else(tmp_path):
    write_image(tmp_path / "a.png", noise())
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize(
    "raw, message",
    [
        (None, "No such file"),
        (b"", "not an image that can be decoded"),
        (b"hello", "not an image that can be decoded"),
        (encode_jpeg(noise((64, 64)))[:-500], "truncated"),
        (encode_png(noise())[:60], "not an image that can be decoded"),
    ],
    ids=["missing", "empty", "text", "torn jpeg", "torn png"],
)
def test_unreadable_images_say_so(tmp_path, raw, message):
    """One kind of error, so that long work can count and skip; a torn JPEG would decode to grey bars."""
    path = tmp_path / "a.jpg"
    if raw is not None:
        path.write_bytes(raw)
    with pytest.raises(UnreadableImage, match=rf"image .*a\.jpg: {message}"):
        read_image(path)


PROGRESSIVE, RESTARTS = ([cv2.IMWRITE_JPEG_PROGRESSIVE, 1], [cv2.IMWRITE_JPEG_RST_INTERVAL, 4])
DETAIL = resize(noise((30, 40)), (240, 320))
JPEGS = {
    name: cv2.imencode(".jpg", DETAIL, options)[1].tobytes()
    for name, options in {"baseline": [], "progressive": PROGRESSIVE, "restarts": RESTARTS}.items()
}
JPEGS["grey"] = cv2.imencode(".jpg", DETAIL[..., 0])[1].tobytes()
JPEGS["flat"] = cv2.imencode(".jpg", np.zeros((480, 640, 3), np.uint8), [cv2.IMWRITE_JPEG_OPTIMIZE, 1])[1].tobytes()
ZIP = b"PK\x03\x04" + bytes(range(256)) * 2
APPENDED = {
    "text": b"\1" * 300,
    "zeros": bytes(5000),
    "fill": b"\xff" * 700,
    "a film": b"\0\0\0\x18ftypmp42" + bytes(range(256)) * 20,
    "another photograph": JPEGS["progressive"],
    "a torn photograph": JPEGS["baseline"][:-500],
    "an archive": ZIP,
    "a second mark": b"\xff\xd9",
}


def reads(tmp_path, raw):
    (tmp_path / "a.jpg").write_bytes(raw)
    return read_image(tmp_path / "a.jpg")


@pytest.mark.parametrize("kind", JPEGS)
@pytest.mark.parametrize("what", APPENDED)
def test_what_follows_the_end_mark_of_a_jpeg_is_ignored(tmp_path, kind, what):
    """Telephones append a film, editors a second photograph, downloads some padding."""
    whole = reads(tmp_path, JPEGS[kind])
    np.testing.assert_array_equal(reads(tmp_path, JPEGS[kind] + APPENDED[what]), whole)


@pytest.mark.parametrize("kind", [kind for kind in JPEGS if kind != "flat"])
@pytest.mark.parametrize("share", [0.3, 0.5, 0.9])
@pytest.mark.parametrize("end", ["", "mark", *APPENDED])
def test_a_jpeg_whose_data_end_early_is_torn_whatever_follows(tmp_path, kind, share, end):
    raw = JPEGS[kind]
    torn = raw[: int(len(raw) * share)] + {"": b"", "mark": b"\xff\xd9"}.get(end, APPENDED.get(end, b""))
    with pytest.raises(UnreadableImage, match=r"image .*a\.jpg: (truncated|damaged): \w"):
        reads(tmp_path, torn)


@pytest.mark.parametrize("kind", ["baseline", "grey", "restarts"])
@pytest.mark.parametrize("size", [64, 500, 4096])
def test_a_hole_of_zeros_in_a_jpeg_is_damage(tmp_path, kind, size):
    """The decoder reads them as values, and may come out at the right end."""
    raw = JPEGS[kind]
    start = len(raw) // 2
    with pytest.raises(UnreadableImage, match=r"a\.jpg: damaged: zeros are written over a part of it"):
        reads(tmp_path, raw[:start] + bytes(size) + raw[start + size :])


def test_a_jpeg_without_a_piece_or_with_another_ones_is_damaged(tmp_path):
    raw, junk = JPEGS["baseline"], np.random.default_rng(5).integers(0, 255, 3000, np.uint8).tobytes()
    for middle in (b"", junk):
        with pytest.raises(UnreadableImage, match=r"a\.jpg: damaged: (premature end|\d+ extraneous bytes)"):
            reads(tmp_path, raw[:9000] + middle + raw[12000:])


@pytest.mark.parametrize("share", [0.3, 0.6])
def test_zeros_in_the_place_of_the_rest_are_no_padding(tmp_path, share):
    """An interrupted copy into a file of the right size."""
    raw = JPEGS["baseline"]
    cut = int(len(raw) * share)
    for end in (b"", raw[-2:]):
        with pytest.raises(UnreadableImage, match=r"a\.jpg: (damaged|truncated): "):
            reads(tmp_path, raw[:cut] + bytes(len(raw) - cut) + end)


def test_a_progressive_jpeg_that_lacks_scans_is_torn(tmp_path):
    """Each scan is whole, and the decoder has nothing to remark."""
    raw = JPEGS["progressive"]
    scans = [at for at in range(len(raw)) if raw[at : at + 2] == b"\xff\xda"]
    assert len(scans) == 10
    for at in scans[1:]:
        with pytest.raises(UnreadableImage, match=r"a\.jpg: truncated: its last scans are missing"):
            reads(tmp_path, raw[:at] + b"\xff\xd9")


@pytest.mark.parametrize(
    "added", [bytes(300), b"\xff" * 5, b"\x12\x9a\x41"], ids=["zeros", "fill bytes", "some bytes of a camera's"]
)
def test_bytes_that_cameras_leave_before_the_end_mark_do_no_harm(tmp_path, added, capfd):
    raw = JPEGS["baseline"]
    np.testing.assert_array_equal(reads(tmp_path, raw[:-2] + added + raw[-2:]), reads(tmp_path, raw))
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("added", [b"\xff\xff\xff", b"\xff\xe5\0\0", b"\xff\xe5\0\2", b"\xff\x01"], ids=bytes.hex)
@pytest.mark.parametrize("kind", ["baseline", "progressive"])
def test_odd_segments_of_a_jpeg_are_passed(tmp_path, kind, added):
    """Fill bytes, segments of length 0 and 2, a marker without length: the size is still found."""
    raw = JPEGS[kind]
    (tmp_path / "a.jpg").write_bytes(raw[:2] + added + raw[2:])
    image, factor = read_reduced(tmp_path / "a.jpg", 80)
    assert (factor, image.shape) == (4, (60, 80, 3))


@pytest.mark.parametrize("cut", [2, 3, 5, 30, 170, 400, 620])
def test_a_jpeg_that_ends_within_its_head_is_torn(tmp_path, cut):
    with pytest.raises(UnreadableImage, match=r"a\.jpg: truncated: it has no end mark"):
        reads(tmp_path, JPEGS["baseline"][:cut])


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width, height, rows):
    """A black PNG of one bit a pixel, whose rows are written out as far as `rows`."""
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    data = zlib.compress(bytes(1 + (width + 7) // 8) * rows)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def bmp(width, height):
    return b"BM" + struct.pack("<IHHIIiiHHIIIIII", 54, 0, 0, 54, 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)


@pytest.mark.parametrize(
    "raw, reason",
    [
        (png(40000, 30000, 1), "larger than what OpenCV opens: 2^20 pixels a side, 2^28 in all"),
        (png(5, 1 << 21, 1), "(larger than what OpenCV opens|not an image that can be decoded)"),
        (bmp(60000, 60000), "larger than what OpenCV opens"),
        (png(30, 20, 3), "not an image that can be decoded"),
    ],
    ids=["large", "long", "large bmp", "torn png"],
)
def test_what_opencv_refuses_is_one_more_unreadable_image(tmp_path, raw, reason, capfd):
    """And its own lines, which name no file, are kept from the terminal."""
    (tmp_path / "a.png").write_bytes(raw)
    with pytest.raises(UnreadableImage, match=rf"image .*a\.png: {reason.replace('^', chr(92) + '^')}"):
        read_image(tmp_path / "a.png")
    assert capfd.readouterr().err == ""


def test_an_image_beyond_the_memory_is_unreadable(tmp_path, monkeypatch):
    write_image(tmp_path / "a.png", noise())

    def full(*_):
        raise MemoryError

    monkeypatch.setattr(cv2, "imdecode", full)
    with pytest.raises(UnreadableImage, match=r"a\.png: larger than the memory"):
        read_image(tmp_path / "a.png")


def test_a_torn_jpeg_leaves_the_terminal_alone(tmp_path, capfd):
    with pytest.raises(UnreadableImage):
        reads(tmp_path, JPEGS["baseline"][:5000] + b"\xff\xd9")
    assert capfd.readouterr().err == ""


def test_too_large_a_jpeg_to_write_is_a_users_mistake(tmp_path):
    with pytest.raises(UserError, match=r"image .*a\.jpg: cannot be encoded"):
        write_image(tmp_path / "a.jpg", np.zeros((1, 70000, 3), np.uint8))
    assert not list(tmp_path.iterdir())


def test_a_folder_is_no_image(tmp_path):
    with pytest.raises(UnreadableImage, match="directory"):
        read_image(tmp_path)


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize(
    "size_hw, least, factor",
    [
        ((1, 1), 1, 1),
        ((1, 1), 0.1, 8),
        ((40, 60), math.inf, 1),
        ((40, 60), 30.1, 1),
        ((40, 60), 30, 2),
        ((60, 40), 30, 2),
        ((40, 61), 30, 2),
        ((39, 61), 15, 4),
        ((41, 63), 7, 8),
        ((41, 63), 1, 8),
    ],
    ids=str,
)
def test_an_image_is_halved_while_it_is_large_enough(tmp_path, size_hw, least, factor, suffix):
    """And keeps every block: where a side is no multiple, the last one reaches beyond the border."""
    write_image(tmp_path / f"a{suffix}", noise(size_hw))
    image, got = read_reduced(tmp_path / f"a{suffix}", least)
    assert got == factor and image.shape == (*(-(-side // factor) for side in size_hw), 3)


@pytest.mark.parametrize("factor", [2, 4, 8])
@pytest.mark.parametrize("size_hw", [(120, 160), (121, 159)], ids=str)
@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_a_spot_stays_in_its_place_when_read_smaller(tmp_path, suffix, size_hw, factor):
    """In brightness and in colour, which a JPEG keeps coarser: half a pixel of either would train every joint aside."""
    y, x = (index_to_point(axis) for axis in np.mgrid[: size_hw[0], : size_hw[1]])
    place = np.array([83.3, 61.8])
    height = np.exp(-((x - place[0]) ** 2 + (y - place[1]) ** 2) / (2 * 16.0**2))
    for colour in ([200, 200, 200], [200, 0, 0]):
        write_image(tmp_path / f"a{suffix}", np.rint(height[..., None] * colour).astype(np.uint8), quality=98)
        image, _ = read_reduced(tmp_path / f"a{suffix}", max(size_hw) / factor)
        # grey levels of 1 are rounded away at the foot of the spot, unevenly
        assert np.abs(factor * center_of_mass(image[..., 0].clip(3) - 3.0) - place).max() < 0.1


@pytest.mark.parametrize("factor", [2, 4, 8])
@pytest.mark.parametrize("colours, bound", [(1, 0.4), (3, 3.0)], ids=["grey", "coloured"])
def test_a_jpeg_read_smaller_is_the_average_over_blocks(tmp_path, factor, colours, bound):
    """The mean of a rounding is 1/4. Read whole, colours at half the size are smeared, which small ones are not."""
    detail = resize(noise((30, 40))[..., :colours].repeat(3 // colours, -1), (240, 320))
    write_image(tmp_path / "a.jpg", detail, quality=95)
    blocks = read_image(tmp_path / "a.jpg").reshape(240 // factor, factor, 320 // factor, factor, 3).mean((1, 3))
    difference = read_reduced(tmp_path / "a.jpg", 320 / factor)[0] - blocks
    assert np.abs(difference).mean() < bound and abs(difference.mean()) < 0.2
    assert blocks.std() > 40


def test_what_reads_itself_is_halved_too():
    class Frame:
        def read(self):
            return noise((8, 12))

    image, factor = read_reduced(Frame(), 6)
    np.testing.assert_allclose(image, noise((8, 12)).reshape(4, 2, 6, 2, 3).mean((1, 3)), atol=0.51)  # rounded
    assert factor == 2


def test_warping_by_nothing_changes_nothing():
    """A bilinear warp that is half a pixel off blurs even here."""
    np.testing.assert_array_equal(warp(noise(), Affine.identity(), (20, 30)), noise())
    maps = np.random.default_rng(0).random((5, 20, 30)).astype(np.float32)
    np.testing.assert_array_equal(warp_maps(maps, Affine.identity(), (20, 30)), maps)


def test_mirroring_is_exact():
    """The last pixel becomes the first: with integer centers everything would be one pixel off."""
    np.testing.assert_array_equal(warp(noise(), Affine.mirror(30), (20, 30)), noise()[:, ::-1])
    maps = np.random.default_rng(0).random((2, 20, 30)).astype(np.float32)
    np.testing.assert_array_equal(warp_maps(maps, Affine.mirror(30), (20, 30)), maps[..., ::-1])


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_shrinking_by_a_whole_factor_averages_blocks(factor):
    """Cell 0 of stride s is the mean of pixels 0 to s - 1, and no other."""
    image = noise((24, 36))
    blocks = image.reshape(24 // factor, factor, 36 // factor, factor, 3).mean((1, 3))
    small = warp(image, Affine.scaling(1 / factor), blocks.shape[:2])
    np.testing.assert_allclose(small, blocks, atol=0.51)  # rounded to whole grey levels
    np.testing.assert_allclose(resize(image, blocks.shape[:2]), blocks, atol=0.51)


def test_the_last_blocks_are_averaged_with_what_is_outside():
    """Of 10 pixels the third block of 4 holds two: half of it is the border."""
    small = warp(np.full((10, 10), 90, np.uint8), Affine.scaling(1 / 4), (3, 4), fill=30)
    assert small.tolist() == [[90, 90, 60, 30], [90, 90, 60, 30], [60, 60, 45, 30]]
    maps = warp_maps(np.ones((1, 10, 10), np.float32), Affine.scaling(1 / 4), (3, 4))
    np.testing.assert_allclose(maps[0, 2], [0.5, 0.5, 0.25, 0], atol=1e-6)


@pytest.mark.parametrize("degrees", [0, 30, -75])
@pytest.mark.parametrize("scale", [0.15, 0.45, 0.8, 1.0, 2.7])
@pytest.mark.parametrize("mirrored", [False, True])
def test_a_spot_lands_where_its_affine_says(degrees, scale, mirrored):
    """The center of mass moves as the affine moves the point: any half pixel too many would show."""
    place, size_hw = np.array([61.3, 42.8]), (90, 120)
    y, x = (index_to_point(axis) for axis in np.mgrid[: size_hw[0], : size_hw[1]])
    spot = (np.exp(-((x - place[0]) ** 2 + (y - place[1]) ** 2) / (2 * 6.0**2))).astype(np.float32)
    view = Affine.translation(200, 180) @ Affine.rotation(degrees) @ Affine.scaling(scale)
    view = view @ Affine.translation(*-place)
    view = Affine.mirror(400) @ view if mirrored else view
    for warped in (warp(spot, view, (360, 400)), warp_maps(spot[None], view, (360, 400))[0]):
        sampled = 1 if scale * 6 >= 1 else 2  # a spot smaller than a pixel is no longer well sampled
        assert np.abs(center_of_mass(warped) - view(place)).max() < sampled * BLEND


def test_outside_is_filled():
    shifted = warp(np.full((4, 4, 3), 9, np.uint8), Affine.translation(2, 0), (4, 4), fill=(1, 2, 3))
    assert shifted[0].tolist() == [[1, 2, 3], [1, 2, 3], [9, 9, 9], [9, 9, 9]]
    assert warp(np.ones((4, 4), np.uint8), Affine.translation(2, 0), (4, 4), fill=7)[0].tolist() == [7, 7, 1, 1]


def test_nearest_invents_no_values():
    """A mask of labels must not gain labels in between."""
    mask = np.random.default_rng(0).choice([0, 255], (16, 16)).astype(np.uint8)
    assert set(np.unique(warp(mask, Affine.scaling(0.7), (11, 11), nearest=True))) <= {0, 255}


@pytest.mark.parametrize("size_hw", [(1, 1), (1, 200), (200, 1)], ids=str)
def test_the_thinnest_images_warp(size_hw):
    """An average over more rows than there are must not crash."""
    image = np.full((*size_hw, 3), 50, np.uint8)
    shrunk = warp(image, Affine.scaling(0.05), (10, 10))
    grown = warp(image, Affine.scaling(8), (8, 8))
    assert shrunk.shape == (10, 10, 3)
    np.testing.assert_allclose(grown[3:5, 3:5], 50, atol=50 / 8)  # half a sample, a 16th, into the fade to the border


def test_polygons_cover_what_they_enclose():
    """A square from 2 to 6 covers pixels 2 to 5: the area is that of the outline, give or take its edge."""
    square = np.array([[2, 2], [6, 2], [6, 6], [2, 6]], float)
    mask = polygons((8, 8), [square])
    assert mask.dtype == np.uint8 and mask[2:6, 2:6].all()
    assert mask.sum() <= 25 and not mask[:2].any() and not mask[:, :2].any()  # cv2 draws the edge itself as well
    assert not polygons((8, 8), []).any()


def test_capsules_are_thick_lines():
    line = capsules((20, 20), np.array([[[4.5, 10.5], [15.5, 10.5]]]), np.array([5.0]))
    assert line[8:13, 5:15].all() and not line[:7].any() and not line[14:].any()
    assert not capsules((20, 20), np.zeros((0, 2, 2)), np.zeros(0)).any()


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("reach", [0, 1, 2])
def test_the_greatest_is_sought_as_far_as_asked(reach, dtype):
    """Against a slow loop; beyond the border there is nothing, not even a 0 above negative values."""
    image = np.random.default_rng(0).integers(0, 100, (7, 9)).astype(dtype) - (50 if dtype == np.float32 else 0)
    rows, columns = range(7), range(9)
    want = [[image[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1].max() for x in columns]
            for y in rows]  # fmt: skip
    np.testing.assert_array_equal(greatest(image, reach), want)


def test_holes_are_filled_and_bays_are_not():
    """A ring becomes a disc, a horseshoe stays one; the mask itself is not changed."""
    ring = np.zeros((12, 12), np.uint8)
    ring[2:9, 2:9], ring[4:7, 4:7] = 1, 0
    horseshoe = ring.copy()
    horseshoe[6:, 5] = 0
    assert not filled(np.zeros((5, 5), np.uint8)).any()
    assert filled(ring)[2:9, 2:9].all() and filled(ring).sum() == 49 and not ring[5, 5]
    np.testing.assert_array_equal(filled(horseshoe), horseshoe)


def test_each_channel_has_its_own_table():
    table = np.random.default_rng(1).integers(0, 256, (256, 3), np.uint8)
    want = np.stack([table[:, channel][noise()[..., channel]] for channel in range(3)], -1)
    np.testing.assert_array_equal(recolour(noise(), table), want)


def test_grain_is_added_and_clipped():
    heights = np.arange(-128, 128, dtype=np.int16)
    want = np.clip(noise().astype(int) + noise(seed=1) - 128, 0, 255)
    np.testing.assert_array_equal(add_grain(noise(), noise(seed=1), heights), want)
