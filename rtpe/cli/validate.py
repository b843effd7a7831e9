"""Score teachers, students and caches by the same OKS and PCK evaluation.

rtpe validate --config hpe0001 --data.root datasets/coco --data.split val2017 --out runs/hpe0001.json
rtpe validate --cache.path caches/hpe0001-val --data.root datasets/coco --data.split val2017
rtpe validate --weights runs/s/best.safetensors --data.root datasets/coco --data.split val2017 --oracle

Several in one table; a row that fails says why, the others are scored, and the exit status is 2:

rtpe validate --compare hpe0001 runs/s/best.safetensors caches/hpe0001-val --out runs/all.json
"""

from __future__ import annotations

from rtpe.evaluation.settings import Validate


def run(settings: Validate) -> None:
    """Print the table of scores, and write it if asked to."""
    from rtpe.evaluation.run import validate

    validate(settings)
