"""The embedded world on disk: an ordinary COCO keypoint data set."""

from __future__ import annotations

import json
import signal
import zlib
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
from pycocotools import mask as coco_mask
from tqdm import tqdm

from rtpe.errors import UserError
from rtpe.files import write_file
from rtpe.geometry import point_to_index
from rtpe.images import encode_jpeg
from rtpe.plain import read_json
from rtpe.skeleton import COCO17

from .scene import Person, Scene, draw_scene

WORLD_VERSION = 3  # raise it when the same seed no longer draws the same pictures
QUALITIES = (40, 96)  # of the JPEG files
CATEGORY = {
    "id": 1,
    "name": "person",
    "supercategory": "person",
    "keypoints": list(COCO17.joints),
    "skeleton": [[a + 1, b + 1] for a, b in COCO17.limbs],
}


def write_world(
    root: str | Path,
    split: str,
    count: int,
    seed: int,
    size_hw: tuple[int, int] = (320, 320),
    workers: int = 0,
    progress: bool = True,
) -> Path:
    """Write `count` scenes as root/images/<split>/*.jpg and root/annotations/person_keypoints_<split>.json.

    Image i has its own generator, made of seed, split and i: the files do not depend on the number of workers
    (0: this process draws), and two splits share no image. The annotations appear last and at once: where they are, the
    set is complete.

    Returns:
        the annotation file. A finished set with the same settings is kept as it is.

    Raises:
        UserError: if a finished set with other settings is there.
    """
    root = Path(root)
    settings = {"world": WORLD_VERSION, "split": split, "count": count, "seed": seed, "size_hw": list(size_hw)}
    target = root / "annotations" / f"person_keypoints_{split}.json"
    if target.exists():
        _check_settings(target, settings)
        return target
    folder = root / "images" / split
    folder.mkdir(parents=True, exist_ok=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    draw = partial(_write_scene, folder, seed, zlib.crc32(split.encode()), tuple(size_hw))
    images, annotations = [], []
    for image, people in tqdm(_in_order(draw, count, workers), f"drawing {split}", count, disable=not progress):
        images.append(image)
        annotations += people
    for index, annotation in enumerate(annotations, 1):
        annotation["id"] = index
    dataset = {
        "info": {
            "description": "rtpe's embedded world: drawn people",
            "version": str(WORLD_VERSION),
            "settings": settings,
        },
        "licenses": [],
        "images": images,
        "annotations": annotations,
        "categories": [CATEGORY],
    }
    write_file(target, json.dumps(dataset))
    return target


def _check_settings(target: Path, wanted: dict) -> None:
    try:
        found = read_json(target)["info"]["settings"]
        pairs = [(name, found.get(name), value) for name, value in wanted.items()]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{target}: was not drawn by rtpe synth: choose another root or split, or delete it") from error
    differing = [f"{name} {got}, not {value}" for name, got, value in pairs if got != value]
    if differing:
        raise UserError(f"{target}: holds {'; '.join(differing)}: choose another root or split, or delete it")


def _in_order(draw, count: int, workers: int) -> Iterator[tuple[dict, list[dict]]]:
    """draw(0), draw(1), ... by that many processes."""
    if not workers:
        yield from map(draw, range(count))
        return
    # spawned, for a forked child of a process with threads (torch) may hang
    with ProcessPoolExecutor(workers, get_context("spawn"), cv2.setNumThreads, (0,)) as pool:
        try:
            with _uninterrupted():
                drawn = pool.map(draw, range(count), chunksize=max(1, min(16, count // (4 * workers))))
            yield from drawn
        except BrokenProcessPool as error:
            raise UserError(
                "a process that draws was killed, perhaps for want of memory: pass fewer --workers, or --workers 0"
            ) from error


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Processes that begin meanwhile never hear of Ctrl-C, which would be a traceback while they import.

    Whoever began them ends them.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _write_scene(
    folder: Path, seed: int, split_key: int, size_hw: tuple[int, int], index: int
) -> tuple[dict, list[dict]]:
    """Draw and write image `index`; returns its COCO image record and its annotations, still without their ids."""
    rng = np.random.default_rng([seed, split_key, index])
    scene, image_id = draw_scene(rng, size_hw), index + 1
    path = folder / f"{image_id:012d}.jpg"
    write_file(path, encode_jpeg(scene.image, int(rng.integers(*QUALITIES))), durable=False)
    image = {"id": image_id, "file_name": path.name, "height": size_hw[0], "width": size_hw[1], "license": 0}
    return image, annotations_of(scene, image_id)


def annotations_of(scene: Scene, image_id: int) -> list[dict]:
    """COCO's records of the people in a scene, without ids."""
    return [_annotation(person, image_id) for person in scene.people]


def _annotation(person: Person, image_id: int) -> dict:
    labelled = person.keypoints[:, 2] > 0
    keypoints = person.keypoints.astype(np.float64)
    keypoints[labelled, :2] = np.round(point_to_index(keypoints[labelled, :2]), 2)
    record = {
        "image_id": image_id,
        "category_id": 1,
        "keypoints": [int(value) if value == int(value) else value for value in keypoints.ravel().tolist()],
        "num_keypoints": int(labelled.sum()),
        "bbox": list(person.box_xywh),
        "area": person.area,
        "iscrowd": int(person.crowd),
        "segmentation": _run_lengths(person.mask) if person.crowd else _outlines(person),
    }
    if not person.crowd:
        record["joints_3d"] = person.joints_3d.astype(np.float64).round(4).tolist()
    return record


def _run_lengths(mask: np.ndarray) -> dict:
    code = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": list(code["size"]), "counts": code["counts"].decode("ascii")}


def _outlines(person: Person) -> list[list[float]]:
    """Polygons around the pieces of the mask; slivers, which are none, only count where there is nothing else."""
    contours, _ = cv2.findContours(person.mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    found = [contour.astype(float).ravel().tolist() for contour in contours if len(contour) >= 3]
    x, y, w, h = person.box_xywh
    return found or [[x, y, x + w, y, x + w, y + h, x, y + h]]
