"""Annotation files as people have them: what changes nothing, what is counted and said, what is refused and how."""

import copy
import json
import re

import numpy as np
import pytest
from pycocotools import mask as rle
from six_images import HW, REFERENCE, a_file, detections, each, people_of, scores

from rtpe.data.labels import joint_names, read_labels
from rtpe.evaluation.oks import score_keypoints
from rtpe.skeleton import COCO17, OPENPOSE18, Skeleton

FACE = Skeleton("face", ("nose", "left_eye", "right_eye"), ((0, 1), (0, 2)), (0.03, 0.03, 0.03))


def a_dog(**changes):
    return {"id": 900, "image_id": 1, "category_id": 3, "bbox": [0, 0, 160, 120], "area": 19200, "iscrowd": 0} | changes


def with_dog(raw, **changes):
    raw["categories"] += [{"id": 3, "name": "dog", "supercategory": "animal"}]
    raw["annotations"] += [a_dog(**changes)]
    return raw


def in_category(number, **changes):
    return each(each(a_file(), "categories", id=number, **changes), "annotations", category_id=number)


def shuffled(raw):
    order = np.random.default_rng(0).permutation(17)
    raw["categories"][0]["keypoints"] = [COCO17.joints[place] for place in order]
    for person in raw["annotations"]:
        rows = np.array(person["keypoints"]).reshape(17, 3)
        person["keypoints"] = rows[order].ravel().tolist()
    return raw


def as_text(raw):
    for person in raw["annotations"]:
        person.update(image_id=str(person["image_id"]), iscrowd="0", bbox=[str(side) for side in person["bbox"]])
        person.update(area=str(person["area"]), keypoints=[str(value) for value in person["keypoints"]])
    return each(raw, "categories", id="1") | {"images": [row | {"id": str(row["id"])} for row in raw["images"]]}


def nulls_where_unlabelled(raw):
    for person in raw["annotations"]:
        rows = np.array(person["keypoints"]).reshape(17, 3).tolist()
        person["keypoints"] = [value for row in rows for value in (row if row[2] else [None, None, 0])]
    return raw


def reversed_file(raw):
    return {name: rows[::-1] for name, rows in raw.items()}


HARMLESS = {
    "as it is": a_file(),
    "in another order": reversed_file(a_file()),
    "no categories": {name: rows for name, rows in a_file().items() if name != "categories"},
    "categories null": a_file() | {"categories": None},
    "no names of joints": each(a_file(), "categories", keypoints=...),
    "names in another spelling": each(
        a_file(), "categories", keypoints=[name.replace("left_", "L-").title() for name in COCO17.joints]
    ),
    "category 2": in_category(2),
    "category 0": in_category(0),
    "category '1'": in_category("1"),
    "category null": in_category(None),
    "the only category is a pedestrian": in_category(4, name="pedestrian"),
    "no category_id": each(a_file(), "annotations", category_id=...),
    "repeated annotation ids": each(a_file(), "annotations", id=1),
    "no annotation ids": each(a_file(), "annotations", id=...),
    "uuids": each(a_file(), "annotations", id="6b1f"),
    "everything as text": as_text(a_file()),
    "iscrowd null": each(a_file(), "annotations", iscrowd=None),
    "no iscrowd, num_keypoints, segmentation": each(
        a_file(), "annotations", iscrowd=..., num_keypoints=..., segmentation=...
    ),
    "an empty polygon": each(a_file(), "annotations", segmentation=[[]]),
    "a polygon without its list": each(a_file(), "annotations", segmentation=[1, 1, 9, 1, 9, 9]),
    "no sizes": each(a_file(), "images", height=..., width=None),
    "null at joints without a label": nulls_where_unlabelled(a_file()),
    "ids of images as 1.0": a_file() | {"images": [row | {"id": float(row["id"])} for row in a_file()["images"]]},
}
SAID = {
    "a dog's box": (with_dog(a_file()), "left out 1 annotations of other categories: 1 dog"),
    "a dog's joints": (
        with_dog(a_file(), keypoints=[3, 3, 2] * 17),
        "left out 1 annotations of other categories: 1 dog",
    ),
    "a dog's other joints": (with_dog(a_file(), keypoints=[3, 3, 2] * 20), "1 dog"),
    "joints in another order": (shuffled(a_file()), "joints are reordered to the order of coco17"),
    "an image twice": (
        a_file() | {"images": [*a_file()["images"], a_file()["images"][0]]},
        "1 images are listed twice and taken once",
    ),
    "people of images that are not listed": (
        a_file() | {"annotations": [*a_file()["annotations"], *people_of(77, np.random.default_rng(0))]},
        "left out 1 annotations of images that are not listed",
    ),
    "num_keypoints 0": (
        each(a_file(), "annotations", num_keypoints=0),
        "num_keypoints of 7 people contradicts their keypoints: the latter count",
    ),
    "a box from its other corner": (
        a_file()
        | {
            "annotations": [
                person | {"bbox": [x + w, y + h, -w, -h]}
                for person in a_file()["annotations"]
                for x, y, w, h in [person["bbox"]]
            ]
        },
        "turned 7 boxes of negative width or height",
    ),
    "visibility 3": (
        a_file()
        | {
            "annotations": [
                person | {"keypoints": [3 if place % 3 == 2 and value else value for place, value in enumerate(joints)]}
                for person in a_file()["annotations"]
                for joints in [person["keypoints"]]
            ]
        },
        "joints have a visibility other than 0, 1 and 2: above 0 is labelled",
    ),
}


