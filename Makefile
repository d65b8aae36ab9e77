# What a newcomer, a developer and CI run. Every target sets up what it needs: a virtual
# environment of its own in $(VENV), made once and again only when pyproject.toml changes.
#
#   PYTHON   the interpreter to start from (3.11 or later)
#   VENV     where the virtual environment goes
#   WITH     further requirements for pip, such as 'SQLAlchemy<2.1'
#   ARGS     further arguments for pytest, the demo or the benchmarks

ifndef PYTHON
PYTHON := $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
    $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
    && echo $$p && break; done)
endif
VENV ?= .venv
WITH ?=
ARGS ?=

BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
CODE := $(wildcard chrononaut_pg tests examples benchmarks)

.PHONY: help setup demo serve test bench lint format clean

help:
	@echo 'make demo    the main job, on a server of its own'
	@echo 'make serve   the sample Flask application, until Ctrl-C'
	@echo 'make test    the test suite on the default PostgreSQL (ARGS="--pg 15": another)'
	@echo 'make lint    ruff, mypy and the import contracts'
	@echo 'make bench   what history costs'
	@echo 'make format  let ruff format and mend the code'
	@echo 'make clean   remove everything that these targets made'

setup: $(STAMP)

$(STAMP): pyproject.toml
	@test -n '$(PYTHON)' || { echo 'Python 3.11 or later is needed: set PYTHON'; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	    --editable '.[dev]' $(if $(WITH),'$(WITH)')
	@touch $(STAMP)

demo: $(STAMP)
	$(BIN)/python examples/demo.py $(ARGS)

serve: $(STAMP)
	PYTHONPATH=examples $(BIN)/python -m contacts $(ARGS)

test: $(STAMP)
	$(BIN)/python -m pytest $(ARGS)

bench: $(STAMP)
	$(BIN)/python -m benchmarks $(ARGS)

lint: $(STAMP)
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP)
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)

clean:
	rm -rf .venv .venv-* .cache .hypothesis .import_linter_cache .mypy_cache \
	    .pytest_cache .ruff_cache build dist
	find $(CODE) -name __pycache__ -type d -prune -exec rm -rf {} +
