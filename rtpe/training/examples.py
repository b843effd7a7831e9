"""What a training learns from: images, the labels of some, and what teachers said of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import PurePath

from rtpe.cache import Cache, refuse_other_images
from rtpe.data.coco import fixed_choice
from rtpe.data.concat import Concat, ConcatCaches
from rtpe.data.distill import TrainingExamples
from rtpe.data.load import Images, open_cache, open_dataset
from rtpe.data.settings import TrainDataSettings
from rtpe.errors import UserError
from rtpe.images import file_bytes
from rtpe.report.pictures import spread_out
from rtpe.training.settings import LossSettings, Train

STRIDE = 4  # of the maps of nets that do not say another


def without_labels(settings: Train, says: bool) -> Train:
    """The settings without what needs labels: the teacher's people serve instead.

    Raises:
        UserError: if there is no teacher to learn from either.
    """
    if not (settings.cache.path and settings.loss.teacher):
        missing = "--loss.teacher above 0" if settings.cache.path else "--cache.path, which `rtpe cache build` makes"
        raise UserError(f"data {settings.data.root}: nobody labelled these images, a teacher must: pass {missing}")
    unscored = replace(settings.train, holdout=0, holdout_split="")
    bare = replace(settings, loss=replace(settings.loss, labels=0.0), train=unscored)
    if says and bare != settings:
        print(
            f"data {settings.data.root}: no labels, the teacher's people serve instead: trains with --loss.labels 0 "
            "and --train.holdout 0, the last epoch is kept",
            flush=True,
        )
    return bare


def held_out(settings: Train, everything: Images, says: bool = True) -> tuple[Images, Images]:
    """The images that choose the best epoch, and those to learn from.

    Raises:
        UserError: if the former are of a split without labels.
    """
    count, split = settings.train.holdout, settings.train.holdout_split
    if not split:
        holdout = everything.subset(fixed_choice(everything.ids, count))
        _tell_unlabelled(holdout, says)
        return holdout, everything.subset(sorted(set(everything.ids) - set(holdout.ids)))
    other = open_dataset(replace(settings.data, split=split, limit=0))
    if other.annotations is None:
        raise UserError(f"train.holdout_split {split}: nobody labelled these images: choose a split with labels")
    holdout = other.subset(fixed_choice(other.ids, count))
    _tell_unlabelled(holdout, says)
    return holdout, everything


def _tell_unlabelled(holdout: Images, says: bool) -> None:
    if says and len(holdout) and not holdout.labels.labelled(holdout.ids):
        print(
            f"train.holdout: none of the {len(holdout)} held-out images has labelled people: the last epoch is kept",
            flush=True,
        )


def training_examples(settings: Train, own: Images, says: bool, holdout: Images | None = None) -> TrainingExamples:
    """What is trained on: these images of `--data` and all of `--more`, what is left out counted and said.

    Args:
        holdout: whose photographs are left out, under whatever number they are there.

    Raises:
        UserError: if there is no image, only some of them have a cache, or a cache has none of its images.
    """
    sets = [(own, settings.data, settings.cache.path)]
    sets += [(open_dataset(each), each, each.cache) for each in settings.more]
    if settings.loss.labels:
        for images, each, _ in sets:
            _refuse_without_labels(images, each)
    if says and settings.loss.teacher and not any(path for _, _, path in sets):
        print("no --cache.path: learns from labels alone, without a teacher", flush=True)
    held = {} if holdout is None else _files(holdout)
    parts = [_part(_without(images, held, says), each, path, says) for images, each, path in sets]
    size, labels = settings.net.size, settings.loss.labels != 0
    joined = Concat([images for images, _ in parts])
    thresholds = [each.person_threshold for each in (settings.data, *settings.more)]
    caches = _caches(joined, [cache for _, cache in parts], thresholds)
    examples = TrainingExamples(
        joined,
        (size, size),
        stride(settings),
        caches,
        labels,
        settings.augment,
        settings.train.seed,
        spread(settings.loss),
        person=settings.loss.person != 0,
    )
    if not len(examples):
        raise UserError(
            f"data {settings.data.root}: all of the images are held out, no image to learn from: give --data.split "
            f"more images, or hold out fewer than --train.holdout {settings.train.holdout}"
        )
    return examples


def spread(loss: LossSettings) -> float:
    """As wide as this, a deviation in cells, are a teacher's peaks at least; 0 leaves them as they are."""
    return min(loss.sigmas) if loss.match_peak_width else 0.0