def test_the_reference_is_neither_all_right_nor_all_wrong():
    assert 0.3 < REFERENCE["AP"] < 0.8 and read_labels(a_file(), COCO17).notes == ()


@pytest.mark.parametrize("name", HARMLESS)
def test_what_means_the_same_scores_the_same(name):
    raw = HARMLESS[name]
    before = copy.deepcopy(raw)
    category = read_labels(raw, COCO17).category
    assert scores(raw, category) == (REFERENCE, ()) and raw == before


@pytest.mark.parametrize("name", SAID)
def test_what_is_put_right_is_said_and_scores_the_same(name):
    raw, sentence = SAID[name]
    found, notes = scores(raw)
    assert found == REFERENCE and len(notes) == 1
    assert notes[0].startswith("annotations labels.json: ") and sentence in notes[0]


@pytest.mark.parametrize(
    "changes, sentence",
    [
        ({"area": 0}, "estimated the area of 7 people: 0.53 of their boxes"),
        ({"area": None}, "estimated the area of 7 people"),
        ({"area": ...}, "estimated the area of 7 people"),
        ({"bbox": ...}, "estimated the box of 7 people: around their joints"),
        ({"bbox": [0, 0, 0, 0]}, "estimated the box of 7 people"),
        ({"bbox": [5, 5, 0, 30]}, "estimated the box of 7 people"),
        ({"bbox": None, "area": 0}, "estimated the box of 7 people"),
    ],
    ids=str,
)
def test_a_box_or_area_that_says_nothing_is_estimated(changes, sentence):
    """An area of 0 would make every joint wrong. The estimates here are within a fifth of the labelled areas."""
    found, notes = scores(each(a_file(), "annotations", **changes))
    assert found["AP"] == pytest.approx(REFERENCE["AP"], abs=0.12)
    assert any(sentence in note for note in notes) and len(notes) <= 2
    read = read_labels(each(a_file(), "annotations", **changes), COCO17)
    true = read_labels(a_file(), COCO17)
    for number, (person, *_) in read.people.items():
        assert person.area == pytest.approx(true.people[number][0].area, rel=0.45)
        assert person.box_xywh == pytest.approx(true.people[number][0].box_xywh, abs=15)


def test_crowds_and_unlabelled_people_keep_what_the_file_has():
    """Their area is no scale of any score, and an estimate of a region would be a guess."""
    raw = a_file()
    raw["annotations"] += [
        {"image_id": 1, "iscrowd": 1, "bbox": [1, 2, 30, 40], "area": 0},
        {"image_id": 1, "category_id": 1, "keypoints": [0] * 51, "bbox": [0, 0, 0, 0]},
    ]
    read = read_labels(raw, COCO17)
    _, crowd, unlabelled = read.people[1]
    assert read.notes == () and (crowd.area, unlabelled.area) == (1200, 0) and not unlabelled.labelled
    assert scores(raw)[0]["AR"] == REFERENCE["AR"]


def test_one_joint_without_a_box_is_said():
    raw = a_file()
    raw["annotations"].append({"image_id": 1, "category_id": 1, "keypoints": [9, 9, 2] + [0] * 48})
    assert "1 people have one labelled joint and no box" in scores(raw)[1][-1]


def test_joints_far_outside_are_said():
    raw = a_file()
    raw["annotations"][0]["keypoints"][:3] = [5000, 9, 2]
    assert "1 labelled joints lie outside their images by more than its sides" in scores(raw)[1][0]


