"""rtpe: distil heavy human-pose networks into light real-time ones, from a small checked cache.

teacher = rtpe.load("human-pose-estimation-0001.onnx", recipe="hpe0001")
data = rtpe.Dataset("datasets/coco", "train2017")
cache = rtpe.build_cache(teacher, data, "caches/hpe0001")
run = rtpe.train("student_s", data=data, cache=cache, out="runs/s")
print(rtpe.evaluate(rtpe.load(run.weights), rtpe.Dataset("datasets/coco", "val2017")))
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING

from rtpe.version import __version__

# before OpenCV is loaded: a PNG of 100 kB may stand for 2^30 pixels, which with a copy are 6 GB
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(1 << 28))

if TYPE_CHECKING:
    from rtpe.cache import Cache
    from rtpe.data.build_cache import build_cache
    from rtpe.data.load import dataset as Dataset
    from rtpe.errors import UserError
    from rtpe.evaluation.evaluate import Scores, evaluate
    from rtpe.predictors.load import load
    from rtpe.skeleton import Skeleton
    from rtpe.structures import PoseMaps, Poses, Prediction, Sample
    from rtpe.training.from_python import Run, train

__all__ = [
    "Cache",
    "Dataset",
    "PoseMaps",
    "Poses",
    "Prediction",
    "Run",
    "Sample",
    "Scores",
    "Skeleton",
    "UserError",
    "__version__",
    "build_cache",
    "evaluate",
    "load",
    "train",
]

# a module is imported when something of it is asked for: torch alone takes seconds
_FROM = {
    "rtpe.cache": {"Cache": "Cache"},
    "rtpe.data.build_cache": {"build_cache": "build_cache"},
    "rtpe.data.load": {"Dataset": "dataset"},
    "rtpe.errors": {"UserError": "UserError"},
    "rtpe.evaluation.evaluate": {"Scores": "Scores", "evaluate": "evaluate"},
    "rtpe.predictors.load": {"load": "load"},
    "rtpe.skeleton": {"Skeleton": "Skeleton"},
    "rtpe.structures": {name: name for name in ("PoseMaps", "Poses", "Prediction", "Sample")},
    "rtpe.training.from_python": {"Run": "Run", "train": "train"},
}


def __getattr__(name: str) -> object:
    for module, names in _FROM.items():
        if name in names:
            return getattr(import_module(module), names[name])
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
