"""What pyproject.toml cannot say: the demo's weights, outside the package here, are part of it when it is installed."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["rtpe*"]), "rtpe.models"],
    package_dir={"rtpe.models": "models"},
    package_data={"rtpe": ["recipes/*.yaml", "recipes/networks/*.yaml"], "rtpe.models": ["*.safetensors"]},
)
