"""The errors that the command line prints as one line; any other exception is a bug, and shows its traceback."""

import re


class UserError(ValueError):
    """A mistake that the user can correct: the message names the thing, what was wanted, what came, and the remedy."""

    def __str__(self) -> str:
        return printable(super().__str__())


DIVERGED = 3  # exit status: a study tells by it what is a result from what is a mistake


class Diverged(UserError):
    """A training whose loss or gradients are no longer finite."""


def printable(text: str) -> str:
    """The text in one line, with escapes for what no terminal should be given: names of files may hold any bytes."""
    line = re.sub(r"\s*\n\s*", " ", text.strip())
    return "".join(letter if letter.isprintable() else _escape(letter) for letter in line)


def _escape(letter: str) -> str:
    return letter.encode("unicode_escape").decode()


class NotFinite(UserError):
    """A network whose maps hold NaN or infinity."""
