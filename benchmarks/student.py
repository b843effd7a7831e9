"""What each student costs: parameters, multiply-accumulates, and the processor's time for one image.

    python benchmarks/student.py --out runs/students.json
    python benchmarks/student.py --recipes "[student_s]" --passes 40
    python benchmarks/student.py --blocks

The second one measures one recipe, for longer; the third one the blocks that students are made of, alone, by channels
and side. A recipe whose student stands on another net's weights is left out, and named, where these are absent. Weights
are random, norms folded into the convolutions, as they are after training. Times are the processor's, of one thread,
and the median of the passes: other programs lengthen them far less than the clock's.

    params  millions                             GMACs   of one image of the recipe's size
    fp32    torch, channels last                 bf16    the same with weights and images in bf16
    ort     onnxruntime, float32                 ov, ov16  OpenVINO, float32 and bf16
"""

from __future__ import annotations

import copy
import logging
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median

import torch
from torch import Tensor, fx, nn
from torch.fx.experimental.optimization import fuse

from rtpe.cli import status
from rtpe.errors import UserError
from rtpe.nets.cost import gmacs, parameters
from rtpe.nets.repvgg import merged
from rtpe.nets.residual import BasicBlock
from rtpe.nets.stems import GraphTrunk
from rtpe.nets.student import ContextAwareModule, PlainModule
from rtpe.report.table import print_table, write_json
from rtpe.settings.limits import Checked
from rtpe.settings.parse import parse_settings
from rtpe.skeleton import skeleton
from rtpe.training.net import trainable_net
from rtpe.training.settings import Train

PROJECT = Path(__file__).resolve().parents[1]
RECIPES = "rtpe/recipes/*student_*.yaml"
WARM = 2  # passes before those that count
BLOCKS = {"basic": BasicBlock, "cam": ContextAwareModule, "plain": PlainModule}
PLACES = ((32, 64), (64, 64), (96, 32), (128, 16), (192, 8))  # channels, side of the map


@dataclass(frozen=True)
class StudentBenchmark(Checked):
    """Measure students on this machine's processor.

    Attributes:
        recipes: YAML files of `rtpe train`; empty for all students of rtpe/recipes/.
        blocks: measure the blocks that students are made of instead.
        passes: of which the median counts.
        out: JSON file for the rows.
    """

    recipes: list[str] = field(default_factory=list)
    blocks: bool = False
    passes: int = 15
    out: str = ""


@dataclass(frozen=True)
class Subject:
    """A net in evaluation, one image or map for it, and what the row says of them."""

    net: nn.Module
    example: Tensor
    facts: dict[str, object]


class Deployed(nn.Module):
    """Of a net, only what people are read from."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.net.maps(images).values())


class Traced(fx.Tracer):
    """Looks into all but another net's beginning, whose norms were folded when its file was written."""

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        return isinstance(module, GraphTrunk) or super().is_leaf_module(module, name)

    def to_bool(self, condition: fx.Proxy) -> bool:
        """What is asked on the way is whether a size is wrong."""
        return False


def benchmark(settings: StudentBenchmark) -> list[dict]:
    """Print the table, write the rows; returns them."""
    torch.set_num_threads(1)
    subjects = _blocks() if settings.blocks else _students(settings.recipes)
    rows = [{**subject.facts, **_times(subject, settings.passes)} for subject in subjects]
    if not rows:
        raise UserError(f"recipes: none to measure of {RECIPES} in {PROJECT}: name others with --recipes")
    print_table([{title: text(row) for title, text in COLUMNS.items()} for row in rows], tuple(COLUMNS))
    if settings.out:
        write_json(rows, Path(settings.out))
    return rows


def _students(recipes: list[str]) -> Iterator[Subject]:
    for path in recipes or sorted(map(str, PROJECT.glob(RECIPES))):
        chosen = parse_settings(Train, ["--config", path], "recipe")
        absent = [file for file in (chosen.net.stem, chosen.net.distill_stem_from) if file and not Path(file).exists()]
        if absent:
            print(f"left out {path}: needs {absent[0]}, which is not there", file=sys.stderr)
            continue
        size_hw = (chosen.net.size, chosen.net.size)
        random = replace(chosen.net, init="", trainable=[])  # what it costs does not depend on them
        net = merged(trainable_net(random, len(skeleton(chosen.data.skeleton))).eval())
        facts = {"name": Path(path).stem, "size": chosen.net.size, "numbers": net.numbers}
        facts |= {"parameters": parameters(net), "gmacs": gmacs(net, size_hw)}
        yield Subject(Deployed(net).eval(), torch.randn(1, 3, *size_hw), facts)


