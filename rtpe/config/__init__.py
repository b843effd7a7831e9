"""Settings: frozen dataclasses, read from recipes and command lines, written beside every result.

rtpe train --config recipes/student_s.yaml --train.lr 2e-4      # a recipe, then what differs from it
rtpe train --config runs/s/settings.yaml --out runs/again       # repeat a recorded run
"""

from rtpe.config.commands import (
    CacheBuild,
    CacheConvert,
    CacheImport,
    CacheInfo,
    CacheMerge,
    CacheVerify,
    Demo,
    Predict,
    StudyNorms,
    Synth,
    Train,
    Validate,
)
from rtpe.config.parts import (
    CachePath,
    CacheSettings,
    CropSettings,
    DataSettings,
    DecodeSettings,
    MoreDataSettings,
    ScoreSettings,
    TeacherSettings,
)
from rtpe.config.reading import as_dict, flat, parse, save
from rtpe.config.training import LossSettings, NetSettings, OptimSettings
from rtpe.views import ViewSettings

__all__ = [
    "CacheBuild",
    "CacheConvert",
    "CacheImport",
    "CacheInfo",
    "CacheMerge",
    "CachePath",
    "CacheSettings",
    "CacheVerify",
    "CropSettings",
    "DataSettings",
    "DecodeSettings",
    "Demo",
    "LossSettings",
    "MoreDataSettings",
    "NetSettings",
    "OptimSettings",
    "Predict",
    "ScoreSettings",
    "StudyNorms",
    "Synth",
    "TeacherSettings",
    "Train",
    "Validate",
    "ViewSettings",
    "as_dict",
    "flat",
    "parse",
    "save",
]
