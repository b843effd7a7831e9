"""The Python API: the whole method in a few lines, objects of one's own, and what each of them refuses."""

import re

import numpy as np
import pytest
from film import write_video
from places import PROJECT

import rtpe
from rtpe.errors import UserError
from rtpe.images import encode_jpeg, write_image
from rtpe.skeleton import COCO17
from rtpe.structures import Poses, Prediction, Sample
from rtpe.synthetic import write_world

TEACHER = PROJECT / "models" / "demo_teacher.safetensors"
QUICK = {
    "net.size": 64,
    "train.epochs": 1,
    "train.batch": 2,
    "train.workers": 0,
    "train.holdout": 0,
    "train.pictures": 0,
}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("world")
    for split, count in (("train2017", 6), ("val2017", 3)):
        write_world(str(root), split, count, 0, (96, 96), 0)
    return root


@pytest.fixture(scope="module")
def teacher():
    return rtpe.load(TEACHER, **{"teacher.size": 128})


@pytest.fixture(scope="module")
def cache(world, teacher, tmp_path_factory):
    return rtpe.build_cache(teacher, rtpe.Dataset(world, "train2017"), tmp_path_factory.mktemp("caches") / "t")


def test_the_whole_method(world, tmp_path):
    teacher = rtpe.load(TEACHER, **{"teacher.size": 128})
    data = rtpe.Dataset(world, "train2017")
    cache = rtpe.build_cache(teacher, data, tmp_path / "cache")
    run = rtpe.train("student_xs", data=data, cache=cache, out=tmp_path / "run", **QUICK)
    student = rtpe.load(run.weights)
    scores = rtpe.evaluate(student, rtpe.Dataset(world, "val2017"))
    assert 0 <= scores["AP"] <= 1 and str(scores).startswith("run: AP ") and len(scores.results) >= 0
    assert [row["epoch"] for row in run.history] == [1] and run.scores == {}
    photograph = world / "images" / "val2017" / "000000000001.jpg"
    poses = student.predict(photograph if photograph.exists() else next((world / "images" / "val2017").iterdir()))
    assert isinstance(poses, Poses) and poses.points.shape == (len(poses), 17, 2)


def test_the_readmes_python_runs(world, tmp_path, monkeypatch):
    """As it stands there, but for the teacher, which no clone has, the number of an image, and the time."""
    (block,) = re.findall(r"```python\n(.*?)```", (PROJECT / "README.md").read_text(), re.S)
    data = rtpe.Dataset(world, "train2017")
    for there, here in {
        '"models/human-pose-estimation-0001.onnx", recipe="hpe0001"': f'{str(TEACHER)!r}, **{{"teacher.size": 128}}',
        "cache[139]": f"cache[{data.ids[0]}]",
        '{"train.epochs": 20}': repr(QUICK),
    }.items():
        assert there in block
        block = block.replace(there, here)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets/coco").symlink_to(world)
    write_image("photo.jpg", data.at(0).image)
    write_video(tmp_path / "clip.avi").rename(tmp_path / "clip.mp4")
    names: dict = {}
    exec(compile(block, "README.md", "exec"), names)
    assert names["picture"].shape == names["frame"].shape and isinstance(names["poses"], Poses)


def test_a_cache_answers(cache, world, teacher):
    data = rtpe.Dataset(world, "train2017")
    first = data.ids[0]
    assert first in cache and list(cache) == data.ids and len(cache) == 6
    found = cache[first]
    (live,) = teacher([data[first].image])
    np.testing.assert_allclose(
        found.poses.points, live.poses.points, atol=1e-3
    )  # batches of other sizes add in another order
    assert np.abs(found.maps.heatmaps - live.maps.heatmaps).max() < 0.1
    assert cache.info()["images"] == 6 and cache.verify().entries == 6
    with pytest.raises(UserError, match="holds no image 1000000000: build it for these images"):
        cache[10**9]
    again = rtpe.build_cache(teacher, data, cache.path)
    assert again.ids == cache.ids


def test_a_data_set_answers(world):
    data = rtpe.Dataset(world, "train2017")
    assert len(data) == 6 and data[data.ids[2]].image_id == data.ids[2]
    assert [sample.image_id for sample in data] == data.ids
    few = data.subset(data.ids[1:3])
    assert few.ids == data.ids[1:3] and few[few.ids[1]].file_name == data[few.ids[1]].file_name
    with pytest.raises(KeyError):
        few[data.ids[0]]


def test_one_picture_in_all_its_forms(teacher, world, tmp_path):
    image = rtpe.Dataset(world, "val2017").at(0).image
    write_image(tmp_path / "a.png", image)
    pillow = pytest.importorskip("PIL.Image", reason="Pillow is no requirement")
    forms = [
        tmp_path / "a.png",
        str(tmp_path / "a.png"),
        (tmp_path / "a.png").read_bytes(),
        image,
        pillow.fromarray(image),
    ]
    want = teacher.predict(image)
    for form in forms:
        np.testing.assert_array_equal(teacher.predict(form).points, want.points)
    assert [len(each) for each in teacher.predict(forms)] == [len(want)] * 5
    grey = np.full((40, 60), 99, np.uint8)
    assert teacher.predict(grey).points.shape[1:] == (17, 2) and teacher.predict([]) == []


@pytest.mark.parametrize(
    "picture, said",
    [
        (np.zeros((4, 4, 3)), r"expected a path, bytes, \(H, W, 3\) uint8 RGB or a PIL image, got \(4, 4, 3\) float64"),
        (np.zeros((4, 4, 4), np.uint8), r"got \(4, 4, 4\) uint8"),
        (np.zeros((0, 4, 3), np.uint8), r"got \(0, 4, 3\) uint8"),
        (7, "got int"),
        ("nowhere.jpg", "image nowhere.jpg: No such file"),
        (b"", "image of these bytes: "),
        (b"\xff\xd8\xff\xe0 torn", "image of these bytes: "),
    ],
    ids=["floats", "four channels", "nothing", "a number", "no file", "no bytes", "torn"],
)
def test_what_is_no_picture(teacher, picture, said):
    with pytest.raises(UserError, match=said):
        teacher.predict(picture)


