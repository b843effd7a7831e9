"""The package as it is installed: built as a wheel, unpacked elsewhere, used from an empty folder."""

import os
import shutil
import subprocess
import sys
import zipfile

import pytest
from places import PROJECT


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with the contents of the wheel; what it needs is there already."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    shutil.copytree(PROJECT / "rtpe", source / "rtpe", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(PROJECT / "models", source / "models")
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(PROJECT / name, source / name)
    wheel = [sys.executable, "-m", "pip", "wheel", ".", "--no-deps", "--no-build-isolation", f"--wheel-dir={folder}"]
    done = subprocess.run(wheel, cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    (built,) = folder.glob("rtpe-*.whl")
    with zipfile.ZipFile(built) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def run(installed, where, *words):
    environment = {**os.environ, "PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, *words], cwd=where, env=environment, capture_output=True, text=True)


def test_recipes_and_the_demos_weights_come_along(installed, tmp_path):
    names = {path.name for path in (installed / "rtpe").rglob("*") if path.suffix in (".yaml", ".safetensors")}
    assert {"student_s.yaml", "hpe0001.yaml", "demo_teacher.safetensors", "demo_student.safetensors"} <= names
    assert not (installed / "tests").exists() and not (installed / "benchmarks").exists()


def test_a_command_runs_from_an_empty_folder(installed, tmp_path):
    done = run(installed, tmp_path, "-m", "rtpe.cli", "train", "--config=student_s", "--print_config")
    assert done.returncode == 0 and "kind: student" in done.stdout, done.stderr
    where = run(installed, tmp_path, "-c", "import rtpe, rtpe.demo as d; print(rtpe.__file__, d.TEACHER.is_file())")
    assert where.stdout.split() == [str(installed / "rtpe/__init__.py"), "True"], where.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_demo_runs_from_an_empty_folder(installed, tmp_path):
    done = run(installed, tmp_path, "-m", "rtpe.cli", "demo", "--images=52", "--val=4", "--epochs=1")
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "runs/demo/report.html").is_file() and "report: runs/demo/report.html" in done.stdout
