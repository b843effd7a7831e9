"""The errors that the command line prints as one line; any other exception is a bug, and shows its traceback."""


class UserError(ValueError):
    """A mistake that the user can correct: the message names the thing, what was wanted, what came, and the remedy."""


class Diverged(UserError):
    """A training whose loss or gradients are no longer finite."""
