PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
SEEDS ?= 0..207
MINUTES ?= 30
JOBS ?= 4
DATA ?= $(HOME)/.local/share/cortex/local

.PHONY: setup up test lint types proto docs sim chaos screenshots bench verify

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --editable . --group dev
	$(BIN)/python -m pip install --quiet --no-deps raftos==0.2.6
	touch $@

# without a terminal, as in a container's build, the cluster is started and no console
up: setup
	@headless=; [ -t 0 ] && [ -t 1 ] || headless=--headless; $(BIN)/cortex up --voters 3 --data '$(DATA)' $$headless

test: setup
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: setup
	$(BIN)/mypy

proto: setup
	$(BIN)/python proto/generate.py

docs: setup
	$(BIN)/python docs/make_keys.py
	$(BIN)/python docs/make_states.py

sim: setup
	$(BIN)/python -m tests.sim --seeds $(SEEDS)

chaos: setup
	$(BIN)/python -m tests.chaos --minutes $(MINUTES)

screenshots: setup
	$(BIN)/python screenshots/make.py

bench: setup
	$(BIN)/python -m bench

verify: lint types test
