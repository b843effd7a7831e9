"""Every command that takes a cache refuses one of other images, in one line, before it gives a score or a loss."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from film import write_video
from miniature import cache_of, samples, teach

from rtpe.cache import Cache, Manifest
from rtpe.cache.settings import CacheSettings
from rtpe.cli import main
from rtpe.cli.cache_build import CacheBuild, run
from rtpe.data.distill import TrainingExamples
from rtpe.data.load import open_cache, open_dataset
from rtpe.data.settings import TrainDataSettings
from rtpe.geometry import cells
from rtpe.images import file_bytes, write_image
from rtpe.nets.create import create_net
from rtpe.nets.metadata import save_net
from rtpe.skeleton import COCO17
from rtpe.structures import PoseMaps, Poses, Prediction
from rtpe.training.examples import held_out, shown_examples, training_examples
from rtpe.training.settings import NetSettings, OptimSettings, Train

NAMES = [f"{number:012d}.png" for number in (2261, 3156, 7, 42, 139, 285)]
KEYPOINTS = [20, 20, 2, 40, 20, 2, 30, 40, 2] + [0, 0, 0] * 14


def write_data(root, names=NAMES, ids=None, seed=0, split="val2017", size_hw=(64, 64)):
    """A labelled data set of one person an image, whose pixels, and so the sizes of its files, are of that seed."""
    rng = np.random.default_rng(seed)
    (root / "images" / split).mkdir(parents=True)
    (root / "annotations").mkdir(exist_ok=True)
    ids = list(range(1, len(names) + 1)) if ids is None else ids
    for name in names:
        grey = rng.integers(0, 200, (*size_hw, 3), np.uint8) // rng.integers(1, 60)
        write_image(root / "images" / split / name, grey.astype(np.uint8))
    half = size_hw[0] // 32  # of a side of 64
    keypoints = (np.array(KEYPOINTS).reshape(17, 3) * [half / 2, half / 2, 1]).ravel().tolist()
    people = [
        {"id": i, "image_id": i, "category_id": 1, "iscrowd": 0, "bbox": [5 * half, 5 * half, 20 * half, 20 * half],
         "area": 400.0 * half**2, "keypoints": keypoints, "num_keypoints": 3} for i in ids
    ]  # fmt: skip
    labels = {
        "images": [
            {"id": i, "file_name": name, "height": size_hw[0], "width": size_hw[1]} for i, name in zip(ids, names)
        ],
        "annotations": people,
        "categories": [{"id": 1, "name": "person", "keypoints": list(COCO17.joints)}],
    }
    (root / f"annotations/person_keypoints_{split}.json").write_text(json.dumps(labels))
    return root


def write_cache(path, settings, **recorded):
    """A perfect teacher's cache of these data: people where their labels are."""
    images = open_dataset(settings)
    data = {name: getattr(settings, name) for name in ("root", "split", "skeleton")} | recorded
    manifest = Manifest({"name": "teller"}, COCO17, source="elsewhere/2017", codec="float32", settings={"data": data})
    points = np.array(KEYPOINTS, np.float32).reshape(1, 17, 3)
    people = Poses(points[..., :2], points[..., 2] / 2, np.ones(1), COCO17)
    with Cache.create(path, manifest) as cache:
        for image_id, name, file in images.sources():
            image = open_dataset(settings)[image_id].image
            maps = PoseMaps(np.full((17, 16, 16), 0.1, np.float32), cells(4), image.shape[:2], COCO17)
            cache.add(image_id, name, Prediction(maps, people), file_bytes(file))
    return path


@pytest.fixture
def data(tmp_path):
    return write_data(tmp_path / "data")


@pytest.fixture
def cache(tmp_path, data):
    return write_cache(tmp_path / "cache", of(data))


def of(root, split="val2017", **changes):
    return TrainDataSettings(root=str(root), split=split, **changes)


