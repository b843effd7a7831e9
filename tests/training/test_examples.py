"""What a training draws: the teacher's word beside an image is about that image."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from rtpe.cache import Cache, Manifest
from rtpe.cache.settings import CachePath
from rtpe.data.coco import fixed_choice
from rtpe.data.load import open_dataset
from rtpe.data.settings import DataSettings, MoreDataSettings, TrainDataSettings
from rtpe.geometry import cells
from rtpe.images import file_bytes
from rtpe.skeleton import COCO17
from rtpe.structures import PoseMaps, Poses, Prediction
from rtpe.synthetic import write_world
from rtpe.training.examples import held_out, shown_examples, training_examples
from rtpe.training.settings import NetSettings, OptimSettings, Train


@pytest.fixture
def settings(tmp_path):
    """Two splits of one numbering; what a cache holds of an image, heat and a person's score, tells which it is."""
    for number, (split, count) in enumerate((("train2017", 6), ("val2017", 3)), 1):
        write_world(str(tmp_path), split, count, number, (64, 64), 0)
        images = open_dataset(DataSettings(root=str(tmp_path), split=split))
        manifest = Manifest({"name": "teller"}, COCO17, source=f"world/{split}", codec="float32")
        with Cache.create(tmp_path / f"cache-{split}", manifest) as cache:
            for image_id, name, file in images.sources():
                maps = PoseMaps(np.full((17, 16, 16), told(split, image_id)), cells(4), (64, 64), COCO17)
                score = np.array([told(split, image_id)])
                people = Poses(np.full((1, 17, 2), 9.0), np.ones((1, 17)), score, COCO17)
                cache.add(image_id, name, Prediction(maps, people), file_bytes(file))
    return Train(
        data=TrainDataSettings(root=str(tmp_path)),
        more=[MoreDataSettings(root=str(tmp_path), split="val2017", cache=str(tmp_path / "cache-val2017"))],
        cache=CachePath(path=str(tmp_path / "cache-train2017")),
        net=NetSettings(size=64),
        train=OptimSettings(holdout=2, pictures=9),
    )


def told(split, image_id):
    return np.float32(image_id / 16 + (split == "val2017") / 2)


@pytest.mark.parametrize("holdout", [2, 0])
def test_beside_an_image_stands_what_was_said_of_it(settings, holdout):
    everything = open_dataset(settings.data)
    chosen, rest = held_out(replace(settings, train=replace(settings.train, holdout=holdout)), everything)
    assert chosen.ids == fixed_choice(everything.ids, holdout)
    examples = training_examples(settings, rest, says=False)
    images, caches = shown_examples(settings, chosen, examples)
    assert len(examples) == 9 - holdout and 0 < len(images) <= (holdout or 9)
    for sample in images:
        part, own_id = images.part(sample.image_id), images.own_id(sample.image_id)
        assert sample.image_id in caches
        assert caches.load(sample.image_id).maps.heatmaps.flat[0] == told(part.split, own_id)
        assert own_id in chosen.ids or not holdout


@pytest.mark.parametrize("own, more", [(0, 0), (0.2, 0), (0, 0.6), (0.2, 0.6), (2, 2)])
def test_a_teachers_doubtful_people_are_none(settings, own, more):
    """Each data set has a threshold of its own, as it may have a teacher of its own."""
    parts = [replace(each, person_threshold=more) for each in settings.more]
    settings = replace(settings, data=replace(settings.data, person_threshold=own), more=parts)
    examples = training_examples(settings, open_dataset(settings.data), says=False)
    for image_id in examples.samples.ids:
        part, own_id = examples.samples.part(image_id), examples.samples.own_id(image_id)
        sure = told(part.split, own_id) >= (own if part.split == "train2017" else more)
        assert len(examples.cache.load(image_id).poses) == sure


@pytest.mark.parametrize("widen, sigmas, spread", [(True, [2.0, 1.5], 1.5), (True, [1.0], 1.0), (False, [1.5], 0.0)])
def test_a_teachers_peaks_are_as_wide_as_those_of_labels(settings, widen, sigmas, spread):
    settings = replace(settings, loss=replace(settings.loss, match_peak_width=widen, sigmas=sigmas))
    assert training_examples(settings, open_dataset(settings.data), says=False).spread == spread


