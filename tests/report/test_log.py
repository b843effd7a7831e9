"""A run's numbers survive a kill and a resume, and TensorBoard reads them."""

import json
import math
import resource
import struct
import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import pytest
import torch

from rtpe.errors import UserError
from rtpe.report.log import HISTORY, Log, read_history


def write(out, steps, resume_step=None, value=1.0):
    with Log(out, resume_step=resume_step) as log:
        for step in steps:
            log.scalars({"loss": value / (step + 1)}, step, epoch=step // 2)


def steps_of(out):
    return [row["step"] for row in read_history(out / HISTORY)]


def test_there_is_no_history_without_a_run(tmp_path):
    assert read_history(tmp_path / HISTORY) == []
    Log(tmp_path / "new").close()
    assert read_history(tmp_path / "new" / HISTORY) == []


def test_scalars_come_back_as_they_were(tmp_path):
    with Log(tmp_path / "deep" / "run") as log:
        log.scalars({"loss": torch.tensor(0.25), "AP": np.float32(0.5)}, step=10, epoch=1)
        log.scalars({"loss": 0.1}, step=np.int64(20))
    assert read_history(tmp_path / "deep" / "run" / HISTORY) == [
        {"step": 10, "epoch": 1, "loss": 0.25, "AP": 0.5},
        {"step": 20, "loss": 0.1},
    ]


def test_what_is_not_finite_is_null_and_every_line_strict_json(tmp_path):
    with Log(tmp_path) as log:
        log.scalars({"a": math.nan, "b": math.inf, "c": -math.inf, "d": 0.0}, step=1)
    (line,) = (tmp_path / HISTORY).read_text().splitlines()
    assert json.loads(line, parse_constant=pytest.fail) == {"step": 1, "a": None, "b": None, "c": None, "d": 0.0}


def test_a_row_is_on_disk_at_once(tmp_path):
    log = Log(tmp_path)
    log.scalars({"loss": 1.0}, step=1)
    assert steps_of(tmp_path) == [1]  # before `close`, which a killed run never reaches
    log.close()


@pytest.mark.parametrize(
    "resume_step, kept", [(None, []), (0, [0]), (3, [0, 1, 2, 3]), (99, [0, 1, 2, 3, 4, 5])], ids=str
)
def test_a_resumed_run_drops_what_it_will_write_again(tmp_path, resume_step, kept):
    write(tmp_path, range(6))
    Log(tmp_path, resume_step=resume_step).close()
    assert steps_of(tmp_path) == kept


@pytest.mark.parametrize("torn", [b"{", b'{"step": 6, "lo', b'{"step": 6, "a": "\xc3', b"\0\0\0\0", b"7\n"])
def test_a_torn_last_line_is_left_out_and_written_over(tmp_path, torn):
    write(tmp_path, range(6))
    with open(tmp_path / HISTORY, "ab") as file:
        file.write(torn)
    assert steps_of(tmp_path) == [0, 1, 2, 3, 4, 5]
    write(tmp_path, [6, 7], resume_step=5)
    assert steps_of(tmp_path) == [0, 1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("line", ['{"stop": 2}', "stop", "[" * 100_000, '{"step": "stop"}'], ids=len)
def test_a_damaged_line_in_the_middle_is_named(tmp_path, line):
    (tmp_path / HISTORY).write_text('{"step": 1}\n' + line + '\n{"step": 3}\n')
    with pytest.raises(ValueError, match=r"history.jsonl: line 2 should be an object with a step, got b'.*': remove"):
        Log(tmp_path, resume_step=3)
    assert len((tmp_path / HISTORY).read_text().splitlines()) == 3  # and nothing is lost


def test_a_stopped_and_resumed_run_leaves_the_history_of_an_unbroken_one(tmp_path):
    write(tmp_path / "whole", range(9))
    write(tmp_path / "parts", range(6))
    write(tmp_path / "parts", range(4, 9), resume_step=3)
    assert (tmp_path / "whole" / HISTORY).read_bytes() == (tmp_path / "parts" / HISTORY).read_bytes()


def test_everything_can_be_written(tmp_path):
    with Log(tmp_path) as log:
        log.scalars({}, 0)
        log.image("sheet", np.zeros((3, 5, 3), np.uint8), 1)
        log.histograms(torch.nn.Linear(2, 2).named_parameters(), 1)
        log.histograms(
            [
                ("none", np.zeros(0)),
                ("nan", np.array([np.nan])),
                ("huge", np.array([-1e30, 1e20])),
                ("half", torch.ones(2).bfloat16()),
            ],
            1,
        )
        log.text("settings", "<b>bold</b> é")
        log.hyperparameters({"lr": 1e-3, "size": (1, 2), "none": None, "flip": True}, {"AP": 0.5})
    events = list((tmp_path / "tensorboard").glob("events.*"))
    assert len(events) == 1 and events[0].stat().st_size > 500


@contextmanager
def files_of_at_most(size):
    """No file grows beyond so many bytes: writing fails, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def events_of(path):
    """The events of a file, its frames taken apart by hand: length, check, event, check."""
    from tensorboardX.crc32c import crc32c
    from tensorboardX.proto.event_pb2 import Event

    def masked(data):
        check = crc32c(data)
        return (((check >> 15) | (check << 17)) + 0xA282EAD8) & 0xFFFFFFFF

    data, events = path.read_bytes(), []
    while data:
        length, check = struct.unpack("<QI", data[:12])
        body, (body_check,) = data[12 : 12 + length], struct.unpack("<I", data[12 + length : 16 + length])
        assert (check, body_check) == (masked(data[:8]), masked(body))
        events.append(Event.FromString(body))
        data = data[16 + length :]
    return events


@pytest.mark.parametrize("resume_step, purged", [(None, 0), (3, 4)])
def test_events_say_what_was_logged(tmp_path, resume_step, purged):
    with Log(tmp_path, resume_step) as log:
        log.scalars({"loss": 0.5, "AP": math.nan, "AR": 1}, 7)
        log.histograms([("weight", np.array([-3.0, 0.0, 0.0, 5.0]))], 7)
        log.hyperparameters({"lr": 0.1}, {"AP": 0.25})
    (path,) = (tmp_path / "tensorboard").glob("events.*")
    first, *purge, loss, ar, weight = events_of(path)
    assert (
        first.file_version == "brain.Event:2"
        and [(each.step, each.wall_time > 1e9) for each in purge] == [(purged, True)] * 2
    )
    assert purge[1].session_log.status == 1
    assert [(e.step, e.summary.value[0].tag, e.summary.value[0].simple_value) for e in (loss, ar)] == [
        (7, "loss", 0.5),
        (7, "AR", 1),
    ]
    spread = weight.summary.value[0].histo
    assert (spread.num, spread.min, spread.max, spread.sum, sum(spread.bucket)) == (4, -3, 5, 2, 4)
    (settings,) = (tmp_path / "tensorboard" / "settings").glob("events.*")
    values = [value for event in events_of(settings) for value in event.summary.value]
    assert ("AP", 0.25) in [(value.tag, value.simple_value) for value in values]


FILLS = {
    "scalars": lambda log, step: log.scalars({"loss": 1.0}, step),
    "a picture": lambda log, step: log.image("sheet", np.zeros((9, 9, 3), np.uint8), step),
    "histograms": lambda log, step: log.histograms([("weight", np.arange(9.0))], step),
    "text": lambda log, step: log.text("remark", "word " * 50, step),
}


@pytest.mark.parametrize("kind", FILLS)
@pytest.mark.parametrize("room", [300, 5000])
def test_a_full_disk_is_named_at_once(tmp_path, kind, room):
    """And once more there is room, the same run goes on, from what is whole."""
    log = Log(tmp_path)
    with (
        files_of_at_most(room),
        pytest.raises(UserError, match=r"(history|tfevents)[^ ]*: cannot be written \(File too large\): free some of"),
    ):
        for step in range(9999):
            FILLS[kind](log, step)
    log.close()
    before = steps_of(tmp_path)
    write(tmp_path, [10000], resume_step=9999)
    assert steps_of(tmp_path) == [*before, 10000]


def test_a_full_disk_is_named_where_a_run_begins_or_ends(tmp_path):
    with files_of_at_most(10), pytest.raises(UserError, match=r"tfevents.*cannot be written"):
        Log(tmp_path)
    log = Log(tmp_path)
    with files_of_at_most(1000), pytest.raises(UserError, match=r"settings/events.*cannot be written"):
        log.hyperparameters({f"setting {number}": "long " * 9 for number in range(99)}, {"AP": 0.0})
    log.close()


def test_tensorboard_reads_a_resumed_run(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator", reason="[view] extra")
    write(tmp_path, range(6))
    with Log(tmp_path, resume_step=3) as log:
        log.scalars({"loss": 9.0, "AP": math.nan}, 4)
        log.image("sheet", np.full((3, 5, 3), 200, np.uint8), 4)
        log.histograms([("weight", np.arange(4.0))], 4)
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard"), size_guidance={})
    events.Reload()
    assert [event.step for event in events.Scalars("loss")] == [0, 1, 2, 3, 4]
    assert events.Scalars("loss")[-1].value == 9.0 and "AP" not in events.Tags()["scalars"]
    (sheet,) = events.Images("sheet")
    assert (sheet.height, sheet.width) == (3, 5) and sheet.encoded_image_string.startswith(b"\x89PNG")
    assert events.Histograms("weight")[0].histogram_value.num == 4


def test_a_fresh_run_hides_the_curves_of_the_one_before(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator", reason="[view] extra")
    write(tmp_path, range(6))
    write(tmp_path, [0, 1], value=5.0)
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard"), size_guidance={})
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(0, 5.0), (1, 2.5)]


def test_importing_the_log_is_quick():
    code = "import sys, rtpe.report.log; sys.exit('tensorboardX' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