HERE = "--data.root={data} --data.split=val2017 --cache.path={cache}"
COMMANDS = {
    "train": f"train {HERE} --train.holdout=0",
    "validate": f"validate {HERE}",
    "validate, oracle": f"validate {HERE} --oracle=true",
    "compare": "validate --data.root={data} --data.split=val2017 --compare=[{cache}]",
    "info": f"cache info {HERE}",
}
OTHERS = {
    "numbered 2 to 6, 1": ({"ids": [2, 3, 4, 5, 6, 1]}, "1 is 000000002261.png there and 000000000285.png here: pass"),
    "another task, numbered from 1": (
        {"names": ["frame_1.png", "frame_2.png", "frame_3.png"]},
        "1 is 000000002261.png there and frame_1.png here: pass the --cache.path of these images",
    ),
    "in a folder of their own": (
        {"names": [f"coco_{name}" for name in NAMES]}, "1 is 000000002261.png there and coco_000000002261.png here"
    ),
    "rendered with another seed": ({"seed": 9}, "bytes, 000000002261.png here has "),
    "resized": ({"size_hw": (32, 32)}, "bytes, 000000002261.png here has "),
}  # fmt: skip


def refused(words, capsys):
    """The one line on which a command ends; it has neither scored nor trained before."""
    assert main(words) == 2
    said = capsys.readouterr()
    assert "AP" not in said.out.split()
    assert "epoch" not in said.out and said.err.count("error:") == 1
    return said.out + said.err


@pytest.mark.parametrize("case", OTHERS)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_cache_of_other_images_is_refused(tmp_path, cache, capsys, case, command):
    changes, line = OTHERS[case]
    other = write_data(tmp_path / "other", **changes)
    words = COMMANDS[command].format(data=other, cache=cache).split()
    words += [f"--out={tmp_path / 'out'}"] if words[0] == "train" else []
    said = refused(words, capsys)
    assert f"cache {cache}: image " in said and line in said
    assert not (tmp_path / "out" / "last.pt").exists()


@pytest.mark.parametrize("case", OTHERS)
def test_one_of_further_data_sets_is_refused(tmp_path, data, cache, capsys, case):
    """Each by its own cache."""
    changes, line = OTHERS[case]
    other = write_data(tmp_path / "other", **changes)
    words = [
        "train",
        f"--data.root={data}",
        "--data.split=val2017",
        f"--cache.path={cache}",
        f"--out={tmp_path / 'out'}",
    ]
    said = refused([*words, "--train.holdout=0", f"--more=[{{root: {other}, split: val2017, cache: {cache}}}]"], capsys)
    assert f"cache {cache}: image " in said and line in said


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    numbers = {"width": 16, "stem": 16, "bottlenecks": 1, "modules": [1, 1, 1], "blocks": 1, "head_blocks": 0}
    path = tmp_path_factory.mktemp("net") / "net.safetensors"
    torch.manual_seed(0)
    save_net(path, create_net("higher_hrnet", numbers, 17), "higher_hrnet", COCO17, 64, {})
    return path


@pytest.mark.parametrize("case", OTHERS)
def test_a_build_does_not_keep_entries_of_other_images(tmp_path, data, weights, capsys, case):
    changes, line = OTHERS[case]
    words = ["cache", "build", "--data.split=val2017", f"--teacher.weights={weights}", f"--cache.path={tmp_path / 'c'}"]
    assert main([*words, f"--data.root={data}", "--data.limit=3"]) == 0
    other = write_data(tmp_path / "other", **changes)
    said = refused([*words, f"--data.root={other}"], capsys)
    assert line in said
    assert len(Cache.open(tmp_path / "c")) == 3
    assert main([*words, f"--data.root={data}"]) == 0
    assert "3 built, 3 kept" in capsys.readouterr().out


