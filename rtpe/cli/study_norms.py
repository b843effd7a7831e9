"""rtpe study norms --config norms --jobs 2"""

from __future__ import annotations

from rtpe.training.norms_settings import StudyNorms


def run(settings: StudyNorms) -> None:
    """Train what is not there yet, and print the table."""
    from rtpe.training.norms import norms

    norms(settings)
