"""MPII's files: pixels from 1, boxes from center and scale, head boxes of the same people, and what a bad file says."""

import json
import re
import shutil

import numpy as np
import pytest
from places import REAL
from scipy.io import loadmat, savemat

from rtpe.data.crops import PersonCrops
from rtpe.data.load import open_dataset
from rtpe.data.mpii import MpiiDataset, as_coco, box_of
from rtpe.data.settings import DataSettings
from rtpe.evaluation.distance import pckh
from rtpe.evaluation.matching import distance_scores, match_people
from rtpe.geometry import crop
from rtpe.images import write_image
from rtpe.skeleton import MPII16


def record(image="000000012.png", **changes):
    """A person whose joint k is at pixel (10 + k, 20), pixels numbered from 1; the last joint is not labelled."""
    joints = [[10.0 + k, 20.0] for k in range(15)] + [[-1.0, -1.0]]
    seen = [1] * 15 + [0]
    return {"image": image, "center": [30.0, 25.0], "scale": 0.2, "joints": joints, "joints_vis": seen, **changes}


def write(root, records, heads=None, text=None):
    (root / "annot").mkdir(exist_ok=True)
    (root / "images").mkdir(exist_ok=True)
    (root / "annot" / "valid.json").write_text(json.dumps(records) if text is None else text)
    for name in {each["image"] for each in records if isinstance(each, dict) and each.get("image")}:
        write_image(root / "images" / name, np.full((40, 60, 3), 99, np.uint8))
    if heads is not None:
        points = np.array([each["joints"] for each in records]).reshape(-1, 16, 2)
        stored = {"pos_gt_src": np.moveaxis(points, 0, -1), "headboxes_src": np.moveaxis(np.array(heads), 0, -1)}
        savemat(root / "annot" / "gt_valid.mat", stored)
    return root


def test_nobody(tmp_path):
    assert list(MpiiDataset(write(tmp_path, []), "valid")) == []


def test_pixels_are_numbered_from_one(tmp_path):
    """MPII's first pixel is 1, and its center is at one half."""
    (sample,) = MpiiDataset(write(tmp_path, [record()]), "valid")
    assert sample.image_id == 12 and sample.file_name == "000000012.png" and sample.skeleton == MPII16
    assert sample.points[0, 0].tolist() == [9.5, 19.5, 2] and sample.points[0, 14].tolist() == [23.5, 19.5, 2]
    assert not sample.points[0, 15].any()  # not labelled: nowhere
    assert sample.valid.all() and sample.person is None


def test_people_of_one_image_come_together(tmp_path):
    made = MpiiDataset(write(tmp_path, [record("2.png"), record("1.png"), record("2.png", scale=0.3)]), "valid")
    assert made.ids == [1, 2] and [len(sample.points) for sample in made] == [1, 2]
    assert [name for _, name, _ in made.sources()] == ["1.png", "2.png"] and made.path(0).is_file()
    few = made.subset([2])
    assert isinstance(few, MpiiDataset) and few.ids == [2] and few.at(0).file_name == "2.png"
    assert len(MpiiDataset(tmp_path, "valid", ids=[1])) == 1


def test_images_whose_names_are_no_numbers_are_counted(tmp_path):
    """Two names that are one number, 7 and 007, would be one image."""
    for names, ids in ((("b.png", "a.png"), [1, 2]), (("7.png", "007.png"), [1, 2]), (("0.png", "5.png"), [1, 2])):
        assert [image["id"] for image in as_coco([record(name) for name in names])["images"]] == ids


def test_the_box_is_what_hrnet_crops():
    """Padded by 1.25 it fills the net's input: scale * 200 * 1.25 pixels, 15 * scale below the center."""
    x, y, width, height = box_of([301.0, 201.0], 1.6)
    assert (x + width / 2, y + height / 2) == (300.5, 200.5 + 15 * 1.6) and width == height == 320
    to_input = crop([x, y, width, height], (256, 256), 1.25)
    assert to_input.scale == pytest.approx(256 / (1.6 * 200 * 1.25))
    assert to_input(np.array([300.5, 224.5])).tolist() == pytest.approx([128, 128])


