"""Files as labelling and converting tools write them: the same people, or one line; never other scores unsaid."""

import json

import numpy as np
import pytest
from six_images import HW, REFERENCE, a_file, each, scores

from rtpe.data.coco import CocoDataset
from rtpe.data.labels import read_labels
from rtpe.evaluation.oks import score_keypoints
from rtpe.images import write_image
from rtpe.skeleton import COCO17, MPII16


def changed(raw, change):
    """Every annotation with what the change gives for it and its image."""
    sizes = {image["id"]: (image["width"], image["height"]) for image in raw["images"]}
    raw["annotations"] = [{**person, **change(person, *sizes[person["image_id"]])} for person in raw["annotations"]]
    return raw


def points(person):
    return np.array(person["keypoints"], float).reshape(-1, 3)


def as_list(rows):
    return np.asarray(rows).ravel().tolist()


def blank(person, absent):
    return [number or absent for number in person["keypoints"]]


def twice(raw, **more):
    return raw | {"annotations": [*raw["annotations"], *({**each, **more} for each in raw["annotations"])]}


def with_boxes(raw):
    """Box and joints of each person as two annotations of one category."""
    bare = [
        {k: v for k, v in person.items() if k not in ("keypoints", "num_keypoints")} for person in raw["annotations"]
    ]
    return raw | {"annotations": [*raw["annotations"], *({**each, "id": 900 + n} for n, each in enumerate(bare))]}


def records_by_person(raw):
    """An image record for each person, of one file name."""
    images = {image["id"]: image for image in raw["images"]}
    people = [{**person, "image_id": 100 + n} for n, person in enumerate(raw["annotations"])]
    records = [{**images[person["image_id"]], "id": 100 + n} for n, person in enumerate(raw["annotations"])]
    return raw | {"images": records, "annotations": people}


def in_two_categories(raw):
    joints = raw["categories"][0]["keypoints"]
    raw["categories"] = [{"id": n, "name": name, "keypoints": joints} for n, name in ((1, "man"), (2, "woman"))]
    return changed(raw, lambda person, w, h: {"category_id": 1 + person["id"] % 2})


def joints_named(raw, names):
    raw["categories"][0]["keypoints"] = names
    return raw


def body_beside_person(raw):
    """A rectangle label named person, and a skeleton label of another name."""
    raw["categories"] = [{"id": 1, "name": "person"}, {**raw["categories"][0], "id": 2, "name": "body"}]
    boxes = [{"image_id": 1, "category_id": 1, "bbox": [1, 1, 30, 30], "id": 900}]
    return each(raw, "annotations", category_id=2) | {"annotations": [*each(raw, "annotations")["annotations"], *boxes]}


SAME = {
    "all people twice": (lambda: twice(a_file()), "7 people are labelled twice and taken once"),
    "the same, other ids": (lambda: twice(a_file(), id=77, segmentation=[[1, 1, 5, 1, 5, 5]]), "labelled twice"),
    "a file joined with itself": (
        lambda: twice(a_file()) | {"images": a_file()["images"] * 2, "categories": a_file()["categories"] * 2},
        "7 people are labelled twice and taken once",
    ),
    "boxes beside joints": (lambda: with_boxes(a_file()), "left out 7 boxes without joints, of people whose joints"),
    "one category without an id": (lambda: each(a_file(), "categories", id=...), ""),
    "a skeleton label beside a box label": (lambda: body_beside_person(a_file()), "left out 1 annotations of other"),
    "two categories of people": (lambda: in_two_categories(a_file()), "people are of 2 categories"),
    "joints named 1, 2, ...": (lambda: joints_named(a_file(), [str(n) for n in range(1, 18)]), "numbers for names"),
    "joints named new-point-0, ...": (lambda: joints_named(a_file(), [f"new-point-{n}" for n in range(17)]), "numbers"),
    "joints named in one word": (
        lambda: joints_named(a_file(), [name.replace("_", "") for name in COCO17.joints]), "",
    ),
    "a dot before the file names": (
        lambda: a_file() | {"images": [{**i, "file_name": "./" + i["file_name"]} for i in a_file()["images"]]}, "",
    ),
    "a record without sizes besides": (
        lambda: a_file() | {"images": [{"id": 1, "file_name": "./1.jpg"}, *a_file()["images"]]}, "1 images are listed",
    ),
    "sizes of -1": (lambda: each(a_file(), "images", width=-1, height=-1), ""),
    "absent joints of NaN": (
        lambda: changed(a_file(), lambda p, w, h: {"keypoints": blank(p, float("nan"))}),
        "",
    ),
    "absent joints of blanks": (
        lambda: changed(a_file(), lambda p, w, h: {"keypoints": blank(p, "")}), "",
    ),
    "a head box that is none of MPII's": (lambda: each(a_file(), "annotations", head_box="none"), ""),
}  # fmt: skip