def test_bytes_are_turned_as_files_are(teacher, tmp_path):
    """A photograph of a telephone lies on its side, and its EXIF says so."""
    jpeg = encode_jpeg(np.random.default_rng(0).integers(0, 255, (32, 64, 3), np.uint8))
    exif = b"\xff\xe1\x00\x22Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    (tmp_path / "a.jpg").write_bytes(jpeg[:2] + exif + jpeg[2:])
    for form in (tmp_path / "a.jpg", (tmp_path / "a.jpg").read_bytes()):
        assert rtpe.predictors.pictures.as_image(form).shape == (64, 32, 3)


def test_a_stream_gives_every_frame_in_order(teacher, world):
    folder = world / "images" / "val2017"
    frames = list(teacher.stream(folder))
    names = sorted(folder.iterdir())
    assert len(frames) == len(names) == 3
    for (frame, poses), name in zip(frames, names):
        np.testing.assert_allclose(poses.points, teacher.predict(name).points, atol=1e-3)
        assert frame.shape == (96, 96, 3)


def test_people_leave_in_every_form():
    points = np.tile(np.array([[10.0, 20.0]], np.float32), (17, 1))[None]
    poses = Poses(points, np.full((1, 17), 0.5), [0.7], COCO17)
    (row,) = poses.to_coco(3)
    assert row["keypoints"][:3] == [9.5, 19.5, 0.5] and row["score"] == pytest.approx(0.7) and row["image_id"] == 3
    image = np.zeros((64, 64, 3), np.uint8)
    assert poses.draw(image).any() and not image.any()


class Few:
    """A data set of one's own: two pictures of one colour, a person in the first."""

    skeleton = COCO17

    def __init__(self, ids=(1, 2)):
        self.ids = list(ids)

    def __len__(self):
        return len(self.ids)

    def __getitem__(self, image_id):
        points = np.zeros((int(image_id == 1), 17, 3), np.float32)
        points[..., :] = np.random.default_rng(0).uniform(8, 56, (17, 3)) * [1, 1, 0] + [0, 0, 2]
        image = np.full((64, 64, 3), 40 * image_id, np.uint8)
        return Sample(image_id, f"{image_id}.png", image, points, np.ones((64, 64), np.uint8), COCO17)

    def subset(self, ids):
        return Few([image_id for image_id in self.ids if image_id in set(ids)])


class Oracle:
    """A predictor of one's own, which knows the first picture's person."""

    skeleton = COCO17

    def __init__(self, teacher):
        self.teacher = teacher

    def __call__(self, images):
        told = []
        for image, seen in zip(images, self.teacher(images)):
            points = Few()[1].points[..., :2] if image[0, 0, 0] == 40 else np.zeros((0, 17, 2))
            told.append(Prediction(seen.maps, Poses(points, np.ones(points.shape[:2]), np.ones(len(points)), COCO17)))
        return told

    def describe(self):
        return {"name": "oracle", "weights_sha256": "", "settings": {}}


def test_objects_of_ones_own_fit_in(teacher, tmp_path):
    own = Oracle(teacher)
    assert rtpe.evaluate(own, Few())["AP"] == pytest.approx(1)
    cache = rtpe.build_cache(own, Few(), tmp_path / "cache")
    assert cache.ids == [1, 2] and rtpe.evaluate(cache, Few())["AP"] == pytest.approx(1)
    run = rtpe.train("student_xs", data=Few(), cache=cache, out=tmp_path / "run", **QUICK)
    assert run.weights.is_file()


@pytest.mark.parametrize("part", ["skeleton", "ids", "subset"])
def test_a_data_set_that_lacks_a_part_is_told_which(teacher, part):
    parts = {name: getattr(Few, name, ()) for name in ("skeleton", "subset", "__len__", "__getitem__")} | {"ids": [1]}
    del parts[part]
    with pytest.raises(UserError, match=rf"data set Mine: lacks `{part}`: see rtpe.protocols"):
        rtpe.evaluate(Oracle(teacher), type("Mine", (), parts)())


def test_a_predictor_that_lacks_a_part_is_told_which(tmp_path):
    with pytest.raises(UserError, match=r"predictor function: lacks `skeleton`: see rtpe.protocols"):
        rtpe.build_cache(lambda images: [], Few(), tmp_path / "cache")


@pytest.mark.parametrize(
    "settings, said",
    [
        ({"train.lr": -1}, "train.lr: expected above 0, got -1"),
        ({"train.rate": 1}, "train.rate"),
        ({"train.processes": 2}, "train.processes 2: from Python a training is one process"),
    ],
    ids=str,
)
def test_settings_are_checked_as_those_of_a_command_line(world, tmp_path, settings, said):
    with pytest.raises(UserError, match=said):
        rtpe.train("student_xs", data=rtpe.Dataset(world), out=tmp_path / "run", **settings)


def test_a_recipe_that_there_is_not_names_those_that_there_are():
    with pytest.raises(
        UserError, match=r"recipe student_q: no such file: pass --config FILE.yaml, or one of .*student_s"
    ):
        rtpe.train("student_q")


def test_everything_public_is_there_and_named():
    assert set(rtpe.__all__) <= set(dir(rtpe))
    for name in rtpe.__all__:
        assert getattr(rtpe, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        rtpe.nothing  # noqa: B018