CATEGORIES = [{"id": 5, "name": "face"}, {"id": 7, "name": "body", "keypoints": list(COCO17.joints)}]


@pytest.mark.parametrize(
    "categories, number",
    [
        ([{"id": 5, "name": "car"}, {"id": 7, "name": "Person "}], 7),
        (CATEGORIES, 7),
        ([{"id": 5, "name": "car"}, {"id": 7, "name": "body"}], 7),  # only its annotations have joints
        ([{"id": 7, "name": "person"}, {"id": 8, "name": "person", "keypoints": []}], 7),
        ([{"id": 7}], 7),
        ([{"id": "7", "name": None}], 7),
    ],
    ids=str,
)
def test_the_category_of_people_is_found(categories, number):
    raw = in_category(7) | {"categories": categories}
    assert read_labels(raw, COCO17).category == number
    assert scores(raw, number)[0] == REFERENCE


def of_joints(names, **changes):
    return each(a_file(), "categories", keypoints=names) | changes


SWAPPED = [*COCO17.joints[:9], "left_front_paw", *COCO17.joints[10:]]
OTHER_FILE = [*a_file()["images"], {"id": 1, "file_name": "b.jpg"}]
MASK = rle.encode(np.zeros(HW, np.uint8, order="F"))["counts"].decode()


def an_image(**changes):
    return a_file() | {"images": [a_file()["images"][0] | changes, *a_file()["images"][1:]]}


def an_annotation(**changes):
    first, *rest = a_file()["annotations"]
    return a_file() | {"annotations": [first | changes, *rest]}


def first_joint(*values):
    return an_annotation(keypoints=[*values, *a_file()["annotations"][0]["keypoints"][3:]])


