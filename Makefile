# The two commands: `make demo` and `make test`. Both set up .venv by themselves, with what requirements/*.lock pins.

SHELL := /bin/bash
.DELETE_ON_ERROR:
.PHONY: help venv demo test test-kafka test-train check bench lock clean

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --no-input --disable-pip-version-check
DEMO_S ?=
TESTS ?=

TRAIN := $(VENV)/train
BENCH := $(VENV)/bench
BENCHMARKS := throughput latency recovery scale router archive routing_quality
BENCH_OPTIONS ?=

help: ## say what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

venv: $(VENV)/dev.stamp ## set up .venv for working on Eddy: everything but torch

demo: $(VENV)/demo.stamp ## simulated agents against the whole loop; DEMO_S=60 sets for how many seconds
	$(BIN)/eddy demo $(if $(DEMO_S),--seconds $(DEMO_S))

test: venv ## all tests but those that train, which need torch; brokers' tests on the embedded broker; TESTS=tests/unit runs some
	$(BIN)/pytest $(TESTS)

test-kafka: venv ## the brokers' tests on an Apache Kafka (Java and Maven needed), or on EDDY_TEST_BOOTSTRAP=host:port
	EDDY_TEST_BROKER=kafka $(BIN)/pytest $(or $(TESTS),tests/broker $(if $(EDDY_TEST_BOOTSTRAP),,tests/kafka tests/faults))

test-train: $(TRAIN)/train.stamp ## the tests that train, in an environment of their own with torch, transformers and peft: some 6 GB, once
	$(TRAIN)/bin/pytest $(or $(TESTS),tests/training)

check: venv ## ruff, mypy, import-linter, and the page that shows the topology
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports
	diff -u docs/topology.md <($(BIN)/python -m stream topology)

bench: venv $(BENCH)/bench.stamp ## measure all of docs/benchmarks.md anew, some hours; BENCH_OPTIONS="--quick --broker embedded" tries it out
	for name in $(BENCHMARKS); do $(BIN)/python -m benchmarks.$$name $(BENCH_OPTIONS) || exit 1; done

LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes
LOCKED := --extra worker --extra embedded pyproject.toml requirements/build.in

lock: venv ## resolve requirements/*.lock anew; UPGRADE=1 takes the newest of everything
	$(LOCK) $(if $(UPGRADE),--upgrade) --extra dev $(LOCKED) --output-file requirements/dev.lock
	$(LOCK) --constraint requirements/dev.lock $(LOCKED) --output-file requirements/demo.lock
	$(LOCK) --constraint requirements/dev.lock --extra train $(LOCKED) requirements/train.in --output-file requirements/train.lock
	$(LOCK) --constraint requirements/dev.lock $(LOCKED) requirements/beside.in --output-file requirements/beside.lock
	$(LOCK) $(if $(UPGRADE),--upgrade) requirements/bench.in --output-file requirements/bench.lock
	@! grep --line-number '://' requirements/*.lock || { echo 'a lock file names an address, but none may: remove the line, and the option that wrote it'; exit 1; }

clean: ## remove what was built and fetched, .venv included; data folders stay
	rm -rf $(VENV) .kafka dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The newest Python that really runs and can make an environment: a name on the PATH alone does not say so.
$(BIN)/python:
	@for python in $(PYTHON) python3.13 python3.12 python3.11 python3; do \
		if "$$python" -c 'import sys, ensurepip, venv; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then \
			echo "making $(VENV) with $$("$$python" --version)"; exec "$$python" -m venv --clear $(VENV); \
		fi; \
	done; echo 'no Python 3.11 to 3.13 that can make an environment is on the PATH, but Eddy needs one; install it (on Debian with python3-venv) or give it with PYTHON=' >&2; exit 1

$(VENV)/demo.stamp: requirements/demo.lock pyproject.toml | $(BIN)/python
	@echo 'installing what requirements/demo.lock pins'
	@$(PIP) --require-hashes -r requirements/demo.lock
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/dev.stamp: requirements/dev.lock $(VENV)/demo.stamp | $(BIN)/python
	@echo 'installing what requirements/dev.lock pins'
	@$(PIP) --require-hashes -r requirements/dev.lock
	@touch $@

# Quix Streams, Bytewax, MABWiser and Vowpal Wabbit, beside which Eddy is measured: their pins need not agree with Eddy's.
$(BENCH)/bench.stamp: requirements/bench.lock | $(BIN)/python
	@echo 'installing what requirements/bench.lock pins'
	@$(BIN)/python -m venv $(BENCH)
	@$(BENCH)/bin/python -m pip install --quiet --no-input --disable-pip-version-check --require-hashes -r requirements/bench.lock
	@touch $@

# torch, transformers and peft, with all that the other tests need.
$(TRAIN)/train.stamp: requirements/train.lock requirements/dev.lock pyproject.toml | $(BIN)/python
	@echo 'installing what requirements/train.lock and requirements/dev.lock pin in $(TRAIN): some 6 GB, a few minutes'
	@$(BIN)/python -m venv $(TRAIN)
	@$(TRAIN)/bin/python -m pip install --quiet --no-input --disable-pip-version-check --no-cache-dir --require-hashes -r requirements/train.lock -r requirements/dev.lock
	@$(TRAIN)/bin/python -m pip install --quiet --no-input --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@
