# make demo: the whole job in small; make test: all tests. Each makes .venv and installs first.
PYTHON ?= python3
BIN := .venv/bin
# What only some teachers need is installed for the tests alone.
# threads that spin while they wait starve the processes beside them
export OMP_WAIT_POLICY := PASSIVE

# What mmpose needs: it asks for chumpy, which does not build, and for torchvision, which is not needed: --no-deps.
MMPOSE_NEEDS := matplotlib pillow addict termcolor yapf rich packaging platformdirs json_tricks==3.17.3 munkres shapely \
	terminaltables six cython "setuptools<81" wheel
MMPOSE := mmengine==0.10.7 mmcv-lite==2.1.0 mmdet==3.3.0 mmpose==1.3.2

.PHONY: install demo test test-mmpose lint clean

install: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	@touch $@

.venv/extras: .venv/installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev,diffusion,eval,vitpose]"
	@touch $@

.venv/mmpose: .venv/installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt $(MMPOSE_NEEDS)
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --no-binary xtcocotools xtcocotools==1.14.3
	$(BIN)/python -m pip install --quiet --no-deps $(MMPOSE)
	@touch $@

demo: install
	$(BIN)/rtpe demo

test: .venv/extras lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

test-mmpose: .venv/mmpose
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/predictors/adapters/test_mmpose.py

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

clean:
	rm -rf .venv build *.egg-info .ruff_cache
