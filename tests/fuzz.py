"""Change files at random and read them: each is read, or refused in one line, soon and in little memory.

    python tests/fuzz.py                                    # some hundred cases of all readers
    python tests/fuzz.py --cases 10000 --readers recipe,onnx
    python tests/fuzz.py --seed 7 --cases 1 --readers skeleton --keep broken    # keeps the files that a reader fails at

The same seed and case make the same file. Prints one JSON object a reader: cases, refused, faults, hangs.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import resource
import signal
import struct
import sys
import tempfile
import traceback
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from places import PROJECT

from rtpe.decode.settings import DecodeSettings
from rtpe.nets.create import create_net
from rtpe.predictors.load import load_predictor
from rtpe.predictors.settings import TeacherSettings
from rtpe.settings.parse import as_dict, flat, parse_settings
from rtpe.training.net import imitated_stem, trainable_net
from rtpe.training.settings import NetSettings, Train

SECONDS = 10  # a case; on an idle machine the slowest takes a tenth of one
MEMORY = 4 << 30  # bytes of address space beside what the libraries take
ODD = (
    None, True, 0, -1, 1, 2**31, 2**63, 10**400, 1e308, float("nan"), float("inf"), "", "x", "\0", "\U0001f600",
    "9" * 30,
    [], {}, [[]], [None], {"a": 1}, [1] * 99, {"class_path": "os.system", "init_args": {}}, "../../x", "/dev/zero",
)  # fmt: skip


class Hang(BaseException):
    """No Exception: nothing that a reader catches."""


def changed_bytes(raw: bytes, rng: np.random.Generator) -> bytes:
    """The bytes with a bit, a byte, a run or the end changed, up to four times."""
    for _ in range(rng.integers(1, 5)):
        at, count = int(rng.integers(len(raw) + 1)), int(2 ** rng.integers(0, 8))
        head, tail = raw[:at], raw[at + count :]
        match int(rng.integers(6)):
            case 0:
                raw = head
            case 1:
                raw = head + rng.bytes(count) + tail
            case 2:
                raw = head + tail
            case 3:
                raw = head + raw[max(0, at - count) : at] * int(rng.integers(1, 9)) + raw[at:]
            case 4:
                raw = head + bytes([rng.choice([0, 1, 127, 128, 255])]) * count + tail
            case _:
                raw = head + bytes(each ^ 1 << int(rng.integers(8)) for each in raw[at : at + 1]) + raw[at + 1 :]
    return raw


def changed_values(value, rng: np.random.Generator):
    """Plain values with one of them, at any depth, gone, doubled, or something odd."""
    if rng.random() < 0.15 or not value or not isinstance(value, list | dict):
        return ODD[rng.integers(len(ODD))]
    places = list(value) if isinstance(value, dict) else list(range(len(value)))
    place = places[rng.integers(len(places))]
    new = value.copy()
    kind = rng.random()
    if kind < 0.15:
        del new[place]
    elif kind < 0.25 and isinstance(new, list):
        new.append(new[place])
    elif kind < 0.25:
        new[str(ODD[rng.integers(len(ODD))])] = new[place]
    else:
        new[place] = changed_values(new[place], rng)
    return new


def of_json(value, name: str) -> Callable:
    """A file of plain values, changed as values or as bytes."""

    def write(folder: Path, rng: np.random.Generator) -> Path:
        path = folder / name
        if rng.random() < 0.7:
            new = value
            for _ in range(rng.integers(1, 4)):
                new = changed_values(new, rng)
            path.write_text(json.dumps(new), "utf-8")
        else:
            path.write_bytes(changed_bytes(json.dumps(value).encode(), rng))
        return path

    return write


def of_bytes(raw: bytes, name: str) -> Callable:
    def write(folder: Path, rng: np.random.Generator) -> Path:
        path = folder / name
        path.write_bytes(changed_bytes(raw, rng))
        return path

    return write


def of_png(raw: bytes, name: str) -> Callable:
    """A PNG with chunks changed before they are sealed again: a reader's checksums let it pass."""
    chunks, at = [], 8
    while at < len(raw):
        count = int.from_bytes(raw[at : at + 4], "big")
        body = raw[at + 8 : at + 8 + count]
        chunks.append((raw[at + 4 : at + 8], zlib.decompress(body) if raw[at + 4 : at + 8] == b"IDAT" else body))
        at += 12 + count

    def write(folder: Path, rng: np.random.Generator) -> Path:
        new = [each if rng.random() < 0.5 else (each[0], changed_bytes(each[1], rng)) for each in chunks]
        if rng.random() < 0.2:
            new.insert(int(rng.integers(len(new) + 1)), new[rng.integers(len(new))])
        path = folder / name
        with path.open("wb") as file:
            file.write(raw[:8])
            for kind, body in new:
                packed = zlib.compress(body) if kind == b"IDAT" else body
                sealed = zlib.crc32(kind + packed)
                file.write(struct.pack(">I", len(packed)) + kind + packed + struct.pack(">I", sealed))
        return path

    return write