@pytest.mark.parametrize("case", SAME)
def test_the_same_people_whatever_the_tool(case):
    make, said = SAME[case]
    found, notes = scores(make(), 2 if "skeleton label" in case else 1)
    assert found == pytest.approx(REFERENCE, abs=1e-9)
    assert said in "\n".join(notes) if said else not notes, notes


def test_image_records_of_one_file_are_joined():
    raw = records_by_person(a_file())
    labels = read_labels(raw, COCO17, "labels.json")
    assert [len(labels.people[number]) for number in labels.images] == [1, 1, 1, 1, 1, 2]
    assert any("1 images are listed under another id as well: their people are joined" in note for note in labels.notes)
    again = read_labels(twice(raw) | {"images": [*raw["images"], {**raw["images"][0], "id": 999}]}, COCO17)
    assert len(again.images) == 6 and sum(map(len, again.people.values())) == 7


@pytest.mark.parametrize("place", [(0, 0), (-1, -1)], ids=str)
@pytest.mark.parametrize("number", [..., 17])
def test_joints_in_the_corner_are_absent(place, number):
    """Where tools put what they do not have, though they call it labelled."""

    def moved(person, w, h):
        rows = points(person)
        rows[rows[:, 2] == 0] = (*place, 2)
        return {"keypoints": as_list(rows), "num_keypoints": 17}

    raw = changed(a_file(), moved)
    found, notes = scores(each(raw, "annotations", num_keypoints=number))
    assert found == pytest.approx(REFERENCE, abs=1e-9)
    assert any("joints are labelled at 0, 0 or -1, -1" in note for note in notes)


def test_mpiis_joints_in_its_first_pixel_are_absent():
    """MPII counts from 1: what it does not have would lie at -1, -1."""
    person = {"id": 1, "image_id": 1, "category_id": 1, "keypoints": [30, 40, 2] * 15 + [-1, -1, 2]}
    raw = {"images": [{"id": 1, "file_name": "a.jpg"}], "categories": [], "annotations": [person]}
    assert (read_labels(raw, MPII16).people[1][0].points[:, 2] > 0).sum() == 15


def box_of(person):
    return np.array(person["bbox"], float)


def sides(w, h):
    return np.array([w, h, w, h], float)


FORMS = {
    "center and sides": (lambda b, w, h: [b[0] + b[2] / 2, b[1] + b[3] / 2, b[2], b[3]], "the center and the sides"),
    "shares": (lambda b, w, h: (b / sides(w, h)).tolist(), "shares of the image's sides"),
    "percents": (lambda b, w, h: (100 * b / sides(w, h)).tolist(), "percents of the image's sides"),
}


def far(raw):
    """All people in the far corner of larger images, where the forms of boxes differ most."""
    for image in raw["images"]:
        image["width"], image["height"] = 3 * HW[1], 3 * HW[0]

    def moved(person, w, h):
        rows = points(person)
        rows[rows[:, 2] > 0, :2] += (300, 220)
        x, y, *rest = person["bbox"]
        return {"keypoints": as_list(rows), "bbox": [x + 300, y + 220, *rest]}

    return changed(raw, moved)


@pytest.mark.parametrize("area", ["of the box", "its own", "none"])
@pytest.mark.parametrize("form", FORMS)
def test_boxes_in_another_form_are_refused_with_its_name(form, area):
    write, name = FORMS[form]
    raw = changed(far(a_file()), lambda person, w, h: {"bbox": write(box_of(person), w, h)})
    if area == "of the box":
        raw = changed(raw, lambda person, w, h: {"area": person["bbox"][2] * person["bbox"][3]})
    elif area == "none":
        raw = each(raw, "annotations", area=...)
    with pytest.raises(ValueError, match=rf"^annotations labels.json: bbox: the boxes of 7 of 7 people .*{name}"):
        read_labels(raw, COCO17, "labels.json")


def test_boxes_as_two_corners_are_refused():
    """They hold the joints, and reach far out of the image."""
    raw = changed(far(a_file()), lambda p, w, h: {"bbox": as_list([box_of(p)[:2], box_of(p)[:2] + box_of(p)[2:]])})
    with pytest.raises(ValueError, match=r"boxes of 7 of 7 people leave their images, .*look like x, y of two cor"):
        read_labels(raw, COCO17, "labels.json")