def test_nobody_labelled_in_the_test_split(tmp_path):
    """It has boxes alone: people are there, but what a net finds can be called neither right nor wrong."""
    bare = {name: value for name, value in record().items() if not name.startswith("joints")}
    (sample,) = MpiiDataset(write(tmp_path, [bare]), "valid")
    assert sample.points.shape == (0, 16, 3) and not sample.valid[10:40, 15:45].any()


def test_head_boxes_give_pckh(tmp_path):
    """A head of size 30; off by 10 is right at .5 and wrong at .1."""
    images = MpiiDataset(write(tmp_path, [record()], heads=[[[5.0, 5.0], [35.0, 45.0]]]), "valid")
    assert images.people[12][0].head_box == (5, 5, 35, 45)
    keypoints = images.people[12][0].keypoints + np.array([10, 0, 0])
    result = {"image_id": 12, "category_id": 1, "score": 1.0, "keypoints": keypoints.ravel().tolist()}
    scores = distance_scores(match_people(images.labels, [result], images.ids, MPII16))
    assert (scores["PCKh@0.5"], scores["PCKh@0.1"]) == (1, 0)


def test_head_boxes_move_with_their_people_into_crops(tmp_path):
    """The crop of a box that begins at (19.5, 7.5) begins with pixel (19, 7)."""
    whole = MpiiDataset(write(tmp_path, [record(center=[40.0, 25.0])], heads=[[[5.0, 5.0], [35.0, 45.0]]]), "valid")
    crops = PersonCrops(whole)
    (crop_id,) = crops.ids
    (moved,) = crops.labels.people[crop_id]
    assert whole.people[12][0].box_xywh.tolist() == [19.5, 7.5, 40, 40]
    assert moved.head_box == (5 - 19, 5 - 7, 35 - 19, 45 - 7)
    keypoints = moved.keypoints + np.array([10, 0, 0])
    result = {"image_id": crop_id, "category_id": 1, "score": 1.0, "keypoints": keypoints.ravel().tolist()}
    scores = distance_scores(match_people(crops.labels, [result], crops.ids, MPII16))
    assert (scores["PCKh@0.5"], scores["PCKh@0.1"]) == (1, 0)


BAD_RECORDS = {
    "no dict": 3,
    "no image": record(image=""),
    "no scale": {name: value for name, value in record().items() if name != "scale"},
    "no height": record(scale=-1.0),
    "a text": record(center="here"),
    "a coordinate": record(center=[3.0]),
    "joints of another skeleton": record(joints=[[1.0, 1.0]] * 14),
    "ragged joints": record(joints=[[1.0, 1.0]] * 15 + [[1.0]]),
    "unsaid visibility": record(joints_vis=[1] * 15),
}


@pytest.mark.parametrize("case", BAD_RECORDS)
def test_a_bad_record_is_named_by_its_number(tmp_path, case):
    bad = write(tmp_path, [], text=json.dumps([record(), BAD_RECORDS[case]]))
    want = re.escape(
        f"{bad / 'annot' / 'valid.json'}: record 1: expected image, center [x, y], scale above 0, joints of"
    )
    with pytest.raises(ValueError, match=want) as error:
        MpiiDataset(bad, "valid")
    assert str(error.value).endswith("correct or remove it") and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "text, message",
    [("", "not JSON"), ("[{", "not JSON"), ("{}", "expected a list of people, one record each, got dict")],
)
def test_a_file_that_is_none_of_mpiis(tmp_path, text, message):
    with pytest.raises(ValueError, match=f"annotations .*annot/valid.json: {message}"):
        MpiiDataset(write(tmp_path, [], text=text), "valid")


def test_a_missing_file_names_the_settings(tmp_path):
    with pytest.raises(
        ValueError, match=r"annotations .*annot/test.json: No such file.*: check --data.root and --data"
    ):
        MpiiDataset(tmp_path, "test")