def test_every_process_looks_at_the_whole_cache(tmp_path, data, weights, monkeypatch):
    """Each writes to a part of its own, which has none of the images yet."""
    from rtpe.cache.sharding import Shard

    settings = CacheBuild(data=of(data), cache=CacheSettings(path=str(tmp_path / "c")))
    settings = replace(settings, teacher=replace(settings.teacher, weights=str(weights)))
    run(settings)
    monkeypatch.setattr("rtpe.cache.sharding.shard_of", lambda shard: Shard(0, 1, together=True))
    for name, value in {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29719", "RANK": "0", "WORLD_SIZE": "1"}.items():
        monkeypatch.setenv(name, value)
    run(settings)
    other = write_data(tmp_path / "other", seed=9)
    with pytest.raises(ValueError, match="image 1 was made of a file of"):
        run(replace(settings, data=of(other)))
    assert len(Cache.open(tmp_path / "c")) == 6


SAME = {
    "themselves": lambda root: of(root),
    "in a folder of another name": lambda root: of(root.rename(root.with_name("moved"))),
    "below another folder": lambda root: of(shutil.copytree(root, root.parent / "deep/er/data")),
    "a split of another name": lambda root: of(write_data(root.parent / "again", split="holdout"), split="holdout"),
    "some of them": lambda root: of(root, limit=2),
}


@pytest.mark.parametrize("case", SAME)
@pytest.mark.parametrize("command", ["validate", "info"])
def test_the_same_images_fit_wherever_they_lie(data, cache, capsys, case, command):
    now = SAME[case](data)
    words = {"validate": ["validate"], "info": ["cache", "info"]}[command]
    words += [f"--data.root={now.root}", f"--data.split={now.split}", f"--data.limit={now.limit}"]
    assert main([*words, f"--cache.path={cache}"]) == 0
    said = capsys.readouterr().out
    assert "1.000" in said if command == "validate" else "AP of its people" in said


def test_labels_alone_are_enough_for_a_score(data, cache, capsys):
    shutil.rmtree(data / "images")
    assert main(["validate", f"--data.root={data}", "--data.split=val2017", f"--cache.path={cache}"]) == 0
    assert "1.000" in capsys.readouterr().out


def test_a_cache_without_any_of_the_images_gives_no_score(tmp_path, cache, capsys):
    other = write_data(tmp_path / "other", ids=[11, 12, 13, 14, 15, 16])
    said = refused(COMMANDS["validate"].format(data=other, cache=cache).split(), capsys)
    assert (
        f"cache {cache}: has no image of other/val2017: it was made of elsewhere/2017: pass another --cache.path"
        in said
    )


@pytest.mark.parametrize("case", ["numbered 2 to 6, 1", "rendered with another seed"])
def test_the_held_out_images_are_compared_too(tmp_path, data, cache, case):
    """Of which pictures are drawn with what the teacher found, though nothing is learnt from them."""
    settings = Train(data=of(data), cache=CacheSettings(path=str(cache)), net=NetSettings(size=64),
                     train=OptimSettings(holdout=2, pictures=9))  # fmt: skip
    holdout, rest = held_out(settings, open_dataset(settings.data))
    examples = training_examples(settings, rest, says=False)
    assert len(shown_examples(settings, holdout, examples)[0]) == 2
    changes, _ = OTHERS[case]
    others, _ = held_out(settings, open_dataset(of(write_data(tmp_path / "other", **changes))))
    with pytest.raises(ValueError, match=r"pass the --cache\.path of these images"):
        shown_examples(settings, others, examples)


def test_photographs_without_labels_may_be_replaced_by_others(tmp_path):
    """Their numbers are made of their names."""
    photographs = tmp_path / "photos"
    for number in (1, 2):
        write_image(photographs_path(photographs, f"{number}.png"), np.full((32, 32, 3), number, np.uint8))
    settings = Train(data=of(photographs), cache=CacheSettings(path=str(tmp_path / "c")), net=NetSettings(size=64))
    write_cache(tmp_path / "c", settings.data)
    assert len(training_examples(settings, open_dataset(settings.data), says=False)) == 2
    write_image(photographs / "2.png", np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8))
    with pytest.raises(ValueError, match=r"was made of a file of \d+ bytes, 2.png here has 3,"):
        training_examples(settings, open_dataset(settings.data), says=False)


def photographs_path(folder, name):
    folder.mkdir(exist_ok=True)
    return folder / name


