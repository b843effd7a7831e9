"""What libraries write past Python to the standard error output, such as a decoder's remarks on an unnamed file."""

from __future__ import annotations

import os
import re
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager

# libjpeg and libpng write what they think of a file there, and give it to nobody else
_REMARKS = re.compile(
    rb"^(?:libpng (?:warning|error): |Corrupt JPEG data: |Premature end of JPEG|Invalid SOS param|Inconsistent progres"
    rb"|Unknown Adobe color|Warning: unknown JFIF|\[ ?(?:WARN|ERROR|INFO):).*\n",
    re.MULTILINE,
)
_LOCK = threading.Lock()  # the process has one standard error output


class _Scratch:
    """A file without a name that takes the place of the output meanwhile; made once, and anew after a fork."""

    descriptor: int | None = None

    def forget(self) -> None:
        self.descriptor = None

    def open(self) -> int:
        if self.descriptor is None:
            if hasattr(os, "memfd_create"):
                self.descriptor = os.memfd_create("remarks")
            else:
                with tempfile.TemporaryFile() as file:
                    self.descriptor = os.dup(file.fileno())
        return self.descriptor

    def take(self) -> bytes:
        """What was written, which is then gone."""
        size = os.lseek(self.descriptor, 0, os.SEEK_CUR)
        if not size:
            return b""
        written = os.pread(self.descriptor, size, 0)
        os.ftruncate(self.descriptor, 0)
        os.lseek(self.descriptor, 0, os.SEEK_SET)
        return written


_SCRATCH = _Scratch()


def _in_child() -> None:
    _SCRATCH.forget()  # a fork shares the place in the file
    _LOCK.release()


os.register_at_fork(before=_LOCK.acquire, after_in_parent=_LOCK.release, after_in_child=_in_child)


@contextmanager
def remarks() -> Iterator[list[str]]:
    """Keep what decoders write to the standard error output meanwhile: its lines are in the list at the end.

    One thread at a time: another one waits. What other threads write meanwhile comes out a little later.
    """
    heard: list[str] = []
    with _LOCK:
        try:
            outside = os.dup(2)
        except OSError:  # it is closed: there is nothing to keep anything from
            yield heard
            return
        try:
            os.dup2(_SCRATCH.open(), 2)
            yield heard
        finally:
            os.dup2(outside, 2)
            written = _SCRATCH.take()
            if written:
                heard += [line.decode(errors="replace").strip() for line in _REMARKS.findall(written)]
                os.write(outside, _REMARKS.sub(b"", written))
            os.close(outside)