def _blocks() -> Iterator[Subject]:
    for channels, side in PLACES:
        for name, block in BLOCKS.items():
            net = block(channels).eval()
            facts = {"name": f"{name} {channels}", "size": side, "parameters": parameters(net)}
            facts["gmacs"] = gmacs(net, (side, side), channels)
            yield Subject(net, torch.randn(1, channels, side, side), facts)


@torch.no_grad()
def _times(subject: Subject, passes: int) -> dict[str, float | None]:
    """Milliseconds in each engine; None for those that are not installed."""
    traced = fx.GraphModule(subject.net, Traced().trace(subject.net))
    folded = fuse(traced, no_trace=True).to(memory_format=torch.channels_last)
    image = subject.example.contiguous(memory_format=torch.channels_last)
    half, half_image = copy.deepcopy(folded).bfloat16(), image.bfloat16()
    times: dict[str, float | None] = {
        "torch_fp32_ms": _ms(lambda: folded(image), passes),
        "torch_bf16_ms": _ms(lambda: half(half_image), passes),
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.onnx"
        _export(subject, path)
        for name, engine in ENGINES.items():
            run = _or_none(lambda engine=engine: engine(path, subject.example))
            times[name] = run and _ms(run, passes)
    return times


def _ms(work: Callable[[], object], passes: int) -> float:
    seconds = []
    for _ in range(WARM + passes):
        started = time.process_time()
        work()
        seconds.append(time.process_time() - started)
    return 1000 * median(seconds[WARM:])


def _or_none(make: Callable[[], Callable]) -> Callable | None:
    try:
        return make()
    except (ImportError, FileNotFoundError):  # an extra that is not installed, here or for the export
        return None


def _export(subject: Subject, path: Path) -> None:
    """Write the net as ONNX, norms folded; no file if that extra is not installed."""
    try:
        import onnxscript  # noqa: F401
    except ImportError:
        return
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it regrets every library that is not installed
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's, about itself
        torch.onnx.export(subject.net, (subject.example,), path, dynamo=True, external_data=False, verbose=False)


def _onnxruntime(path: Path, example: Tensor) -> Callable[[], object]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    image = {session.get_inputs()[0].name: example.numpy()}
    return lambda: session.run(None, image)


def _openvino(precision: str) -> Callable[[Path, Tensor], Callable[[], object]]:
    def engine(path: Path, example: Tensor) -> Callable[[], object]:
        import openvino

        if not path.exists():
            raise FileNotFoundError(path)
        asked = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": precision}
        request = openvino.Core().compile_model(path, "CPU", asked).create_infer_request()
        image = [example.numpy()]
        return lambda: request.infer(image)

    return engine


ENGINES = {"onnxruntime_ms": _onnxruntime, "openvino_ms": _openvino("f32"), "openvino_bf16_ms": _openvino("bf16")}


def _number(key: str, digits: int, scale: float = 1.0) -> Callable[[dict], str]:
    return lambda row: "n/a" if row[key] is None else f"{row[key] * scale:.{digits}f}"


COLUMNS: dict[str, Callable[[dict], str]] = {
    "name": lambda row: row["name"],
    "size": _number("size", 0),
    "params": _number("parameters", 2, 1e-6),
    "GMACs": _number("gmacs", 3),
    "fp32": _number("torch_fp32_ms", 1),
    "bf16": _number("torch_bf16_ms", 1),
    "ort": _number("onnxruntime_ms", 1),
    "ov": _number("openvino_ms", 1),
    "ov16": _number("openvino_bf16_ms", 1),
}


if __name__ == "__main__":
    sys.exit(status(lambda: benchmark(parse_settings(StudentBenchmark, None, "benchmarks/student.py"))))
