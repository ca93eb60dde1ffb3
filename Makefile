# InstInfer. `make` alone lists what there is.
#
#   PYTHON       interpreter for .venv, 3.11 or newer      (found by itself)
#   TORCH_INDEX  one more wheel index, e.g. https://download.pytorch.org/whl/cpu
#   PIP_ARGS     anything else for `pip install`
#   JOBS         test files run side by side               (default 2)
#   TEST_ARGS    more for pytest, e.g. TEST_ARGS="tests/rtl -k sequencer"
#   PRESET       drive preset of demo, verilog, area        (default "default", of verilog the board's)
#   BOARD        cosmos_plus, daisyplus, smartssd, generic  (default "generic")
#   TOKENS       tokens the demo generates                 (default 40)

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3.14 python3 python; do \
	  "$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; \
	  done)
TORCH_INDEX ?=
PIP_ARGS ?=
JOBS ?= 2
TEST_ARGS ?=
PRESET ?= default
BOARD ?= generic
TOKENS ?= 40

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
OUT := out

.PHONY: demo test soak lint format formal bench verilog hashes area clean help

demo: $(READY) ## generate text with SmolLM2, its decode attention computed in the simulated drive
	@mkdir -p $(OUT)
	$(BIN)/instinfer generate --model smollm2 --preset $(PRESET) --prompt-file host/demo_prompt.txt \
	  --max-new-tokens $(TOKENS) --compare --json $(OUT)/generate.json

test: $(READY) ## the regression, one line per test file (JOBS=2, TEST_ARGS=...)
	$(BIN)/pytest -n $(JOBS) --dist loadfile $(TEST_ARGS)

soak: $(READY) ## the long runs that `make test` leaves out
	$(BIN)/pytest -m soak --timeout 14400 $(TEST_ARGS)

lint: $(READY) ## ruff (rules and format) and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY) ## let ruff format the tree and fix what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

formal: $(READY) ## all proofs of streams, for all time: component, k of the induction, seconds
	$(BIN)/pytest -m formal -n $(JOBS) tests/formal $(TEST_ARGS)

bench: $(READY) ## dense attention against the flash-bus bound, over shapes: table, picture (10 minutes)
	$(BIN)/instinfer bench dense --out $(OUT)

verilog: $(READY) ## the drive as Verilog with all for a board but Vivado: out/verilog-BOARD (BOARD=cosmos_plus)
	$(BIN)/instinfer verilog --board $(BOARD) $(if $(filter file,$(origin PRESET)),,--preset $(PRESET))

hashes: $(READY) ## the Verilog changed on purpose: write the hashes that the tests expect of it
	$(BIN)/python -m tests.host.verilog_hashes

area: $(READY) ## what the drive takes of an FPGA, by synthesis, beside the paper's (PRESET=default; minutes)
	@mkdir -p $(OUT)
	$(BIN)/instinfer area --preset $(PRESET) --json $(OUT)/area.json

clean: ## remove what was built here; .venv and the user's model cache stay
	rm -rf $(OUT) build .pytest_cache .ruff_cache .mypy_cache *.egg-info
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

help: ## this list
	@sed -n 's/^\([a-z]*\):[^#]*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "%-16s %s\n", $$1, $$2}'

# The environment. Made once, refreshed when a pin or a dependency changes.
$(READY): pyproject.toml constraints.txt
	@for tool in gcc g++ make perl; do command -v $$tool >/dev/null || { \
	  echo "error: '$$tool' is missing. The simulated drive is compiled here: install gcc, g++, make and perl" \
	       "(Debian, Ubuntu: apt install build-essential perl)." >&2; exit 1; }; done
	@if [ ! -x $(BIN)/python ]; then \
	  python="$(PYTHON)"; \
	  [ -n "$$python" ] || { echo "error: no Python 3.11 or newer was found." \
	    "Install one, or name it: make PYTHON=/path/to/python3.11 ..." >&2; exit 1; }; \
	  "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "error: $$python does not run, or is older than 3.11. Name another: make PYTHON=/path/to/python3.11 ..." >&2; exit 1; }; \
	  "$$python" -c 'import ensurepip, venv' 2>/dev/null || { echo "error: $$python cannot make virtual environments" \
	    "(Debian, Ubuntu: apt install python3-venv)." >&2; exit 1; }; \
	  echo "environment  making .venv with $$("$$python" --version)"; \
	  "$$python" -m venv --clear $(VENV); \
	fi
	@echo "environment  installing the packages of constraints.txt (first time: some minutes; log in $(VENV)/install.log)"
	@start=$$SECONDS; \
	$(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt --editable '.[dev]' \
	  $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) $(PIP_ARGS) >$(VENV)/install.log 2>&1 || { \
	  tail -n 20 $(VENV)/install.log >&2; \
	  echo "error: pip could not install the packages, see above. Behind another index: TORCH_INDEX=... or PIP_ARGS=..., see README.md" >&2; \
	  exit 1; }; \
	echo "environment  ready ($$((SECONDS - start)) s)"
	@touch $@
