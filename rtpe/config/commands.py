"""The settings of each command."""

from __future__ import annotations

from dataclasses import dataclass, field

from rtpe.config.parts import (
    CachePath,
    CacheSettings,
    DataSettings,
    DecodeSettings,
    MoreDataSettings,
    ScoreSettings,
    TeacherSettings,
)
from rtpe.config.training import LossSettings, NetSettings, OptimSettings
from rtpe.limits import DEVICE, FINITE, NULL, SEED, SOME_TEXT, Checked, at_least, each, limited, whole
from rtpe.views import ViewSettings

MANY = 10_000_000  # images: no world is larger


@dataclass(frozen=True)
class Train(Checked):
    """Train a net on labels, on a teacher's cache, or on both.

    Attributes:
        more: further images to learn from, each with the cache of what a teacher said of them.
        out: folder of the run; a run that was stopped there goes on.
        device: auto, cpu or cuda.
    """

    data: DataSettings = field(default_factory=DataSettings)
    more: list[MoreDataSettings] = field(default_factory=list)
    cache: CachePath = field(default_factory=CachePath)
    net: NetSettings = field(default_factory=NetSettings)
    loss: LossSettings = field(default_factory=LossSettings)
    view: ViewSettings = field(default_factory=ViewSettings)
    train: OptimSettings = field(default_factory=OptimSettings)
    decode: DecodeSettings = field(default_factory=DecodeSettings)
    out: str = limited("runs/student", SOME_TEXT)
    device: str = limited("auto", DEVICE)


@dataclass(frozen=True)
class StudyNorms(Train):
    """Train an HRNet with its batch norms and ReLUs and without, with several seeds, and chart the score of each epoch.

    Attributes:
        variants: of default, no_norm_stem, no_norm_act_stem, no_norm and no_norm_act; empty for all.
        seeds: of the trainings of each variant; they stand in for --train.seed.
        jobs: trainings at once.
        out: folder of the runs, the charts and the table; what was trained there is not trained again.
    """

    variants: list[str] = field(default_factory=list)
    seeds: list[int] = limited([0, 1, 2], each(SEED))
    jobs: int = limited(1, at_least(1))
    out: str = limited("runs/norms", SOME_TEXT)


@dataclass(frozen=True)
class CacheBuild(Checked):
    """Run a teacher over all images and keep what it saw; go on where an earlier build stopped.

    Attributes:
        shard: i/n builds the i-th of n parts (1/3, 2/3, 3/3), on machines that share nothing; `rtpe cache merge` joins
            them. Empty builds all, or under torchrun each process its part of one cache.
        device: auto, cpu or cuda.
    """

    data: DataSettings = field(default_factory=DataSettings)
    teacher: TeacherSettings = field(default_factory=TeacherSettings)
    cache: CacheSettings = field(default_factory=CacheSettings)
    decode: DecodeSettings = field(default_factory=DecodeSettings)
    shard: str = ""
    device: str = limited("auto", DEVICE)


@dataclass(frozen=True)
class Validate(Checked):
    """Score teachers, students' weights and caches by OKS and PCK on a labelled split, one row each.

    Attributes:
        weights: a net that says itself what it is (what `rtpe train` writes); short for --teacher.weights.
        compare: several at once: weights, recipes (.yaml with teacher and decode, or a cache) and caches' folders.
        oracle: rows of what nobody could exceed: with the best peaks of these maps, and on their grid.
        per_joint: a table with a row for every joint besides.
        out: JSON file for the table; the results in COCO's format go beside it, and the tables of joints.
        device: auto, cpu or cuda.
    """

    data: DataSettings = field(default_factory=lambda: DataSettings(split="val2017"))
    teacher: TeacherSettings = field(default_factory=TeacherSettings)
    weights: str = ""
    compare: list[str] = field(default_factory=list)
    cache: CachePath = field(default_factory=CachePath)
    decode: DecodeSettings = field(default_factory=DecodeSettings)
    score: ScoreSettings = field(default_factory=ScoreSettings)
    oracle: bool = False
    per_joint: bool = False
    out: str = ""
    device: str = limited("auto", DEVICE)