def test_another_split_than_that_of_the_training_holds_out_nothing(settings):
    """Though the images of both are numbered alike, and the training takes but a few of its own."""
    few = replace(settings.data, limit=4)
    other = replace(settings, data=few, train=OptimSettings(holdout=2, holdout_split="val2017"))
    everything = open_dataset(few)
    holdout, rest = held_out(other, everything)
    assert (holdout.split, len(holdout), rest.split, len(rest)) == ("val2017", 2, "train2017", 4)
    assert set(holdout.ids) & set(rest.ids)
    images, caches = shown_examples(other, holdout, training_examples(other, rest, says=False))
    assert len(images) == 2 and caches is None  # the cache is of the training's split


def test_a_split_without_labels_chooses_nothing(settings):
    for_nothing = replace(settings, train=OptimSettings(holdout_split="photos"))
    (open_dataset(settings.data).root / "images" / "photos").mkdir()
    (open_dataset(settings.data).path(0)).rename(open_dataset(settings.data).root / "images" / "photos" / "1.jpg")
    with pytest.raises(ValueError, match=r"train\.holdout_split photos: nobody labelled these images"):
        held_out(for_nothing, open_dataset(settings.data))


def test_without_a_cache_the_images_stand_alone(settings, tmp_path):
    everything = open_dataset(settings.data)
    alone = Train(data=settings.data, net=settings.net, train=OptimSettings(holdout=2, pictures=1))
    examples = training_examples(alone, everything, says=False)
    images, caches = shown_examples(alone, everything.subset(everything.ids[:2]), examples)
    assert len(images) == 1 and caches is None


def test_what_a_training_lacks_is_printed(settings, capsys):
    """A forgotten cache, labels of a share, and a holdout of all images."""
    alone = replace(settings, cache=CachePath(), more=[])
    own = open_dataset(settings.data)
    training_examples(alone, own, says=True)
    assert "no --cache.path: learns from labels alone, without a teacher" in capsys.readouterr().out
    training_examples(replace(alone, loss=replace(alone.loss, teacher=0.0)), own, says=True)
    assert "without a teacher" not in capsys.readouterr().out
    half = replace(settings, data=replace(settings.data, labels=0.5), more=[])
    training_examples(half, own, says=True)
    assert "labels of 3 of 6 images of" in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"all of the images are held out, .* fewer than --train.holdout 2"):
        training_examples(replace(settings, more=[]), own.subset([]), says=True)


@pytest.mark.parametrize("way", ["a copy", "the same split", "a folder of photographs"])
def test_held_out_photographs_are_learnt_from_nowhere(way, settings, tmp_path, capsys):
    """Whatever number, folder or split they have beside the one that they are scored in."""
    everything = open_dataset(settings.data)
    chosen = replace(settings, more=[], cache=CachePath())
    if way == "the same split":
        chosen = replace(chosen, train=OptimSettings(holdout=2, holdout_split="train2017"))
        holdout, own = held_out(chosen, everything)
        assert len(own) == 6
    else:
        holdout, own = held_out(chosen, everything)
        photos = tmp_path / "photos"
        if way == "a copy":
            shutil.copytree(tmp_path / "images" / "train2017", photos / "images" / "val2017")
            (photos / "annotations").mkdir()
            raw = json.loads(everything.annotations.read_text())
            for row in raw["images"]:
                row["id"] += 100
            for row in raw["annotations"]:
                row["image_id"] += 100
            (photos / "annotations" / "person_keypoints_val2017.json").write_text(json.dumps(raw))
            more = MoreDataSettings(root=str(photos), split="val2017")
        else:
            shutil.copytree(tmp_path / "images" / "train2017", photos)
            more = MoreDataSettings(root=str(photos), cache=str(tmp_path / "cache"))
            with Cache.create(tmp_path / "cache", Manifest({"name": "teller"}, COCO17)) as cache:
                for image_id, name, file in open_dataset(more).sources():
                    maps = PoseMaps(np.zeros((17, 16, 16), np.float32), cells(4), (64, 64), COCO17)
                    cache.add(image_id, name, Prediction(maps, Poses.none(COCO17)), file_bytes(file))
            chosen = replace(chosen, cache=settings.cache, loss=replace(chosen.loss, labels=0.0))
        chosen = replace(chosen, more=[more])
    examples = training_examples(chosen, own, True, holdout)
    assert "left out 2 of 6 images of" in capsys.readouterr().out
    held = {(name, file_bytes(source)) for _, name, source in holdout.sources()}
    learnt = [(name, file_bytes(source)) for part in examples.samples.parts for _, name, source in part.sources()]
    assert len(learnt) == (4 if way == "the same split" else 8) and held.isdisjoint(learnt)
