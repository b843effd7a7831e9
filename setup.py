"""Kept so that `python setup.py --version` and older tools work; everything is said in pyproject.toml."""

from setuptools import setup

setup()
