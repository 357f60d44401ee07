# The front door: `make demo` and `make test` set everything up when needed.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready

DATA ?= data
RUNS ?= runs
OUT ?= submissions/dist
DEMO ?= demo
TESTS ?=

PLUGINS := $(wildcard plugins/*/pyproject.toml)
SUBMISSIONS := $(sort $(wildcard submissions/submission_*.toml))

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint format bench submission clean

help:  ## Show what can be made
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

setup: $(READY)  ## Make .venv with everything installed; nothing when it is up to date

# The environment is made anew where its interpreter is gone, and brought up to date where a
# requirement changed.
$(READY): pyproject.toml constraints.txt $(PLUGINS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: $(PYTHON) is older than Python 3.11; give another with PYTHON=..." >&2; exit 1; }
	@$(BIN)/python -c '' 2>/dev/null || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade -c constraints.txt pip
	@echo "Installing torch and the rest: some minutes the first time, several GB of disk"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
		--editable . $(foreach plugin,$(PLUGINS),--editable $(dir $(plugin))) --group dev
	@touch $(READY)

demo: $(READY)  ## Run the whole pipeline on a generated miniature of the challenge
	$(BIN)/dcase-asd demo $(DEMO)

test: $(READY)  ## Run every test (TESTS=... for some)
	$(BIN)/python -m pytest $(TESTS)

lint: $(READY)  ## Check style, types and the layers' imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY)  ## Format the code
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

bench: $(READY)  ## Measure speed and memory as ratios
	@for bench in tests/benchmarks/bench_*.py; do $(BIN)/python $$bench || exit 1; done

submission: $(READY)  ## From data on disk to packaged, validated entries (DATA=, RUNS=, OUT=)
	@test -n "$(SUBMISSIONS)" || { echo "error: no submissions/submission_*.toml" >&2; exit 1; }
	@for each in $(SUBMISSIONS); do \
		$(BIN)/dcase-asd run $$each --data $(DATA) --runs $(RUNS) --out $(OUT) || exit 1; \
	done

clean:  ## Remove the environment and caches (never data, runs or packages)
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