@dataclass(frozen=True)
class Predict(Checked):
    """Find the people in photographs and videos, labelled or not, by a teacher or a student.

    Attributes:
        weights: a net that says itself what it is (what `rtpe train` writes); short for --teacher.weights.
        out: folder for results.json, in COCO's format, with the file name in every row; and for pictures/.
        least: people of a lower score are left out, 0 keeps all, as AP wants them; by default those below the score
            that the network has for it, see `rtpe validate`, or below .2.
        draw: draw those people over each image.
        device: auto, cpu or cuda.
    """

    data: DataSettings = field(default_factory=DataSettings)
    teacher: TeacherSettings = field(default_factory=TeacherSettings)
    weights: str = ""
    decode: DecodeSettings = field(default_factory=DecodeSettings)
    out: str = limited("runs/predicted", SOME_TEXT)
    least: float | None = limited(None, FINITE | NULL)
    draw: bool = False
    device: str = limited("auto", DEVICE)


@dataclass(frozen=True)
class CacheInfo:
    """Show who made a cache, of what, how exactly, how large it is, and how its people score on the labels there are.

    Those are the labels of the images that it was made of; name others, or another place, by --data.root.

    Attributes:
        out: JSON file for the same.
    """

    cache: CachePath = field(default_factory=CachePath)
    data: DataSettings = field(default_factory=lambda: DataSettings(root=""))
    out: str = ""


@dataclass(frozen=True)
class CacheVerify:
    """Read every byte of a cache and tell what is damaged.

    Attributes:
        repair: drop what is damaged, and only that, so that the next build remakes it.
    """

    cache: CachePath = field(default_factory=CachePath)
    repair: bool = False


@dataclass(frozen=True)
class CacheMerge:
    """Join caches of one teacher into one, without decoding anything.

    Attributes:
        sources: the caches' folders.
    """

    sources: list[str] = field(default_factory=list)
    cache: CachePath = field(default_factory=CachePath)


@dataclass(frozen=True)
class CacheConvert:
    """Write a cache in another store or codec, or make one of a folder of *_w48_predictions.npz files.

    Only those files need --data, the images that they were made from, and --decode, how people are read from them.

    Attributes:
        source: the folder of the cache, or of those files.
    """

    source: str = ""
    cache: CacheSettings = field(default_factory=CacheSettings)
    data: DataSettings = field(default_factory=DataSettings)
    decode: DecodeSettings = field(default_factory=DecodeSettings)


@dataclass(frozen=True)
class CacheImport(Checked):
    """Make a cache of the people in a COCO keypoint results file: whatever predicts poses can teach.

    Its maps are drawn: a Gaussian at each joint, as high as the joint's score.

    Attributes:
        results: JSON file, a list of {image_id or file_name, keypoints, score}; keypoints are x, y and score of each
            joint in turn. Images that it does not name are taken for images without people.
        name: of what found them, for tables; empty for that of the file.
    """

    results: str = ""
    name: str = ""
    data: DataSettings = field(default_factory=DataSettings)
    cache: CacheSettings = field(default_factory=lambda: CacheSettings(codec="poses"))


@dataclass(frozen=True)
class Synth(Checked):
    """Draw the synthetic world: people in poor painters' photographs, as a COCO data set.

    Attributes:
        out: folder to write.
        train: images in train2017.
        val: images in val2017.
        size: side of the square images in pixels.
        seed: the same seed draws the same world.
        workers: processes that draw.
    """

    out: str = limited("datasets/synthetic", SOME_TEXT)
    train: int = limited(2000, whole(0, MANY))
    val: int = limited(200, whole(0, MANY))
    size: int = limited(320, at_least(32))
    seed: int = limited(0, SEED)
    workers: int = limited(2, at_least(0))


@dataclass(frozen=True)
class Demo(Checked):
    """The whole job in small: draw a world, build a cache, train a student, score everything, write a report.

    Attributes:
        out: folder of the demo's run.
        data: folder of the synthetic world.
        train: images to learn from.
        val: images to score on.
        minutes: of training at most.
    """

    out: str = limited("runs/demo", SOME_TEXT)
    data: str = "datasets/demo"
    train: int = limited(2000, at_least(1))
    val: int = limited(200, at_least(1))
    minutes: float = limited(4.0, at_least(0))