UNITS = {
    "percents": lambda rows, w, h, box: rows[:, :2] / (w, h) * 100,
    "of 256": lambda rows, w, h, box: rows[:, :2] / 256,
    "of the box": lambda rows, w, h, box: rows[:, :2] - box[:2],
    "y before x": lambda rows, w, h, box: rows[:, 1::-1],
    "shares": lambda rows, w, h, box: rows[:, :2] / (w, h),
}


@pytest.mark.parametrize("unit", UNITS)
def test_joints_in_another_unit_than_boxes_are_refused(unit):
    """All people's but one's: a single one is a slip of the pen, and said."""

    def moved(person, w, h):
        rows = points(person)
        rows[:, :2] = np.where(rows[:, 2:] > 0, UNITS[unit](rows, w, h, box_of(person)), 0)
        return {"keypoints": as_list(rows)}

    raw = far(a_file())
    wrong = changed(far(a_file()), moved)
    wrong["annotations"][0] = raw["annotations"][0]
    with pytest.raises(ValueError, match=r"bbox: the boxes of 6 of 7 people do not hold their joints"):
        read_labels(wrong, COCO17, "labels.json")
    raw["annotations"][1] = wrong["annotations"][1]
    assert any(
        "the boxes of 1 people do not hold most of their joints" in note for note in read_labels(raw, COCO17).notes
    )


REFUSED = [
    (
        a_file() | {"images": [*a_file()["images"], {"id": 9, "file_name": "1.jpg", "height": 9, "width": 9}]},
        r"image 1.jpg is listed with height 120, width 160 and with height 9, width 9: correct one of them",
    ),
    (each(a_file(), "annotations", keypoints=""), r'keypoints: expected x, y, v of each joint in one list, got ""'),
    (each(a_file(), "annotations", keypoints={}), r"keypoints: expected x, y, v of each joint in one list, got \{\}"),
    (each(a_file(), "annotations", keypoints=0), r"keypoints: expected x, y, v of each joint in one list, got 0"),
    (
        joints_named(a_file(), [str(n) for n in range(3, 20)]),
        r"has 3 where coco17 has nose",
    ),
    (
        joints_named(a_file(), ["x", *COCO17.joints[1:]]),
        r"has x where coco17 has nose",
    ),
]  # fmt: skip


@pytest.mark.parametrize("raw, said", REFUSED, ids=range(len(REFUSED)))
def test_what_cannot_be_told_is_refused(raw, said):
    with pytest.raises(ValueError, match=said):
        read_labels(raw, COCO17, "labels.json")


@pytest.mark.parametrize("field, blank", [("area", ""), ("area", -5), ("bbox", [None] * 4), ("iscrowd", "")])
def test_blanks_are_what_is_absent(field, blank):
    """As if the field were not there."""
    results = []
    for value in (blank, ...):
        raw = each(a_file(), "annotations", **{field: value})
        labels = read_labels(raw, COCO17, "labels.json")
        results.append((score_keypoints(labels, [], None, COCO17), labels.notes, labels.people[6][1].area))
    assert results[0] == results[1]


def test_boxes_of_labelled_people_mask_nothing(tmp_path):
    """What is learnt from the image is the same with and without them; a box of somebody else still masks."""
    samples = []
    for name, extra in (("plain", []), ("twin", [{"bbox": [10, 10, 41, 40]}]), ("other", [{"bbox": [60, 10, 15, 40]}])):
        root = tmp_path / name
        (root / "annotations").mkdir(parents=True)
        (root / "images" / "val").mkdir(parents=True)
        write_image(root / "images" / "val" / "1.png", np.zeros((60, 80, 3), np.uint8))
        body = {"bbox": [10, 10, 40, 40], "area": 800, "segmentation": [[12, 12, 48, 12, 48, 48]]}
        person = {"id": 1, "image_id": 1, "category_id": 1, "keypoints": [20, 20, 2] * 17, **body}
        extra = [{"id": 2, "image_id": 1, "category_id": 1, **each} for each in extra]
        raw = {"images": [{"id": 1, "file_name": "1.png", "height": 60, "width": 80}], "annotations": [person, *extra]}
        (root / "annotations" / "person_keypoints_val.json").write_text(json.dumps(raw | {"categories": []}))
        samples.append(CocoDataset(root, "val").at(0))
    plain, twin, other = samples
    assert twin.valid.all() and np.array_equal(plain.valid, twin.valid) and np.array_equal(plain.person, twin.person)
    assert not other.valid[10:50, 60:75].any() and other.person is None
