"""The record of a run: curves for TensorBoard, and the same numbers as plain lines that outlive a kill."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from rtpe.errors import UserError
from rtpe.files import write_file
from rtpe.images import encode_png

HISTORY = "history.jsonl"
LAST_BIN = 1e20  # of TensorBoard's histograms; of a net that diverges weights lie beyond


class Log:
    """Writes scalars, pictures and text of a run into `<out>/tensorboard`, and every scalar into `<out>/history.jsonl`.

    The history holds one JSON object a line, `{"step": 12, "epoch": 1, "loss": 0.031}`; what is not finite is null.

    Args:
        out: folder of the run; made where it is missing.
        resume_step: None begins anew, and what an earlier run left in this folder is forgotten; a step keeps the rows
            up to it and drops those beyond, which the resumed run will write again.

    Raises:
        UserError: if the history to resume is damaged elsewhere than in its last line.
    """

    def __init__(self, out: str | Path, resume_step: int | None = None):
        from tensorboardX import SummaryWriter  # slow to import, and only runs need it

        out = Path(out)
        out.mkdir(parents=True, exist_ok=True)
        kept = [] if resume_step is None else [row for row in read_history(out / HISTORY) if row["step"] <= resume_step]
        _rewrite(out / HISTORY, kept)
        self._history = open(out / HISTORY, "a", encoding="utf-8")  # noqa: SIM115 (closed in `close`)
        self._writer = SummaryWriter(
            str(out / "tensorboard"),
            purge_step=0 if resume_step is None else resume_step + 1,
            flush_secs=10,
            filename_suffix=f".{time.monotonic_ns()}",  # two writers of one second would overwrite each other
        )

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        self._writer.close()
        self._history.close()

    def scalars(self, values: Mapping[str, float], step: int, epoch: int | None = None) -> None:
        """Numbers of one step, as one row; numbers of numpy and torch are welcome."""
        row = {"step": int(step)} | ({} if epoch is None else {"epoch": int(epoch)})
        numbers = {name: _finite(value) for name, value in values.items()}
        self._history.write(json.dumps(row | numbers, allow_nan=False) + "\n")
        self._history.flush()
        for name, number in numbers.items():
            if number is not None:  # it would warn at each
                self._writer.add_scalar(name, number, step)

    def image(self, name: str, image: np.ndarray, step: int) -> None:
        """A picture, (H, W, 3) uint8 RGB."""
        from tensorboardX.proto.summary_pb2 import Summary  # its own `add_image` wants Pillow, which we do not need

        height, width = image.shape[:2]
        png = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=encode_png(image))
        self._writer.file_writer.add_summary(Summary(value=[Summary.Value(tag=name, image=png)]), step)

    def histograms(self, arrays: Iterable[tuple[str, np.ndarray]], step: int) -> None:
        """How the values of named arrays spread, such as `net.named_parameters()`; what no bin holds is left out."""
        for name, array in arrays:
            values = np.asarray(array.detach().float().cpu() if hasattr(array, "detach") else array, np.float64)
            values = values[np.abs(values) < LAST_BIN]
            if values.size:
                self._writer.add_histogram(name, values, step)

    def text(self, name: str, text: str, step: int = 0) -> None:
        """A remark, as Markdown."""
        self._writer.add_text(name, _unicode(text), step)

    def hyperparameters(self, settings: Mapping[str, object], metrics: Mapping[str, float]) -> None:
        """Flat settings, and the scores that they led to, for TensorBoard's table of runs."""
        plain = {
            name: value if isinstance(value, (bool, int, float)) else _unicode(str(value))
            for name, value in settings.items()
        }
        self._writer.add_hparams(plain, {name: float(value) for name, value in metrics.items()}, name="settings")


def read_history(path: str | Path) -> list[dict]:
    """The rows of a `history.jsonl`, in order; none if there is no file. A last line that a kill tore is left out.

    Raises:
        UserError: if another line is no JSON object with a step.
    """
    path = Path(path)
    lines = path.read_bytes().splitlines() if path.exists() else []
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            if not isinstance(row, dict) or not isinstance(row.get("step"), int):
                raise UserError("no step")
        except ValueError as error:
            if number == len(lines):
                break
            raise UserError(
                f"{path}: line {number} should be an object with a step, got {line[:40]!r}: remove it"
            ) from error
        rows.append(row)
    return rows


def _rewrite(path: Path, rows: list[dict]) -> None:
    write_file(path, "".join(json.dumps(row) + "\n" for row in rows))


def _unicode(text: str) -> str:
    """Text that TensorBoard can hold: names of files need not be Unicode."""
    return text.encode(errors="backslashreplace").decode()


def _finite(value) -> float | None:
    number = float(value)
    return number if math.isfinite(number) else None
