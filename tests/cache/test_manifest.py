import json
from dataclasses import asdict, replace

import pytest

from rtpe.cache import CODECS, Manifest
from rtpe.skeleton import COCO17, MPII16, Skeleton

HIPS = Skeleton("hips", ("L_hip", "R_hip", "tail"), (), (0.1, 0.1, 0.1), swap=((0, 1),))


def test_it_equals_its_own_file(tmp_path, manifest):
    written = manifest(settings={"cache": {"path": "x"}, "sizes": (1, 2)})
    written.write(tmp_path)
    assert Manifest.read(tmp_path) == written
    assert written.bound == asdict(CODECS["sparse"].bound)
    raw = json.loads((tmp_path / "manifest.json").read_text())
    assert raw["skeleton"]["joints"][0] == "nose" and raw["predictor"]["settings"]["size"] == [96, 128]


DIFFERENCES = {
    "none": ({}, []),
    "records of the making": ({"settings": {"batch": 1}, "version": "9", "source": "elsewhere/val2017"}, []),
    "codec": (
        {"codec": "float32"},
        [
            "codec: sparse, not float32",
            "bound.heatmaps: 0.000244140625, not 0.0",
            "bound.outside: 0.046875, not 0.0",
            "bound.tags: 0.015625, not 0.0",
        ],
    ),
    "a setting": (
        {"predictor": {"name": "fake", "weights_sha256": "ab" * 32, "settings": {"size": [96, 128], "flip": False}}},
        ["predictor.settings.flip: true, not false"],
    ),
    "a missing setting": (
        {"predictor": {"name": "fake", "weights_sha256": "cd" * 32, "settings": {"size": [96, 128]}}},
        [
            "predictor.settings.flip: true, not nothing",
            "predictor.weights_sha256: abababababab..., not cdcdcdcdcdcd...",
        ],
    ),
    "skeleton": ({"skeleton": MPII16}, ["skeleton: coco17, not mpii16"]),
    "same name": (
        {"skeleton": replace(COCO17, limbs=(), sigmas=(0.1,) * 17)},
        ["skeleton: another coco17, which differs in its limbs and sigmas"],
    ),
    "a mirror": (
        {"skeleton": replace(COCO17, swap=())},
        ["skeleton: another coco17, which differs in its swap"],
    ),
    "many": (
        {"store": "npz", "tags": False, "size": None, "stride": 2},
        [
            "store: hdf5, not npz",
            "tags: true, not false",
            "size: [96, 128], not nothing",
            "stride: 4, not 2",
        ],
    ),
}


@pytest.mark.parametrize("skeleton", [HIPS, replace(HIPS, joints=("rib", "ribs", "tail"), swap=())], ids=str)
def test_what_a_mirror_swaps_is_in_the_file(tmp_path, manifest, skeleton):
    """A cache that forgot it would give mirrored maps to the wrong side's channels, or to another joint's."""
    written = manifest(skeleton=skeleton)
    written.write(tmp_path)
    assert Manifest.read(tmp_path) == written and Manifest.read(tmp_path).skeleton.flip == skeleton.flip


@pytest.mark.parametrize("case", DIFFERENCES)
def test_differences_are_one_line_each(manifest, case):
    changes, lines = DIFFERENCES[case]
    assert sorted(manifest().differences(manifest(**changes))) == sorted(lines)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"codec": "zip"}, "unknown codec 'zip': choose from sparse"),
        ({"store": "sql"}, "unknown store 'sql': choose from hdf5, npz"),
        ({"settings": {"path": object()}}, "manifest: settings must be plain numbers, texts, lists and dicts"),
        ({"predictor": {"scale": float("nan")}}, "manifest: predictor must be plain"),
    ],
)
def test_what_cannot_be_written_is_refused(manifest, changes, message):
    with pytest.raises(ValueError, match=message):
        manifest(**changes)


@pytest.mark.parametrize(
    "text, message",
    [
        (None, "there is no such folder: build it with `rtpe cache build` or check --cache.path"),
        ("", "manifest.json is no JSON"),
        ("[]", "manifest.json is not understood"),
        ("{}", r"manifest.json is not understood \('checksum'\): restore it or build the cache again"),
        ('{"checksum": "ab"}', r"manifest.json is not understood \(its checksum does not match\): restore it or build"),
        ('{"format": 99}', r"format 99, this rtpe .* reads 3: update rtpe"),
        ('{"format": 1, "checksum": "ab"}', r"format 1, this rtpe .* reads 3: build the cache again"),
    ],
)
def test_a_manifest_that_cannot_be_read_is_one_clear_line(tmp_path, text, message):
    path = tmp_path / "c"
    if text is not None:
        path.mkdir()
        (path / "manifest.json").write_text(text)
    with pytest.raises(ValueError, match=message) as info:
        Manifest.read(path)
    assert str(info.value).startswith(f"cache {path}: ") and "\n" not in str(info.value)


def test_a_folder_without_a_manifest(tmp_path):
    with pytest.raises(ValueError, match=r"has no manifest.json: build it with"):
        Manifest.read(tmp_path)