def test_head_boxes_must_be_of_the_same_people(tmp_path):
    """Row by row they belong to the records: in another order every score would be wrong, and none would show it."""
    two, heads = [record("1.png"), record("2.png", center=[99.0, 9.0])], [[[0.0, 0.0], [3.0, 4.0]]] * 2
    two[1]["joints"] = [[x + 5, y] for x, y in two[1]["joints"]]
    write(tmp_path, two[::-1], heads=heads)
    file = tmp_path / "annot" / "valid.json"
    for records, message in (
        (two, "not the people .* or in another order: take both"),
        (two[:1], "of 2 people, .* have 1: take both"),
    ):
        file.write_text(json.dumps(records))
        with pytest.raises(ValueError, match=f"head boxes .*gt_valid.mat: {message}"):
            MpiiDataset(tmp_path, "valid")
    (tmp_path / "annot" / "gt_valid.mat").write_bytes(b"no matrix")
    with pytest.raises(ValueError, match=r"expected MPII's headboxes_src and pos_gt_src .* or remove it"):
        MpiiDataset(tmp_path, "valid")


def test_the_settings_choose_the_reader(tmp_path):
    """By the file that is there; its joints are its own."""
    write(tmp_path, [record("1.png"), record("2.png")])
    made = open_dataset(DataSettings(root=str(tmp_path), split="valid", limit=1))
    assert isinstance(made, MpiiDataset) and made.skeleton == MPII16 and made.ids == [1]
    assert isinstance(open_dataset(DataSettings(root=str(tmp_path), split="valid", skeleton="mpii16")), MpiiDataset)
    with pytest.raises(ValueError, match=r"MPII's people have mpii16: leave out --data.skeleton lsp14"):
        open_dataset(DataSettings(root=str(tmp_path), split="valid", skeleton="lsp14"))


@pytest.fixture
def real(tmp_path):
    """Five people of the real valid split, the first of a published model's file of predictions, with head boxes."""
    subset, fixture = REAL / "mpii_subset", REAL / "fixtures" / "pckh" / "detections_our_format.mat"
    if not subset.is_dir() or not fixture.is_file():
        pytest.skip("the real-data folder is absent")
    raw = loadmat(fixture, variable_names=["pos_gt_src", "pos_pred_src", "headboxes_src", "jnt_missing"])
    first = {name: array[..., :5] for name, array in raw.items() if name[0] != "_"}
    (tmp_path / "images").symlink_to(subset / "images")
    (tmp_path / "annot").mkdir()
    shutil.copy(subset / "annot" / "valid.json", tmp_path / "annot")
    savemat(tmp_path / "annot" / "gt_valid.mat", first)
    return tmp_path, {name: np.moveaxis(array.astype(float), -1, 0) for name, array in first.items()}


def test_real_files_are_read(real):
    images = MpiiDataset(real[0], "valid")
    assert images.ids == [4645041, 5808361, 51423444, 52475643, 60754485]
    for sample in images:
        people = images.people[sample.image_id]
        (x, y, width, height), points = people[0].box_xywh, sample.points[0]
        seen = points[points[:, 2] > 0, :2]
        assert sample.size_hw[0] > 200 and (seen > 0).all() and (seen < np.array(sample.size_hw[::-1])).all()
        middle = seen.mean(
            axis=0
        )  # a box from another pixel frame, or another person's, would not be around the joints
        assert abs(middle - [x + width / 2, y + height / 2]).max() < width / 4
    by_name = {name: images.at(place).points[0] for place, (_, name) in enumerate(images.records)}
    assert by_name["005808361.jpg"][0] == pytest.approx([803.5, 710.5, 2])


def test_a_published_model_has_the_same_pckh_through_the_reader(real):
    """Each record is a person of one image here, so whoever is found is theirs."""
    root, raw = real
    images = MpiiDataset(root, "valid")
    number_of = {name: number for number, name in images.records}
    numbers = [number_of[each["image"]] for each in json.loads((root / "annot/valid.json").read_text())]
    results = [
        {"image_id": number, "category_id": 1, "score": 1.0, "keypoints": rows.ravel().tolist()}
        for number, points in zip(numbers, raw["pos_pred_src"])
        for rows in [np.column_stack([points - 1, np.ones(16)])]
    ]
    seen = raw["jnt_missing"] == 0
    direct = pckh(raw["pos_pred_src"], raw["pos_gt_src"], seen, raw["headboxes_src"])[1]
    scores = distance_scores(match_people(images.labels, results, images.ids, MPII16))
    assert scores["PCKh@0.5"] == direct and 0.5 < direct < 1
