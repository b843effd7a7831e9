"""What decoders write past Python: kept with the file it is about, and nothing else is lost meanwhile."""

import os
import subprocess
import sys
import threading

from rtpe.native_output import remarks

LIBJPEG = b"Corrupt JPEG data: premature end of data segment\n"
LIBPNG = b"libpng warning: iCCP: known incorrect sRGB profile\n"


def test_nothing_is_written_and_nothing_heard(capfd):
    with remarks() as heard:
        pass
    assert heard == [] and capfd.readouterr().err == ""


def test_remarks_are_kept_and_other_lines_come_out(capfd):
    """A bar that another thread draws is in the middle of a line."""
    with remarks() as heard:
        os.write(2, b"before\n" + LIBPNG + LIBJPEG + b"\r 5%|#   ")
    with remarks() as later:
        os.write(2, LIBJPEG)
    assert heard == [LIBPNG.decode().strip(), LIBJPEG.decode().strip()] and later == [LIBJPEG.decode().strip()]
    assert capfd.readouterr().err == "before\n\r 5%|#   "


def test_an_error_gives_the_output_back(capfd):
    try:
        with remarks() as heard:
            os.write(2, LIBPNG)
            raise MemoryError
    except MemoryError:
        os.write(2, b"after\n")
    assert heard and capfd.readouterr().err == "after\n"


def test_threads_hear_their_own(capfd):
    heard = {}

    def listen(number):
        for _ in range(50):
            with remarks() as lines:
                os.write(2, b"Corrupt JPEG data: %d\n" % number)
            heard.setdefault(number, set()).update(lines)

    threads = [threading.Thread(target=listen, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert heard == {number: {f"Corrupt JPEG data: {number}"} for number in range(4)}
    assert capfd.readouterr().err == ""


FORK = """
import os
from rtpe.native_output import remarks
with remarks(): os.write(2, b"libpng error: a\\n")
child = os.fork()
with remarks() as heard: os.write(2, b"libpng error: %d\\n" % bool(child))
assert heard == [f"libpng error: {int(bool(child))}"], heard
if child: assert os.waitpid(child, 0)[1] == 0
os.close(2)
with remarks() as heard: pass
assert heard == []
"""


def test_a_fork_hears_its_own_and_a_closed_output_nothing():
    done = subprocess.run([sys.executable, "-c", FORK], capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stderr) == (0, "")
