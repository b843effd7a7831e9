"""Folders and videos without labels: what counts as an image, ids that stay, and what is said when there is nothing."""

import json
import re
import struct

import numpy as np
import pytest
from film import COUNT, in_order, write_video
from torch.utils.data import DataLoader

from rtpe.data import folder
from rtpe.data.coco import CocoDataset
from rtpe.data.folder import FRAMES, FolderDataset
from rtpe.data.load import open_dataset
from rtpe.data.settings import DataSettings
from rtpe.images import UnreadableImage, encode_jpeg, read_image, write_image

GREY = np.full((20, 30, 3), 99, np.uint8)


def write(root, *names):
    """Photographs, videos of three frames, and other files, by suffix."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".avi":
            write_video(path, 3)
        elif path.suffix.lower() in folder.SUFFIXES:
            write_image(path, GREY)
        else:
            path.write_text("{}")
    return root


def names(dataset):
    return [name for _, name in dataset.records]


@pytest.mark.parametrize("there", [[], ["notes.txt"], [".hidden.jpg", ".git/a.jpg"]], ids=str)
def test_nothing_to_see_is_one_line_with_a_remedy(tmp_path, there):
    wanted = r"no photograph \(.jpg, .*\) or video \(.mp4, .*\) there, want annotations/.*: check --data.root"
    with pytest.raises(ValueError, match=wanted):
        FolderDataset(write(tmp_path, *there))


def test_a_missing_folder_is_one_line_with_a_remedy(tmp_path):
    with pytest.raises(ValueError, match=r"data .*gone: no such folder or file, want .*: check --data.root"):
        FolderDataset(tmp_path / "gone")


def test_photographs_of_all_kinds_are_found_in_the_order_of_their_names(tmp_path):
    root = write(
        tmp_path, "b/c.JPG", "b/a.webp", "a.png", "z.Bmp", "b/deep/er/x.jpeg", "notes.txt", ".a.jpg", ".b/a.jpg"
    )
    made = FolderDataset(root)
    assert names(made) == ["a.png", "b/a.webp", "b/c.JPG", "b/deep/er/x.jpeg", "z.Bmp"]
    assert [still.path for _, _, still in made.sources()] == [root / name for name in names(made)]
    assert len(made) == len(set(made.ids)) == 5 and all(0 <= image_id < 2**63 for image_id in made.ids)


NOTES = {
    "nothing": (["a.jpg"], []),
    "hidden": (["a.jpg", ".DS_Store", ".x/b.heic"], []),
    "kinds": (
        ["a.jpg", "b.HEIC", "x/c.heic", "d.gif", "README"],
        [r"data .*: passed over 4 files: 2 .heic, 1 .gif, 1 without a suffix"],
    ),
    "many kinds": (
        ["a.jpg", *(f"a.{suffix}" for suffix in ("m4v", "mpg", "txt", "psd", "cr2", "nef", "dng"))],
        [r"data .*: passed over 7 files: 1 .cr2, .*, 2 more kinds"],
    ),
    "roboflow": (
        ["train/a.jpg", "train/_annotations.coco.json"],
        [r"data .*: labels in train/_annotations.coco.json are not used: .* annotations/person_keypoints_train.js"],
    ),
    "annotations of boxes": (
        ["images/train/a.jpg", "annotations/instances_train.json", "annotations/captions_train.json"],
        [r"data .*: labels in annotations/instances_train.json are not used: people with keypoints are read from "],
    ),
    "instances": (
        ["a.jpg", "instances_val.json", "person_keypoints_val.json", "x.json"],
        [r"data .*: passed over 1 files: 1 .json", r"data .*: labels in instances_val.json and 1 more are not used: "],
    ),
}


@pytest.mark.parametrize("case", NOTES)
def test_files_that_are_passed_over_are_counted_by_suffix(tmp_path, case, capsys):
    """Photographs of a telephone (.heic) and labels in another place look as if they were read."""
    there, expected = NOTES[case]
    root = write(tmp_path, *there)
    made = FolderDataset(root, "train")
    assert len(made) == 1 and len(made.notes) == len(expected)
    for note, pattern in zip(made.notes, expected):
        assert re.match(pattern, note), note
    open_dataset(DataSettings(str(root), "train"))
    assert capsys.readouterr().err.splitlines() == list(made.notes)


def test_ids_stay_when_files_come_and_go(tmp_path):
    before = dict(map(reversed, FolderDataset(write(tmp_path, "m.jpg", "n.avi", "gone.jpg")).records))
    (tmp_path / "gone.jpg").unlink()
    after = dict(map(reversed, FolderDataset(write(tmp_path, "a.jpg", "m/b.avi", "z.jpg")).records))
    kept = before.keys() & after.keys()
    assert len(kept) == 4 and all(before[name] == after[name] for name in kept)
    assert not {after[name] for name in after.keys() - kept} & set(before.values())


def test_ids_are_those_of_the_next_release_too():
    """A cache outlives the program: another hash would orphan all of them."""
    assert folder.number("a.jpg") == 9161438751103734724 >> 10


@pytest.mark.parametrize("name", ["", "a.jpg", "deep/ä.png", "\udcff.jpg", "x" * 300])
def test_ids_are_whole_numbers_to_every_reader_of_json(name):
    """Many hold numbers as float64, which knows whole numbers up to 2^53; so does every frame of a video."""
    for hashed in (folder.number(name), (1 << 53) - 1):
        last = hashed // FRAMES * FRAMES + FRAMES - 1
        assert 0 <= hashed < 1 << 53 and last < 1 << 53
        assert all(json.loads(json.dumps(each), parse_int=float) == each for each in (hashed, last, last - 1))


def test_two_files_of_one_id_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(folder, "number", lambda name: 7)
    with pytest.raises(ValueError, match=r"a.jpg and .*b.jpg get the same id 7: rename one"):
        FolderDataset(write(tmp_path, "b.jpg", "a.jpg"))


SPLITS = {
    "all": (["a.jpg", "x/b.jpg"], "train", ["a.jpg", "x/b.jpg"], "all"),
    "folder": (["a.jpg", "train/b.jpg"], "train", ["train/b.jpg"], "train"),
    "images": (["train/b.jpg", "images/train/c.jpg", "images/d.jpg"], "train", ["images/train/c.jpg"], "train"),
    "no split": (["a.jpg", "images/b.jpg"], "", ["a.jpg", "images/b.jpg"], "all"),
}


@pytest.mark.parametrize("case", SPLITS)
def test_a_split_is_a_folder_if_there_is_one(tmp_path, case):
    """Names, and so ids, begin at the root: equal names in two splits are two images."""
    there, split, expected, called = SPLITS[case]
    made = FolderDataset(write(tmp_path, *there), split)
    assert (names(made), made.split) == (expected, called)


def test_frames_have_consecutive_ids_that_no_step_changes(tmp_path):
    path = write_video(tmp_path / "v.avi")
    whole, tenth = FolderDataset(tmp_path), FolderDataset(tmp_path, frame_stride=10)
    assert np.diff(whole.ids).tolist() == [1] * (COUNT - 1) and whole.ids[0] % FRAMES == 0
    assert tenth.ids == whole.ids[::10] and names(tenth)[:2] == ["v.avi#000000", "v.avi#000010"]
    assert FolderDataset(path, "train2017").records == whole.records  # by itself it is what it is in its folder
    with pytest.raises(ValueError, match=r"expected 1 or more, got 0: pass another --data.frame_stride"):
        FolderDataset(tmp_path, frame_stride=0)


def test_a_single_photograph(tmp_path):
    assert names(FolderDataset(write(tmp_path, "a.jpg", "b.jpg") / "b.jpg")) == ["b.jpg"]


def test_a_sample_has_an_image_and_no_label(tmp_path):
    sample = FolderDataset(write(tmp_path, "a.png")).at(0)
    assert np.array_equal(sample.image, GREY) and not sample.labelled and sample.person is None
    assert sample.points.shape == (0, 17, 3) and sample.valid.all() and sample.file_name == "a.png"


def test_a_few_of_them(tmp_path):
    made = FolderDataset(write(tmp_path, "a.jpg", "b.jpg", "c.avi"))
    few = made.subset([made.ids[3], made.ids[1]])
    assert names(few) == ["b.jpg", "c.avi#000001"] and few.at(1).image_id == made.ids[3] and len(made) == 5
    assert len(made.with_labels()) == 0


def test_photographs_are_seen_upright(tmp_path):
    """A camera held on its side writes rows that lie; the teacher would see people who lie."""
    lying = np.zeros((16, 48, 3), np.uint8)
    lying[:, :24] = 255
    orientation = struct.pack("<2sHIHHHIHHI", b"II", 42, 8, 1, 0x112, 3, 1, 6, 0, 0)
    exif = b"Exif\0\0" + orientation
    plain = encode_jpeg(lying)
    (tmp_path / "a.jpg").write_bytes(plain[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + plain[2:])
    seen = FolderDataset(tmp_path).at(0).image
    assert seen.shape == (48, 16, 3) and seen[:20].min() > 200 and seen[28:].max() < 50
    assert read_image(tmp_path / "a.jpg").shape == (16, 48, 3)  # where labels lie in the rows as they are
    half = FolderDataset(tmp_path).reduced(0, 24)
    assert half.image.shape == (24, 8, 3) and half.image[:10].min() > 200 and half.reduction == 2
    assert half.valid.shape == (24, 8) and half.valid.all() and not half.labelled


def test_frames_are_halved_too(tmp_path):
    frame = in_order(write_video(tmp_path / "v.avi"))[2]
    half = FolderDataset(tmp_path).reduced(2, max(frame.shape) / 2)
    h, w = half.size_hw
    assert half.reduction == 2 and (2 * h, 2 * w) == frame.shape[:2]
    np.testing.assert_allclose(half.image, frame.reshape(h, 2, w, 2, 3).mean((1, 3)), atol=0.51)  # rounded


@pytest.mark.parametrize("name, reason", [("a.jpg", "not an image"), ("a.mp4", "cannot be opened")])
def test_a_broken_file_is_an_image_that_cannot_be_read(tmp_path, name, reason):
    (tmp_path / name).write_bytes(b"nothing of the kind")
    made = FolderDataset(tmp_path)
    assert len(made) == 1
    for read in (lambda: made.at(0), lambda: read_image(made.sources()[0][2])):
        with pytest.raises(UnreadableImage, match=reason):
            read()


@pytest.mark.parametrize("every", [1, 7])
def test_a_torn_video_is_its_frames_and_one_that_is_missing(tmp_path, every):
    raw = write_video(tmp_path / "v.avi").read_bytes()
    (tmp_path / "v.avi").write_bytes(raw[: len(raw) // 2])
    there = len(in_order(tmp_path / "v.avi"))
    made = FolderDataset(tmp_path, frame_stride=every)
    missing = -(-there // every) * every
    assert names(made)[-1] == f"v.avi#{missing:06d}" and len(made) == missing // every + 1
    with pytest.raises(UnreadableImage, match=rf"v.avi: no frame {missing}: it ends after {there} frames"):
        made.at(len(made) - 1)


def test_workers_read_videos_that_this_process_has_open(tmp_path):
    """A fork shares the open file, and with it the place in it."""
    frames = in_order(write_video(tmp_path / "v.avi"))
    made, order = FolderDataset(tmp_path), np.random.default_rng(0).permutation(COUNT).tolist()
    np.testing.assert_array_equal(made.at(5).image, frames[5])
    ids = [made.ids[index] for index in order]
    loader = DataLoader(made, sampler=ids, batch_size=None, num_workers=2, collate_fn=lambda sample: sample)
    for place, (index, sample) in enumerate(zip(order, loader)):
        np.testing.assert_array_equal(sample.image, frames[index])
        np.testing.assert_array_equal(made.at(place).image, frames[place])


def test_labels_decide_what_a_data_set_is(tmp_path):
    root = write(tmp_path, "images/val/a.jpg", "images/bare/b.jpg")
    (root / "annotations").mkdir()
    (root / "annotations/person_keypoints_val.json").write_text('{"images": [], "annotations": []}')
    assert isinstance(open_dataset(DataSettings(str(root), "val")), CocoDataset)
    assert names(open_dataset(DataSettings(str(root), "bare"))) == ["images/bare/b.jpg"]
    with pytest.raises(ValueError, match=r"neither annotations/person_keypoints_vall.json nor a folder images/vall or"):
        open_dataset(DataSettings(str(root), "vall"))  # a slip of the pen would else train on all there is
    assert len(open_dataset(DataSettings(str(root / "images"), "all", limit=1))) == 1
