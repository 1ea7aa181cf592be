# What there is to do here.  `make demo` and `make test` need only python3 and make.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
SEEDS ?= 10000
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.DEFAULT_GOAL := help
.PHONY: help demo demo-stop demo-clean test test-fast test-newer test-django test-django-live test-third-party check \
        proto soak workloads mutants coverage bench bench-core clean

help: ## Show this
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

$(VENV)/.demo: pyproject.toml
	@test -x $(BIN)/python || (echo "Making $(VENV) ..." && $(PYTHON) -m venv $(VENV))
	@echo "Installing what the demo needs ..."
	@$(PIP) install --upgrade pip && $(PIP) install --editable '.[demo]'
	@touch $@

$(VENV)/.dev: pyproject.toml
	@test -x $(BIN)/python || (echo "Making $(VENV) ..." && $(PYTHON) -m venv $(VENV))
	@echo "Installing what the tests need ..."
	@$(PIP) install --upgrade pip && $(PIP) install --editable '.[dev]'
	@touch $@ $(VENV)/.demo

# Given on the command line only: many environments have a PORT that means something else.
PORT_OPTION = $(if $(filter command,$(origin PORT)),--base-port $(PORT))

demo: $(VENV)/.demo ## Three nodes and the booking site on this machine (PORT=7000, ARGS=...); Ctrl-C stops them
	@$(BIN)/python manage.py demo $(PORT_OPTION) $(ARGS)

demo-stop: ## Stop a demo that was left running
	@! test -x $(BIN)/python || $(BIN)/python manage.py demo --stop

demo-clean: ## Forget the demo's data
	@test ! -e .demo || ! test -x $(BIN)/python || $(BIN)/python manage.py demo --stop
	rm -rf .demo

test: $(VENV)/.dev ## Everything: unit, simulation, real clusters, browser, Django's own suite, applications'
	$(BIN)/python -m pytest -n 2 -m 'not cluster and not browser'
	$(BIN)/python -m pytest -n 2 --dist loadfile -m 'cluster or browser'
	$(BIN)/python -m tests.django_suite
	$(BIN)/python -m tests.django_suite --live brief
	$(BIN)/python -m tests.third_party brief

test-fast: $(VENV)/.dev ## Without real clusters, browser and Django's suite
	$(BIN)/python -m pytest -n 2 -m 'not cluster and not browser'

test-newer: $(VENV)/.dev # As `test`, less what does not depend on the Django version
	$(BIN)/python -m pytest -n 2 tests/backend tests/applier tests/operator tests/demo tests/api
	$(BIN)/python -m pytest tests/cluster/test_everyday.py
	$(BIN)/python -m tests.django_suite backends bulk_create delete transactions update get_or_create schema
	$(BIN)/python -m tests.django_suite --live brief
	$(BIN)/python -m tests.third_party brief

test-django: $(VENV)/.dev ## The part of Django's own suite that touches the database (LABELS=...)
	$(BIN)/python -m tests.django_suite $(LABELS)

test-django-live: $(VENV)/.dev ## Labels of it that commit, on three nodes (LABELS=...)
	$(BIN)/python -m tests.django_suite --live $(LABELS)

test-third-party: $(VENV)/.dev ## Applications' own tests, on three nodes (APPS="django-treebeard")
	$(BIN)/python -m tests.third_party $(APPS)

check: $(VENV)/.dev ## Lint, types, generated code, migrations
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m tests.protobuf --check
	$(BIN)/python manage.py makemigrations --check --dry-run

proto: $(VENV)/.dev ## Generate the protobuf modules
	$(BIN)/python -m tests.protobuf

soak: $(VENV)/.dev ## The simulator on SEEDS=10000 seeds
	$(BIN)/python -m tests.sim $(SEEDS)

workloads: $(VENV)/.dev ## Clients on a real cluster with faults, their histories judged (ARGS="--seconds 600 --seed 7")
	$(BIN)/python -m tests.workloads $(ARGS)

mutants: $(VENV)/.dev ## Put classic mistakes back one at a time: which tests and how many seeds notice (ARGS=...)
	$(BIN)/python -m tests.mutants $(ARGS)

coverage: $(VENV)/.dev ## Branch coverage of raftcore by its own tests
	$(BIN)/python -m pytest -n 2 --cov=raftcore --cov-branch --cov-report=term-missing:skip-covered \
		tests/core tests/storage tests/snapshot_stream tests/scenarios tests/fuzz tests/linearizability

bench: $(VENV)/.dev ## Stock SQLite, PostgreSQL with quorum standbys and this, side by side
	$(BIN)/python -m benchmarks $(ARGS)

bench-core: $(VENV)/.dev ## The core and its log alone, beside PySyncObj
	$(BIN)/python -m benchmarks.core $(ARGS)

clean: ## Remove what tools left
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist ./*.egg-info artifacts
