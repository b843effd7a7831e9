"""Score a teacher, a student or a cache by the same OKS and PCK evaluation.

rtpe validate --config recipes/hpe0001.yaml --data.root datasets/coco --data.split val2017 --out runs/hpe0001.json
rtpe validate --cache.path caches/hpe0001-val --data.root datasets/coco --data.split val2017
rtpe validate --weights runs/s/best.safetensors --data.root datasets/coco --data.split val2017
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from rtpe import build
from rtpe.commands.score import cached_people, predicted_people, score
from rtpe.commands.table import print_table, write_json
from rtpe.config import Validate


def validate(settings: Validate) -> list[dict]:
    """Print the table of scores, write it as JSON, and the results in COCO's format beside it; returns the rows."""
    images = build.dataset(settings.data)
    if images.annotations is None:
        raise ValueError(
            f"data {images.root}: nobody labelled these images, there is nothing to score against: give --data.root a "
            f"folder with annotations/person_keypoints_{settings.data.split}.json"
        )
    skipped: list[str] = []
    rows, results = [], {}
    for name, found in _speakers(settings, images, skipped):
        scores, results[name] = score(found, images)
        rows.append({"name": name, **scores, "images": len(images), "skipped": len(set(skipped))})
    print_table(rows)
    for reason in sorted(set(skipped))[:5]:
        print(f"skipped: {reason}")
    if settings.out:
        write_json(rows, Path(settings.out))
        for name, found in results.items():
            kept = Path(settings.out).with_suffix(f".{name.split(' ')[-1].strip('()')}.results.json")
            kept.write_text(json.dumps(found))
    return rows


def _speakers(settings: Validate, images: build.Images, skipped: list[str]):
    """Name and found people of each row: a cache gives its stored people and, where tags allow it, its maps anew."""
    if settings.cache.path:
        cache = build.cache(settings.cache.path, images)
        name = str(cache.manifest.predictor.get("name", "teacher"))
        yield f"{name} (people)", cached_people(cache, images, skipped)
        if len(cache) and cache.load(cache.ids[0]).maps.tags is not None:
            yield f"{name} (maps)", cached_people(cache, images, skipped, build.decoder(settings.decode))
    else:
        teacher = settings.teacher
        teacher = dataclasses.replace(teacher, weights=settings.weights) if settings.weights else teacher
        predictor = build.predictor(teacher, settings.decode, images.skeleton, build.device(settings.device), images)
        yield predictor.describe()["name"], predicted_people(predictor, images, teacher.batch, skipped)
