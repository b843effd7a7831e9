"""The record of a run: curves for TensorBoard, and the same numbers as plain lines that outlive a kill."""

from __future__ import annotations

import json
import math
import socket
import struct
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import cache
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
        out = Path(out)
        out.mkdir(parents=True, exist_ok=True)
        kept = [] if resume_step is None else [row for row in read_history(out / HISTORY) if row["step"] <= resume_step]
        _rewrite(out / HISTORY, kept)
        self._history = _Appended(out / HISTORY)
        self._folder = out / "tensorboard"
        self._events = _Events(self._folder, purge_step=0 if resume_step is None else resume_step + 1)

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        self._events.close()
        self._history.close()

    def scalars(self, values: Mapping[str, float], step: int, epoch: int | None = None) -> None:
        """Numbers of one step, as one row; numbers of numpy and torch are welcome."""
        row = {"step": int(step)} | ({} if epoch is None else {"epoch": int(epoch)})
        numbers = {name: _finite(value) for name, value in values.items()}
        self._history.write(json.dumps(row | numbers, allow_nan=False).encode() + b"\n")
        self._events.scalars(numbers, step)

    def image(self, name: str, image: np.ndarray, step: int) -> None:
        """A picture, (H, W, 3) uint8 RGB."""
        from tensorboardX.proto.summary_pb2 import Summary  # its own `image` wants Pillow, which we do not need

        height, width = image.shape[:2]
        png = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=encode_png(image))
        self._events.add(Summary(value=[Summary.Value(tag=name, image=png)]), step)

    def histograms(self, arrays: Iterable[tuple[str, np.ndarray]], step: int) -> None:
        """How the values of named arrays spread, such as `net.named_parameters()`; what no bin holds is left out."""
        from tensorboardX.summary import histogram

        for name, array in arrays:
            values = np.asarray(array.detach().float().cpu() if hasattr(array, "detach") else array, np.float64)
            values = values[np.abs(values) < LAST_BIN]
            if values.size:
                self._events.add(histogram(name, values, _bins()), step)

    def text(self, name: str, text: str, step: int = 0) -> None:
        """A remark, as Markdown."""
        from tensorboardX import summary

        self._events.add(summary.text(name, _unicode(text)), step)

    def hyperparameters(self, settings: Mapping[str, object], metrics: Mapping[str, float]) -> None:
        """Flat settings, and the scores that they led to, for TensorBoard's table of runs."""
        from tensorboardX.summary import hparams

        plain = {
            name: value if isinstance(value, (bool, int, float)) else _unicode(str(value))
            for name, value in settings.items()
        }
        scores = {name: float(value) for name, value in metrics.items()}
        events = _Events(self._folder / "settings")
        for each in hparams(plain, scores):
            events.add(each)
        events.scalars(scores, 0)
        events.close()


class _Appended:
    """A file that grows by whole pieces, each of which is in the file when `write` returns."""

    def __init__(self, path: Path):
        self._path, self._file = path, open(path, "ab")  # noqa: SIM115 (closed in `close`)

    def write(self, piece: bytes) -> None:
        """Append it.

        Raises:
            UserError: if it cannot be written, for want of space or otherwise; the file is closed then.
        """
        try:
            self._file.write(piece)
            self._file.flush()
        except OSError as error:
            with suppress(OSError):  # of what is left to write, which Python would try again at the very end
                self._file.close()
            raise UserError(
                f"{self._path}: cannot be written ({error.strerror}): free some of the disk, and go on with the same "
                "command"
            ) from error

    def close(self) -> None:
        self._file.close()


class _Events:
    """A file of TensorBoard's events.

    tensorboardX's own writer hands events to a thread. A full disk ends that thread, and then the run waits for it.

    Args:
        purge_step: TensorBoard hides what earlier files of the folder have from this step on.
    """

    def __init__(self, folder: Path, purge_step: int | None = None):
        from tensorboardX.proto.event_pb2 import Event, SessionLog  # slow to import, and only runs need it

        folder.mkdir(parents=True, exist_ok=True)
        # two files of one second would otherwise be one
        name = f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}.{time.monotonic_ns()}"
        self._file, self._event = _Appended(folder / name), Event
        self._add(Event(file_version="brain.Event:2"))
        if purge_step is not None:
            self._add(Event(step=purge_step, file_version="brain.Event:2"))
            self._add(Event(step=purge_step, session_log=SessionLog(status=SessionLog.START)))

    def add(self, summary, step: int | None = None) -> None:
        """A `Summary` of tensorboardX."""
        event = self._event(summary=summary)
        if step is not None:
            event.step = int(step)
        self._add(event)

    def scalars(self, values: Mapping[str, float | None], step: int) -> None:
        """Those that are numbers."""
        from tensorboardX.summary import scalar

        for name, value in values.items():
            if value is not None:
                self.add(scalar(name, value), step)

    def close(self) -> None:
        self._file.close()

    def _add(self, event) -> None:
        from tensorboardX.record_writer import masked_crc32c

        event.wall_time = time.time()
        data = event.SerializeToString()
        size = struct.pack("<Q", len(data))
        checks = (struct.pack("<I", masked_crc32c(part)) for part in (size, data))
        self._file.write(b"".join([size, next(checks), data, next(checks)]))


@cache
def _bins() -> list[float]:
    """Edges of TensorBoard's histograms: each a tenth beyond the one before, on both sides of 0."""
    edges = [1e-12]
    while edges[-1] * 1.1 < LAST_BIN:
        edges.append(edges[-1] * 1.1)
    return [-edge for edge in reversed(edges)] + [0.0] + edges


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
        except (ValueError, RecursionError) as error:
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