def of_npz(arrays: dict[str, np.ndarray], name: str) -> Callable:
    """An npz file with members changed before they are sealed again."""
    members = {}
    for key, array in arrays.items():
        np.save(held := io.BytesIO(), array)
        members[f"{key}.npy"] = held.getvalue()

    def write(folder: Path, rng: np.random.Generator) -> Path:
        path = folder / name
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            for key, raw in members.items():
                head = changed_bytes(raw[:128], rng) + raw[128:]  # where the shape and the type stand
                file.writestr(key, [raw, head, changed_bytes(raw, rng)][rng.choice(3, p=[0.5, 0.4, 0.1])])
        return path

    return write


def readers(folder: Path) -> dict[str, tuple[Callable, Callable]]:
    """By name, what writes a changed file and what reads it."""
    import torch
    import yaml
    from film import write_video
    from safetensors.torch import save

    from rtpe.cache.codecs import CODECS
    from rtpe.cache.folder import read_skipped
    from rtpe.cache.manifest import Manifest
    from rtpe.cache.w48 import read_w48
    from rtpe.data.boxes import read_boxes
    from rtpe.data.labels import read_labels
    from rtpe.data.mpii import MpiiDataset
    from rtpe.data.video import VideoReader, count_frames
    from rtpe.errors import UserError
    from rtpe.images import encode_jpeg, encode_png, read_image
    from rtpe.nets.weights import load_weights
    from rtpe.predictors.adapters.description import read_description
    from rtpe.report.log import read_history
    from rtpe.skeleton import COCO17, Skeleton
    from rtpe.training.checkpoint import settings_of

    rng = np.random.default_rng(0)
    joints = [value for place in range(17) for value in (10.0 + place, 20.0 + place, 2)]
    person = {
        "id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "area": 900.0, "bbox": [5.0, 5.0, 40.0, 40.0],
        "keypoints": joints, "num_keypoints": 17, "segmentation": [[5.0, 5.0, 45.0, 5.0, 45.0, 45.0]],
    }  # fmt: skip
    labels = {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 64, "height": 64}],
        "annotations": [
            person,
            {**person, "id": 2, "iscrowd": 1, "segmentation": {"size": [64, 64], "counts": [0, 4096]}},
        ],
        "categories": [{"id": 1, "name": "person", "keypoints": list(COCO17.joints)}],
    }
    mpii = [{"image": "1.jpg", "center": [30, 30], "scale": 0.2, "joints": [[9, 9]] * 16, "joints_vis": [1] * 16}]
    boxes = [{"image_id": 1, "category_id": 1, "bbox": [1, 2, 30, 40], "score": 0.5}]
    skeleton = {
        "name": "two",
        "joints": ["left_a", "right_a"],
        "limbs": [[0, 1]],
        "sigmas": [0.1, 0.1],
        "swap": [[0, 1]],
    }
    described = yaml.safe_load((PROJECT / "rtpe/recipes/networks/hpe0001.yaml").read_text())
    recipe = as_dict(Train())
    image = rng.integers(0, 256, (40, 56, 3), dtype=np.uint8)
    small = create_net("student", {"width": 32, "stages": 1}, 17)
    state = {name: value.contiguous() for name, value in small.state_dict().items()}
    notes = {
        "kind": "student",
        "numbers": json.dumps(small.numbers),
        "skeleton": "coco17",
        "size": "64",
        "fit": "letterbox",
    }

    def student(path: Path) -> None:
        load_predictor(TeacherSettings(weights=str(path)), DecodeSettings(), COCO17, "cpu")

    def init(path: Path) -> None:
        trainable_net(NetSettings(init=str(path)), 17)
        imitated_stem(str(path))

    def metadata_value(target: Path, rng: np.random.Generator) -> Path:
        key = rng.choice(["kind", "numbers", "skeleton", "size", "fit", "joints"])
        value = changed_values(json.loads(notes["numbers"]), rng) if key == "numbers" else ODD[rng.integers(len(ODD))]
        written = {**notes, key: value if isinstance(value, str) else json.dumps(value)}
        (target / "a.safetensors").write_bytes(save(state, {"rtpe": json.dumps(written)}))
        return target / "a.safetensors"

    def torch_bytes(value) -> bytes:
        torch.save(value, folder / "made.pth")
        return (folder / "made.pth").read_bytes()

    def film(path: Path) -> None:
        count_frames(path)
        VideoReader(path).read(2)

    def decoded(codec, path: Path) -> None:
        try:
            with np.errstate(all="ignore"):
                codec.decode(path.read_bytes())
        except (ValueError, IndexError, struct.error) as error:  # of which a cache makes a damaged entry
            raise UserError("damaged") from error

    def typed(target: Path, rng: np.random.Generator) -> list[str]:
        names = [*flat(Train()), *recipe]
        value = json.dumps(ODD[rng.integers(len(ODD))])
        value = value.strip('"') if rng.random() < 0.5 else value
        return [f"--{names[rng.integers(len(names))]}={value}"]

    heatmaps = rng.random((3, 8, 9), dtype=np.float32)
    manifest = Manifest(
        {"name": "a", "weights_sha256": "0" * 64, "settings": {"size": 64}}, COCO17, size=64, stride=4.0
    )
    manifest.write(folder)
    coarse, fine = np.zeros((17, 160, 160), np.float16), np.zeros((17, 320, 320), np.float16)
    w48 = {"pred_heatmaps": coarse, "embeddings": coarse, "heatmaps_refined": fine}
    np.savez_compressed(folder / "w48.npz", **w48)
    history = b"".join(json.dumps({"step": step, "loss": 0.5}).encode() + b"\n" for step in range(3))
    checkpoint = torch_bytes({"net": state, "settings": {}, "epoch": 1})
    small_state = {name: state[name] for name in list(state)[:4]}
    made = {
        "labels": (of_json(labels, "a.json"), lambda path: read_labels(path, COCO17)),
        "mpii": (of_json(mpii, "annot/val.json"), lambda path: MpiiDataset(path.parents[1], "val")),
        "boxes": (of_json(boxes, "a.json"), lambda path: read_boxes(path, [1])),
        "skeleton": (of_json(skeleton, "a.json"), Skeleton.from_json),
        "network": (of_json(described, "a.yaml"), read_description),
        "recipe": (of_json(recipe, "a.yaml"), lambda path: parse_settings(Train, [f"--config={path}"], "rtpe")),
        "recipe as text": (
            of_bytes(yaml.safe_dump(recipe).encode(), "a.yaml"),
            lambda path: parse_settings(Train, [f"--config={path}"], "rtpe"),
        ),
        "command line": (typed, lambda words: parse_settings(Train, words, "rtpe")),
        "manifest": (
            of_bytes((folder / "manifest.json").read_bytes(), "manifest.json"), lambda path: Manifest.read(path.parent),
        ),
        "skipped": (of_bytes(b"5\ta\tb\n-7\tc\td\n", "skipped.txt"), lambda path: read_skipped(path.parent)),
        "history": (of_bytes(history, "history.jsonl"), read_history),
        "metadata": (metadata_value, student),
        "start": (metadata_value, init),
        "safetensors": (of_bytes(save(small_state, {"rtpe": json.dumps(notes)}), "a.safetensors"), student),
        "torch": (of_bytes(torch_bytes(small_state), "a.pth"), load_weights),
        "checkpoint": (of_bytes(checkpoint, "last.pt"), settings_of),
        "jpeg": (of_bytes(encode_jpeg(image), "a.jpg"), read_image),
        "png": (of_bytes(encode_png(image), "a.png"), read_image),
        "sealed png": (of_png(encode_png(image), "a.png"), read_image),
        "film": (of_bytes(write_video(folder / "a.avi", 3).read_bytes(), "a.avi"), film),
        "w48": (of_bytes((folder / "w48.npz").read_bytes(), "a.npz"), lambda path: read_w48(path, (64, 64))),
        "sealed w48": (of_npz(w48, "a.npz"), lambda path: read_w48(path, (64, 64))),
    }  # fmt: skip
    for name in sorted(CODECS.keys() - {"rendered"}):
        raw = CODECS[name].encode(heatmaps, heatmaps[None] * 3)
        made[f"codec {name}"] = (
            of_bytes(raw, "blob"),
            lambda path, codec=CODECS[name]: decoded(codec, path),
        )
    return made | _of_onnx()