def stride(settings: Train) -> int:
    """Of the grid on which masks and teacher maps are handed over; coarser and finer levels are resized from it."""
    return settings.net.numbers.get("stride", STRIDE)


def shown_examples(settings: Train, holdout: Images, examples: TrainingExamples) -> tuple[Concat, ConcatCaches | None]:
    """A few images to draw, of the holdout if there is one, and what a teacher said of them."""
    if not len(holdout):
        return spread_out(examples.samples, settings.train.pictures), examples.cache
    held_out = Concat([holdout])
    path = settings.cache.path
    own = path and not settings.train.holdout_split  # a cache is of one split
    if not own:
        return spread_out(held_out, settings.train.pictures), None
    cache = Cache.open(path)  # it may have none of these few
    refuse_other_images(cache, holdout.sources())
    return spread_out(held_out, settings.train.pictures), ConcatCaches(held_out, [cache])


def _files(images: Images) -> dict[tuple[str, int | None], int]:
    """The names and sizes of files, without folders, and how many there are of each."""
    return Counter((PurePath(name).name, file_bytes(source)) for _, name, source in images.sources())


def _without(images: Images, held: Mapping[tuple[str, int | None], int], says: bool) -> Images:
    """The images but for those that are held out, from whatever folder: no net is scored by what it has learnt."""
    names = {name for name, _ in held}
    learnt = [
        image_id
        for image_id, name, source in images.sources()
        if PurePath(name).name in names and (PurePath(name).name, file_bytes(source)) in held
    ]
    if says and learnt:
        print(f"left out {len(learnt)} of {len(images)} images of {images.root.name}/{images.split}: they are held out")
    return images.subset(set(images.ids) - set(learnt)) if learnt else images


def _part(images: Images, settings: TrainDataSettings, path: str, says: bool) -> tuple[Images, Cache | None]:
    """With its share of labels, those of which something is known: what a teacher said, or without one a label."""
    images = images.with_share_of_labels(settings.labels)
    cache = open_cache(path, images) if path else None
    known = set(images.ids) - images.bare if cache is None else set(images.ids) & set(cache.ids)
    name = f"{images.root.name}/{images.split}"
    if says and len(known) < len(images):
        why = "have no labels" if cache is None else f"are not in the cache {path}"
        print(f"left out {len(images) - len(known)} of {len(images)} images of {name}: they {why}", flush=True)
    if says and cache is not None and 0 < len(images.bare) < len(images):
        print(f"labels of {len(images) - len(images.bare)} of {len(images)} images of {name} are used", flush=True)
    return images.subset(known), cache


def _refuse_without_labels(images: Images, settings: TrainDataSettings) -> None:
    """Labels are to be learnt, and there are none: every image would count as one without people."""
    if images.labels is not None and settings.labels and len(images) and not images.labels.labelled(images.ids):
        raise UserError(
            f"annotations {images.labels.file}: none of the people on these {len(images)} images has labelled joints: "
            "are they person_keypoints_..., not instances_...? To learn without labels pass --loss.labels 0, or "
            "labels: 0"
        )


def _caches(images: Concat, caches: Sequence[Cache | None], thresholds: Sequence[float]) -> ConcatCaches | None:
    lacking = [part for part, cache in zip(images.parts, caches) if cache is None]
    if len(lacking) == len(caches):
        return None
    if lacking:
        raise UserError(f"data {lacking[0].root}: has no cache, others have: build one, and name it beside the data")
    return ConcatCaches(images, caches, thresholds)