@pytest.mark.parametrize(
    "raw, message",
    [
        ([], "expected a COCO file with images and annotations"),
        ({"images": {}, "annotations": []}, "expected a COCO file with images and annotations"),
        (a_file() | {"images": [3]}, "image number 1: expected an object, got 3"),
        (a_file() | {"annotations": [None]}, "annotation number 1: expected an object, got null"),
        (a_file() | {"categories": "person"}, "categories: expected a list, got str"),
        (
            a_file() | {"categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}], "annotations": []},
            "categories 1 (a), 2 (b): cannot tell which is people: name one of them person",
        ),
        (
            a_file() | {"categories": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]},
            "categories: an id is there twice",
        ),
        (a_file() | {"categories": [{"name": "a"}, {"id": 1}]}, "category number 1: id: expected a whole number"),
        (
            a_file() | {"categories": [], "annotations": [*a_file()["annotations"], a_dog(keypoints=[1, 1, 2])]},
            "lists no categories, and has annotations of 1, 3: give it categories",
        ),
        (
            each(a_file(), "annotations", category_id=0),
            "annotation 10: category_id: expected a category that the file lists, 1 (person), got 0",
        ),
        (of_joints(SWAPPED), "category 1: has left_front_paw where coco17 has left_wrist: pass --data.skeleton"),
        (of_joints(["nose"] * 17), "category 1: has nose where coco17 has nose: pass --data.skeleton"),
        (of_joints(["nose"]), "category 1: has 1 keypoints, skeleton coco17 has 17: pass --data.skeleton"),
        (of_joints("nose"), 'category 1: keypoints: expected a list of names, got "nose"'),
        (of_joints([1] * 17), "category 1: keypoints: expected a list of names, got [1, 1,"),
        (an_image(id="a.jpg"), 'image a.jpg: id: expected a whole number below 2^63, got "a.jpg": number them'),
        (an_image(id=2**64), "expected a whole number below 2^63, got 18446744073709551616: number them"),
        (an_image(id=1.5), "image number 1: id: expected a whole number below 2^63, got 1.5"),
        (an_image(id=True), "id: expected a whole number below 2^63, got true"),
        (
            a_file() | {"images": [{"file_name": "a.jpg"}]},
            "image number 1: id: expected a whole number below 2^63, got no",
        ),
        (an_image(file_name=3), "image 1: file_name: expected the name of a file, got 3"),
        (an_image(file_name="a\0b"), "image 1: file_name: expected the name of a file"),
        (an_image(height=-3), "image 1: height: expected a whole number of pixels, got -3"),
        (an_image(width="wide"), 'image 1: width: expected a whole number of pixels, got "wide"'),
        (a_file() | {"images": OTHER_FILE}, "images 1.jpg and b.jpg have the same id 1: number them apart"),
        (an_annotation(image_id=None), "annotation 10: image_id: expected a whole number below 2^63, got null"),
        (an_annotation(category_id="dog"), 'annotation 10: category_id: expected a whole number below 2^63, got "dog"'),
        (an_annotation(iscrowd="yes"), 'annotation 10: iscrowd: expected 0 or 1, got "yes"'),
        (an_annotation(iscrowd=[0]), "annotation 10: iscrowd: expected 0 or 1, got [0]"),
        (an_annotation(keypoints=[1, 1, 2] * 14), "annotation 10 has 14 keypoints, skeleton coco17 has 17: pass"),
        (an_annotation(keypoints=[1, 1] * 17), "annotation 10: keypoints: expected x, y, v of each joint in one list"),
        (an_annotation(keypoints="none"), "annotation 10: keypoints: expected x, y, v of each joint in one list"),
        (an_annotation(keypoints=[[1, 1, 2]] * 51), "annotation 10: keypoints: expected 51 finite numbers"),
        (first_joint(float("nan"), 3, 2), "annotation 10: keypoints: expected 51 finite numbers"),
        (first_joint(3, float("inf"), 1), "annotation 10: keypoints: expected 51 finite numbers"),
        (first_joint(1e30, 3, 1), "annotation 10: keypoints: expected 51 finite numbers"),
        (first_joint(3, 3, None), "annotation 10: keypoints: expected 51 finite numbers"),
        (first_joint(3, 3, float("nan")), "annotation 10: keypoints: expected 51 finite numbers"),
        (an_annotation(bbox=[1, 2, 3]), "annotation 10: bbox: expected 4 finite numbers"),
        (an_annotation(bbox=[1, 2, 3, float("nan")]), "annotation 10: bbox: expected 4 finite numbers"),
        (an_annotation(bbox={"x": 1}), 'annotation 10: bbox: expected 4 finite numbers within 1e+07 pixels, got {"x"'),
        (an_annotation(area=[-1]), "annotation 10: area: expected a finite number of 0 or more, got [-1]"),
        (an_annotation(area=float("nan")), "annotation 10: area: expected a finite number of 0 or more, got NaN"),
        (an_annotation(area=[9]), "annotation 10: area: expected a finite number of 0 or more, got [9]"),
        (an_annotation(segmentation="mask"), "annotation 10: segmentation: expected polygons or an RLE"),
        (an_annotation(segmentation=[[1, 2, 3, 4, 5]]), "annotation 10: segmentation: expected polygons, each a list"),
        (an_annotation(segmentation=[[1, 2, 3, 4, 5, 1e30]]), "annotation 10: segmentation: expected polygons"),
        (an_annotation(segmentation={"counts": MASK}), "segmentation: expected an RLE with a size of [height, width]"),
        (
            an_annotation(segmentation={"size": [*HW], "counts": [1, 2]}),
            "segmentation: expected an RLE whose counts add up to 120 x 160",
        ),
        (an_annotation(segmentation={"size": [*HW], "counts": MASK + "1"}), "whose counts add up to 120 x 160"),
        (an_annotation(segmentation={"size": [*HW], "counts": "ä"}), "whose counts add up to 120 x 160"),
        (
            a_file()
            | {
                "annotations": [
                    person | {"keypoints": (np.array(person["keypoints"]) / 160).tolist()}
                    for person in a_file()["annotations"]
                ]
            },
            "keypoints: expected pixels, got [",
        ),
    ],
    ids=lambda value: value[:50] if isinstance(value, str) else "",
)
def test_what_is_refused_names_file_entry_field_want_and_got(tmp_path, raw, message):
    (tmp_path / "labels.json").write_text(json.dumps(raw))
    with pytest.raises(ValueError, match=rf"^annotations .*labels\.json: .*{re.escape(message)}") as caught:
        read_labels(tmp_path / "labels.json", COCO17)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_is_no_fault(tmp_path, encoding):
    (tmp_path / "labels.json").write_text(json.dumps(a_file(), ensure_ascii=False), encoding=encoding)
    assert score_keypoints(tmp_path / "labels.json", detections(), None, COCO17) == REFERENCE


@pytest.mark.parametrize("text", [b"", b"{", b"\xff\xfe\xff", b"[" * 100_000, b"1" * 5000])
def test_what_is_no_json(tmp_path, text):
    (tmp_path / "labels.json").write_bytes(text)
    with pytest.raises(ValueError, match=r"labels\.json: (not JSON|expected a COCO file)"):
        read_labels(tmp_path / "labels.json", COCO17)