def _of_onnx() -> dict[str, tuple[Callable, Callable]]:
    try:
        import onnx
    except ImportError:  # an extra
        return {}
    from rtpe.predictors.adapters.checksum import checksum_of
    from rtpe.predictors.adapters.description import Channels, Description
    from rtpe.predictors.adapters.onnx_graph import read_graph
    from rtpe.skeleton import COCO17

    helper = onnx.helper
    weights = onnx.numpy_helper.from_array(np.zeros((8, 3, 3, 3), np.float32), "w")
    scales = onnx.numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "s")
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("Elu", ["c"], ["e"], alpha=0.5),
        helper.make_node("Resize", ["e", "", "s"], ["r"], mode="nearest"),
        helper.make_node("MaxPool", ["r"], ["y"], kernel_shape=[2, 2], strides=[2, 2]),
    ]
    ends = [helper.make_tensor_value_info("x", 1, (1, 3, 64, 64)), helper.make_tensor_value_info("y", 1, None)]
    raw = helper.make_model(helper.make_graph(nodes, "net", ends[:1], ends[1:], [weights, scales])).SerializeToString()
    described = Description("net", COCO17, 4, Channels("y", tuple(range(17))), short_side=64)

    def read(path: Path) -> None:
        checksum_of(path)
        read_graph(path, "y", described)

    return {"onnx": (of_bytes(raw, "a.onnx"), read)}


