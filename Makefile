# make demo | test | lint | bench | setup; each first installs what it needs (scripts/setup.sh) and says what.
SHELL := /bin/bash
VENV ?= .venv
BIN := $(VENV)/bin
WORKERS ?= 2
.PHONY: demo test lint bench setup
export VENV

demo:  ## from nothing to a trained policy, in about a minute
	@scripts/setup.sh demo
	@"$(BIN)/wardian" demo

test:  ## every test; ARGS="tests/unit -k tar" chooses
	@scripts/setup.sh test
	@"$(BIN)/pytest" -n $(WORKERS) --dist worksteal $(ARGS)

lint:
	@scripts/setup.sh lint
	"$(BIN)/ruff" check .
	"$(BIN)/ruff" format --check .
	"$(BIN)/mypy"

bench:  ## side by side with Docker where one can be had; ARGS="--quick --json bench.json"
	@scripts/setup.sh bench
	@"$(BIN)/python" bench/build.py $(ARGS)
	@"$(BIN)/python" bench/engines.py $(if $(findstring --quick,$(ARGS)),--quick)
	@"$(BIN)/python" bench/startup.py

setup:  ## everything that test and lint need
	@scripts/setup.sh test