def test_rle_is_read_in_both_forms():
    """The compressed counts of a random mask, by the library that writes them, add up; so does what is made of it."""
    rng = np.random.default_rng(0)
    for density in (0.0, 0.02, 0.5, 1.0):
        mask = np.asfortranarray((rng.random(HW) < density).astype(np.uint8))
        plain = np.diff([0, *(np.flatnonzero(np.diff(mask.T.ravel())) + 1), mask.size]).tolist()
        plain = plain if not mask[0, 0] else [0, *plain]
        for counts in (rle.encode(mask)["counts"].decode(), plain):
            raw = an_annotation(segmentation={"size": [*HW], "counts": counts})
            outline = read_labels(raw, COCO17).people[1][0].outline
            runs = rle.frPyObjects(outline, *HW) if isinstance(outline["counts"], list) else outline
            np.testing.assert_array_equal(rle.decode(runs), mask)


def test_names_of_joints_are_compared_in_one_spelling():
    names = ["L_Wrist", "leftWrist", "wrist-left", "left wrist", "LEFT.WRIST", "wrist_l"]
    assert set(joint_names(names)) == {"left_wrist"}
    assert joint_names(["collar", "lower_lip", "r", "top_head", "neck"]) == [
        "collar",
        "lower_lip",
        "r",
        "head_top",
        "neck",
    ]


def test_a_skeleton_of_its_own_is_compared_with_its_file():
    people = [{"image_id": 1, "keypoints": [1, 1, 2, 5, 5, 2, 9, 9, 2], "bbox": [0, 0, 9, 9]}]
    raw = {
        "images": [{"id": 1}],
        "annotations": people,
        "categories": [{"id": 1, "keypoints": ["Nose", "REye", "LEye"]}],
    }
    read = read_labels(raw, FACE)
    assert read.people[1][0].points[:, 0].tolist() == [1.5, 9.5, 5.5]
    with pytest.raises(ValueError, match="category 1: has 3 keypoints, skeleton coco17 has 17"):
        read_labels(raw, COCO17)


def test_openposes_joints_are_made_of_cocos_by_name():
    """Also where the file has COCO's in another order."""
    assert read_labels(a_file(), OPENPOSE18).skeleton == COCO17
    mixed, plain = (read_labels(raw, OPENPOSE18).people[1][0].points for raw in (shuffled(a_file()), a_file()))
    np.testing.assert_array_equal(mixed, plain)


ODD = (
    None, ..., True, 0, -1, 1.5, 1e30, -1e30, 2**63, 2**70, 10**400, float("nan"), float("inf"), "", "1", "x", "\0",
    [], [None], [[]], [0], [1, 2, 3, 4], [float("nan")] * 4, ["a"] * 51, [1e308] * 51, [10**400] * 3, {}, {"a": 1},
    {"size": [120, 160], "counts": "0"}, {"size": [0, 0], "counts": []}, {"size": "x", "counts": 3}, [[1] * 6, 3],
)  # fmt: skip
FIELDS = {
    "images": ["id", "file_name", "height", "width"],
    "categories": ["id", "name", "keypoints", "skeleton"],
    "annotations": [
        "id", "image_id", "category_id", "iscrowd", "keypoints", "num_keypoints", "bbox", "area", "segmentation",
        "head_box", "area_estimated",
    ],
}  # fmt: skip


@pytest.mark.parametrize("what, name", [(what, name) for what, names in FIELDS.items() for name in names])
@pytest.mark.parametrize("all_of_them", [False, True], ids=["one", "all"])
def test_an_odd_value_is_refused_or_said_or_changes_nothing(what, name, all_of_them):
    """Every field with every odd value: no other error than a line of ours, no other score without a word."""
    for value in ODD:
        raw = a_file()
        for row in raw[what] if all_of_them else raw[what][:1]:
            row.update({name: value})
            if value is ...:
                del row[name]
        try:
            labels = read_labels(raw, COCO17, "labels.json")
            found = score_keypoints(labels, detections(labels.category), None, COCO17)
        except ValueError as error:
            assert str(error).startswith("annotations ") and "\n" not in str(error), (value, error)
            assert type(error).__name__ == "UserError", (value, error)
            continue
        emptied = name == "keypoints" and what == "annotations" and not value  # a person without labelled joints
        meant = (name, value) in (("iscrowd", True), ("iscrowd", "1"), ("image_id", "1"))
        assert labels.notes or found == REFERENCE or emptied or meant, (value, found)
