# The front door: `make demo` and `make test` set everything up when needed.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready

# full: the published weights and the challenge's recordings; mini: tiny networks and generated ones,
# in a folder of their own.
SCALE ?= full
ifeq ($(SCALE),mini)
MINI ?= mini
DATA ?= $(MINI)/data
RUNS ?= $(MINI)/runs
OUT ?= $(MINI)/dist
# Networks this small are slowest on several threads.
SCALED := --overlay submissions/mini.toml --workers 0
OVERWRITE ?= 1
export OMP_NUM_THREADS ?= 1
else ifneq ($(SCALE),full)
$(error SCALE is $(SCALE); choose full or mini)
endif
DATA ?= data
RUNS ?= runs
OUT ?= submissions/dist
DEMO ?= demo
TESTS ?=

# How systems are run: GPUs that they take in turn ("0 1 2 3", or "0,1 2,3" for two each), what starts
# their training ("accelerate launch --num_processes 2"), and which ones `make systems` runs.
DEVICES ?=
LAUNCH ?=
SYSTEMS ?= $(patsubst submissions/systems/%.toml,%,$(sort $(wildcard submissions/systems/*.toml)))
# With OVERWRITE=1 fusions and packaged systems that were made otherwise are replaced.
OVERWRITE ?=
# With DRY_RUN=1 only the plan is printed, for GPUs of TFLOPS.
DRY_RUN ?=
TFLOPS ?=

PLUGINS := $(wildcard plugins/*/pyproject.toml)
FORMS := $(sort $(wildcard submissions/submission_*.toml))
# What a fusion is made of stands in the folder of its name, and is run in its place.
PARTS = $(patsubst submissions/systems/%.toml,%,$(sort $(wildcard submissions/systems/$(1)/*.toml)))
SINGLE := $(foreach each,$(SYSTEMS),$(or $(call PARTS,$(each)),$(each)))
RECIPES := $(SINGLE:%=submissions/systems/%.toml)
RUN := $(BIN)/dcase-asd run
WHERE := --data $(DATA) --runs $(RUNS) $(SCALED)

SHELL := bash
.DEFAULT_GOAL := help
.PHONY: help setup demo test lint format bench systems submission checked clean $(SINGLE:%=system/%)

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

# The tests' networks are tiny, and slower on several threads.
test: export OMP_NUM_THREADS ?= 1
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

# Before any system runs, all are checked: what is missing is told at once and not hours later.
checked: $(READY)
ifeq ($(SCALE),mini)
	@$(BIN)/dcase-asd demo --data-only $(DATA)
endif
	@$(RUN) $(if $(filter submission,$(MAKECMDGOALS)),$(FORMS),$(RECIPES)) $(WHERE) --check

# Through `cat`, systems that run side by side say how far they are in lines instead of drawing bars.
$(SINGLE:%=system/%): system/%: checked
	@set -e -o pipefail; devices=($(DEVICES)); index=0; \
	for each in $(SINGLE); do [ $$each = $* ] && break; index=$$((index + 1)); done; \
	if [ $${#devices[@]} -gt 0 ]; then \
		export CUDA_VISIBLE_DEVICES=$${devices[index % $${#devices[@]}]}; \
	fi; \
	{ $(if $(LAUNCH),PATH="$(abspath $(BIN)):$$PATH" $(LAUNCH) -m dcase_asd run \
		submissions/systems/$*.toml $(WHERE) --train-only;) \
	$(RUN) submissions/systems/$*.toml $(WHERE) --prepared --brief; } 2>&1 | cat

systems: $(SINGLE:%=system/%)  ## Run systems (SYSTEMS="beats_01 baseline", -j, DEVICES=, LAUNCH=)

ifeq ($(DRY_RUN),)
submission: $(SINGLE:%=system/%)  ## From data on disk to the packaged, validated entry (SCALE=mini, DRY_RUN=1)
	$(RUN) $(FORMS) $(WHERE) --out $(OUT) --prepared $(if $(OVERWRITE),--overwrite)
else
submission: $(READY)
	@$(RUN) $(FORMS) $(WHERE) --out $(OUT) --dry-run $(if $(TFLOPS),--tflops $(TFLOPS))
endif

clean:  ## Remove the environment and caches (never data, runs or packages)
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
