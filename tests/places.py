"""Where the project lies, and the real-data folder: photographs and teachers that are no part of it."""

import os
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
REAL = Path(os.environ.get("RTPE_REAL_DATA", PROJECT.parent / "shared" / "data"))
