# The front door: `make demo` and `make test` set everything up when needed.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
PLUGINS := $(wildcard plugins/*/pyproject.toml)
DEMO ?= demo
TESTS ?=
TEST_PROCESSES ?= 2

# `make submission` and `make systems` are `dcase-asd run` (see its --help); these become its flags:
# SCALE=mini, DATA, RUNS, OUT, DEVICES="0 1 2 3", LAUNCH="accelerate launch --num_processes 2",
# SYSTEMS="beats_01 beats_02", -j4, OVERWRITE=1, DRY_RUN=1.
SCALE ?= full
$(if $(filter full mini,$(SCALE)),,$(error SCALE is $(SCALE); choose full or mini))
RUN = $(BIN)/dcase-asd run submissions/submission_*.toml $(if $(filter mini,$(SCALE)),--mini) \
	$(if $(DATA),--data $(DATA)) $(if $(RUNS),--runs $(RUNS)) $(if $(OUT),--out $(OUT)) \
	$(if $(DEVICES),--devices '$(DEVICES) ') $(if $(LAUNCH),--launch '$(LAUNCH)') \
	$(addprefix --jobs ,$(patsubst -j%,%,$(filter -j%,$(MAKEFLAGS)))) \
	$(if $(OVERWRITE),--overwrite) $(if $(DRY_RUN),--dry-run) $(RUN_FLAGS)

SHELL := bash
.DEFAULT_GOAL := help
.PHONY: help setup demo test coverage lint format docs bench systems submission clean

help:  ## Show what can be made
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14
setup: $(READY)  ## Make .venv with everything installed; nothing when it is up to date
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
test coverage: export OMP_NUM_THREADS ?= 1  # the tests' networks are tiny, and slower on several threads
test: $(READY)  ## Run every test (TESTS=... for some)
	$(BIN)/python -m pytest --numprocesses $(TEST_PROCESSES) --dist loadfile $(TESTS)
coverage: $(READY)  ## Run every test and say which lines none of them runs (98 % at least)
	$(BIN)/python -m pytest --numprocesses $(TEST_PROCESSES) --dist loadfile --cov $(TESTS)
lint: $(READY)  ## Check style, types and the layers' imports
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports
format: $(READY)  ## Format the code
	$(BIN)/ruff check --fix-only . && $(BIN)/ruff format .
docs: $(READY)  ## Write docs/help.md anew from the commands' help
	$(BIN)/python -m dcase_asd.cli.help_page
bench: $(READY)  ## Measure speed and memory as ratios
	@for bench in tests/benchmarks/bench_*.py; do $(BIN)/python $$bench || exit 1; done
systems: $(READY)  ## Run single systems (SYSTEMS="beats_01 baseline"; all of the submission's without)
	$(RUN) --only '$(or $(SYSTEMS),all)'
submission: $(READY)  ## From data on disk to the packaged, validated entry (SCALE=mini, DRY_RUN=1)
	$(RUN)
clean:  ## Remove the environment and caches (never data, runs or packages)
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .coverage*
