"""rtpe: distil heavy human-pose networks into light real-time ones, from a small checked cache."""

__version__ = "0.1.0"