def fuzz(name: str, made: tuple[Callable, Callable], folder: Path, cases: range, seed: int, keep: Path | None) -> dict:
    """Read the changed files of one reader; what is neither read nor refused is a fault."""
    from rtpe.errors import UserError

    write, read = made
    told = {"reader": name, "cases": len(cases), "refused": 0, "faults": {}, "hangs": [], "slowest_s": 0.0}
    for case in cases:
        source = write(folder, np.random.default_rng([seed, case, zlib.crc32(name.encode())]))
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_utime
        try:
            read(source)
        except UserError as error:
            told["refused"] += 1
            if len(str(error).splitlines()) != 1:
                told["faults"].setdefault("several lines", []).append(case)
        except OSError:
            told["refused"] += 1
        except Hang:
            told["hangs"].append(case)
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            told["faults"].setdefault(f"{type(error).__name__} {Path(place.filename).name}:{place.lineno}", []).append(
                case
            )
            if keep and isinstance(source, Path):
                keep.mkdir(parents=True, exist_ok=True)
                (keep / f"{name}-{case}{source.suffix}").write_bytes(source.read_bytes())
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        spent = resource.getrusage(resource.RUSAGE_SELF).ru_utime - before
        told["slowest_s"] = round(max(told["slowest_s"], spent), 2)
    told["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    return told


def _hang(*_) -> None:
    raise Hang


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cases", type=int, default=400, help="of all readers together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--readers", default="", help="some of them, by name, with commas between")
    parser.add_argument("--keep", type=Path, help="folder for the files that a reader fails at")
    asked = parser.parse_args(words)
    signal.signal(signal.SIGALRM, _hang)
    failed = 0
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "annot").mkdir()
        os.chdir(folder)
        made = readers(folder)
        taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY, resource.RLIM_INFINITY))
        chosen = [name for name in made if not asked.readers or name in asked.readers.split(",")]
        for name in chosen:
            told = fuzz(name, made[name], folder, range(-(-asked.cases // len(chosen))), asked.seed, asked.keep)
            failed += bool(told["faults"] or told["hangs"])
            print(json.dumps(told), flush=True)
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
