# Every target makes the environment first, so each works as the first command after a clone.
.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all test-ui check lint format ui pictures bench zoo reproduce scoreboard server clean

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
CHROMIUM := /usr/bin/chromium
# One thread each: the networks of the tests are so small that more threads only wait for each other.
TEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' Makefile

setup: $(STAMP) ## make .venv and install what constraints.txt pins

$(STAMP): pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV); the first time takes minutes."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@

demo: $(STAMP) ## the default run: six stages on the handwritten digits of scikit-learn
	@$(BIN)/distill-lab

test: $(STAMP) ## the fast tests; no network, no GPU
	@$(TEST) -m "not slow and not ui"

test-all: $(STAMP) chromium postgresql ## all tests
	@$(TEST)

test-ui: $(STAMP) chromium ## the tests that look at the MLflow UI in a headless browser
	@$(TEST) -m ui tests/ui

check: $(STAMP) ## compose, check and build every config, without running any
	@$(BIN)/distill-lab check

lint: $(STAMP) ## style, format and types
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy

format: $(STAMP) ## rewrite the source in the project's format
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

ui: $(STAMP) ## the MLflow UI on http://127.0.0.1:5000
	@$(BIN)/distill-lab ui

server: $(STAMP) postgresql ## a tracking server on http://127.0.0.1:5001: MLflow on PostgreSQL, kept in FOLDER (mlflow-server)
	@$(BIN)/distill-lab server --folder '$(or $(FOLDER),mlflow-server)' --port $(or $(PORT),5001)

pictures: $(STAMP) chromium ## make docs/pictures again
	@PYTHONPATH=tests/ui OMP_NUM_THREADS=1 $(BIN)/python docs/pictures/make_pictures.py

bench: $(STAMP) ## speed beside other loops, into docs/speed.md; some 20 minutes, nothing else may run
	@$(BIN)/python -m bench $(SECTIONS)

zoo: $(STAMP) ## every method on one pair of networks, into experiments/method_zoo; METHODS="at kd" or --missing: only those
	@OMP_NUM_THREADS=1 TQDM_DISABLE=1 $(BIN)/python -m experiments.method_zoo $(METHODS)

reproduce: $(STAMP) ## a paper's numbers beside ours: PAPER=hinton2015, SCALE=cpu for a short run, ONLY=omit3* for some
	@test -n "$(PAPER)" || { echo "make reproduce PAPER=<a folder of experiments/>" >&2; exit 2; }
	@$(BIN)/distill-lab reproduce $(PAPER) --scale $(or $(SCALE),full) --only '$(or $(ONLY),*)'

scoreboard: $(STAMP) ## what was reproduced of all papers
	@$(BIN)/distill-lab scoreboard

clean: ## remove the environment and caches; runs and reports stay
	@rm -rf $(VENV) .bench build dist .pytest_cache .mypy_cache .ruff_cache
	@find src tests docs -name __pycache__ -type d -exec rm -rf {} +

.PHONY: chromium
chromium:
	@if test -x $(CHROMIUM); then :; \
	elif test "$$(id -u)" = 0 && command -v apt-get >/dev/null; then \
		echo "Installing chromium."; \
		apt-get update -qq >/dev/null && apt-get install -y -qq chromium >/dev/null; \
	else \
		echo "There is no $(CHROMIUM). Install it: sudo apt-get install chromium" >&2; exit 1; \
	fi

.PHONY: postgresql
postgresql:
	@if ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || command -v initdb >/dev/null; then :; \
	elif test "$$(id -u)" = 0 && command -v apt-get >/dev/null; then \
		echo "Installing postgresql."; \
		apt-get update -qq >/dev/null && apt-get install -y -qq postgresql >/dev/null; \
	else \
		echo "There is no PostgreSQL. Install it: sudo apt-get install postgresql" >&2; exit 1; \
	fi