def test_a_video_may_be_replaced_by_another(tmp_path):
    (tmp_path / "films").mkdir()
    write_video(tmp_path / "films/a.avi", 6)
    settings = of(tmp_path / "films", frame_stride=2)
    write_cache(tmp_path / "c", settings)
    assert len(open_cache(str(tmp_path / "c"), open_dataset(settings))) == 3
    write_video(tmp_path / "films/a.avi", 8)
    with pytest.raises(ValueError, match=r"was made of a file of [\d,]+ bytes, a.avi#000000 here has"):
        open_cache(str(tmp_path / "c"), open_dataset(settings))


def test_a_crop_is_another_one_when_its_box_has_moved(tmp_path, data):
    """Of the same file, the same size and under the same number."""
    settings = of(data, crops=1.0)
    write_cache(tmp_path / "c", settings)
    open_cache(str(tmp_path / "c"), open_dataset(settings))
    file = data / "annotations/person_keypoints_val2017.json"
    file.write_text(file.read_text().replace("[10, 10, 40, 40]", "[12, 10, 40, 40]"))
    said = r"image 4096 is 000000002261.png#0:10,10,50,50 there and 000000002261.png#0:12,10,52,50 here"
    with pytest.raises(ValueError, match=said):
        open_cache(str(tmp_path / "c"), open_dataset(settings))
    with pytest.raises(ValueError, match="has no image of"):
        open_cache(str(tmp_path / "c"), open_dataset(of(data)))


@pytest.mark.parametrize("reduction", [1, 2])
def test_maps_of_an_image_of_another_size_teach_nothing(tmp_path, reduction):
    """Where only the size tells: maps would lie beside what they show."""
    (photograph,) = samples(1, (60, 64))
    told = teach(photograph.image)
    turned = replace(told, maps=replace(told.maps, image_hw=(64, 60)))
    small = replace(
        photograph, image=photograph.image[::2, ::2], valid=photograph.valid[::2, ::2], person=None, reduction=2
    )
    shown = photograph if reduction == 1 else small
    for prediction, said in [(told, None), (turned, "1.png: has 64 x 60 pixels here, and 60 x 64 where the teacher's")]:
        cache = cache_of(tmp_path / str(prediction.maps.image_hw), {1: prediction})
        examples = TrainingExamples([shown], (64, 64), 4, cache)
        if said:
            with pytest.raises(ValueError, match=said):
                examples[0, 0]
        else:
            assert examples[0, 0]["teacher"].any()


RECORDED = {
    "a setting that there is no more": {"fill": 3, "minimum": {"score": 2}},
    "one of another kind": {"limit": "none", "crops": None, "every": {"frame": 2}},
    "fewer": {"split": "val2017"},
    "a whole number for a part": {"crops": 0, "labels": 1},
}


@pytest.mark.parametrize("case", RECORDED)
def test_info_of_a_cache_that_another_version_made(tmp_path, data, capsys, case):
    cache = write_cache(tmp_path / "c", of(data), **RECORDED[case])
    assert main(["cache", "info", f"--cache.path={cache}"]) == 0
    assert "AP of its people" in capsys.readouterr().out


@pytest.mark.parametrize(
    "settings", [{}, {"data": None}, {"data": "coco"}, {"data": {"root": 3}}, {"data": {"root": ""}}]
)
def test_info_of_a_cache_that_says_nothing_of_its_data(tmp_path, data, capsys, settings):
    cache = write_cache(tmp_path / "c", of(data))
    replace(Cache.open(cache).manifest, settings=settings).write(cache)
    assert main(["cache", "info", f"--cache.path={cache}"]) == 0
    assert "AP" not in capsys.readouterr().out


def test_info_where_other_images_are_now(tmp_path, data, cache, capsys):
    """What it holds is told all the same; it is not scored on labels that are not its own."""
    shutil.rmtree(data)
    write_data(data, seed=9)
    assert main(["cache", "info", f"--cache.path={cache}"]) == 0
    said = capsys.readouterr().out
    assert (
        "AP" not in said and "scores" in said and "none: cache " in said and "bytes, 000000002261.png here has" in said
    )
    (data / "annotations/person_keypoints_val2017.json").write_text("{")
    assert main(["cache", "info", f"--cache.path={cache}"]) == 0
    assert "none: " in capsys.readouterr().out
