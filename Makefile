# Everything that is done with this checkout, by name. `make` alone explains.
#
# All of it lives in .venv, made with the first Python >= 3.11 found (or PYTHON=...). Each stamp is
# one `pip install`, repeated when pyproject.toml changes: the demo and the bench install what a
# user installs and nothing else, the tests and the docs their own tools on top.

PYTHON ?=
ARGS   ?=
SCHEDULER ?= local
VENV   := .venv
BIN    := $(VENV)/bin
# A cluster that tests/live can start is up, and its commands are found.
UP      = $(if $(wildcard tests/live/$(SCHEDULER)),started=$$(tests/live/$(SCHEDULER) up) && eval "$$started" &&)
PIP    := $(BIN)/python -m pip --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
# One pip at a time in one environment.
.NOTPARALLEL:
.PHONY: help demo test check soak chaos bench peers clusters docs clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo '  SCHEDULER=slurm or sge has demo and chaos start a real one, as root on this machine, and run there.'
	@echo '  ARGS="..." is handed to the script of demo, chaos, bench, peers, clusters and to pytest; PYTHON=... picks the Python.'

demo: $(VENV)/.runtime ## compress and checksum the standard library as jobs, and print a table
	@$(UP) $(BIN)/python examples/demo.py --scheduler $(SCHEDULER) $(ARGS)

# A failing lint does not hide what the tests say, nor the other way round.
test: $(VENV)/.dev ## lint, types, and every test
	@lint=0; $(MAKE) --no-print-directory lint || lint=$$?; \
	$(if $(ARGS),$(BIN)/python -m pytest $(ARGS),$(MAKE) --no-print-directory tests) || exit $$?; \
	[ $$lint -eq 0 ] || { echo 'the tests passed, lint did not: see above, or make check' >&2; exit 1; }

# Tests wait for most of their time, for processes, files and clocks; those at real clusters do hardly
# anything else. So three parts of them run side by side. What two of them print comes after the first,
# and the last line says what failed; `make test ARGS=--lf` runs that again.
TESTS_FIRST := tests/acceptance tests/cli tests/conformance tests/engine
TESTS_LIVE  := tests/live
.PHONY: tests
tests: $(VENV)/.dev
	@logs=$$(mktemp -d) || exit 1; failed=; \
	part() { cache=$$1; shift; $(BIN)/python -m pytest -o cache_dir="$$logs/cache-$$cache" "$$@"; }; \
	part live $(TESTS_LIVE) >"$$logs/live" 2>&1 & live=$$!; \
	part others $(patsubst %,--ignore=%,$(TESTS_FIRST) $(TESTS_LIVE)) >"$$logs/others" 2>&1 & others=$$!; \
	part first $(TESTS_FIRST) || failed=' $(TESTS_FIRST)'; \
	wait $$others || failed="$$failed, the others"; \
	echo 'beside them, all others:'; cat "$$logs/others"; \
	wait $$live || failed="$$failed, $(TESTS_LIVE)"; \
	echo 'beside them, at real clusters ($(TESTS_LIVE)):'; cat "$$logs/live"; \
	$(BIN)/python tests/lastfailed.py .pytest_cache "$$logs"/cache-*; \
	rm -rf "$$logs"; \
	[ -z "$$failed" ] || { echo "failed, see above:$${failed#,}" >&2; exit 1; }

check: lint ## lint, types, and the tests of the architecture: seconds
	@$(BIN)/python -m pytest tests/architecture

bench: $(VENV)/.runtime ## every number of docs/benchmarks.md, beside its bar
	@$(BIN)/python benchmarks/bench.py $(ARGS)

peers: $(VENV)/.runtime ## the same jobs with xqute and with what else one would take
	@$(BIN)/python benchmarks/peers.py $(ARGS)

clusters: $(VENV)/.runtime ## the same jobs at a real Slurm and a real Grid Engine, as root: beside a bare array, and peers
	@$(BIN)/python benchmarks/clusters.py $(ARGS)

# What must hold whatever happens, in two halves that run side by side: the fault rows; the suites of
# schedulers and stores, the crash sweep, and the lessons.
SOAK_FAULTS := tests/faults
SOAK_OTHERS := tests/conformance tests/crash tests/acceptance/test_lessons.py tests/acceptance/test_lessons_ending.py
SOAK_PYTEST  = $(BIN)/python -m pytest -q -r fE -p no:cacheprovider --basetemp=$${TMPDIR:-/tmp}/xqute-soak-

soak: $(VENV)/.dev ## the fault rows, suites and the crash sweep ten times in a row, and once in full
	@for round in 1 2 3 4 5 6 7 8 9 10; do \
	    $(SOAK_PYTEST)a $(SOAK_FAULTS) $(ARGS) & half=$$!; \
	    $(SOAK_PYTEST)b $(SOAK_OTHERS) $(ARGS) || { wait $$half; exit 1; }; \
	    wait $$half || exit 1; \
	    echo "soak: round $$round of 10 passed"; \
	done
	@$(SOAK_PYTEST)a -m soak $(ARGS)
	@echo "soak: the large grids passed"

chaos: $(VENV)/.dev ## kill a manager at random for five minutes; nothing may be lost or run twice
	@$(UP) $(BIN)/python -m tests.crash.chaos --scheduler $(SCHEDULER) $(ARGS)

docs: $(VENV)/.docs ## the documentation, into site/; a broken link is an error
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo 'docs: site/index.html'

clean: ## remove what make made
	@rm -rf $(VENV) site dist build .mypy_cache .pytest_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: lint
lint: $(VENV)/.dev
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --check --quiet
	@$(BIN)/mypy --strict --no-error-summary

# --- the environment -----------------------------------------------------------------------------

# A Python counts when it is new enough and can make a virtual environment: Debian splits that
# ability off into python3-venv.
define FIND_PYTHON
import sys
sys.exit(sys.version_info < (3, 11))
endef
export FIND_PYTHON

$(VENV)/bin/python:
	@found=; \
	for python in $(or $(PYTHON),python3 python3.14 python3.13 python3.12 python3.11); do \
	    $$python -c "$$FIND_PYTHON" 2>/dev/null || continue; \
	    found="$$found $$python"; \
	    $$python -c 'import ensurepip, venv' 2>/dev/null || continue; \
	    rm -rf $(VENV); \
	    echo "setting up $(VENV) with $$($$python --version)"; \
	    exec $$python -m venv $(VENV); \
	done; \
	if [ -n "$$found" ]; then \
	    echo "xqute: found$$found, but without the venv module: install it (Debian, Ubuntu: apt-get install python3-venv)." >&2; \
	else \
	    echo "xqute needs Python 3.11 or newer, and found none$(if $(PYTHON), at PYTHON=$(PYTHON)): install it, or say where it is: make PYTHON=/path/to/python3.11 ..." >&2; \
	fi; \
	exit 1

# --group is understood by pip 25.1 and newer; the pip inside Python 3.11 is older.
$(VENV)/.pip: $(VENV)/bin/python
	@$(PIP) install --upgrade 'pip>=25.1'
	@touch $@

$(VENV)/.runtime: $(VENV)/bin/python pyproject.toml
	@$(PIP) install --editable '.[cli]'
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime $(VENV)/.pip pyproject.toml
	@$(PIP) install --group tests --group lint
	@touch $@

$(VENV)/.docs: $(VENV)/.runtime $(VENV)/.pip pyproject.toml
	@$(PIP) install --group docs
	@touch $@
