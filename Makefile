# make demo: the whole job in small; make test: all tests. Each makes .venv and installs first.
PYTHON ?= python3
BIN := .venv/bin
# What only some teachers need is installed for the tests alone.
# threads that spin while they wait starve the processes beside them
export OMP_WAIT_POLICY := PASSIVE

.PHONY: install demo test lint clean

install: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	@touch $@

.venv/extras: .venv/installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev,diffusion,eval,vitpose]"
	@touch $@

demo: install
	$(BIN)/rtpe demo

test: .venv/extras lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

clean:
	rm -rf .venv build *.egg-info .ruff_cache
