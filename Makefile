# Every body is a plain `python -m ...` line: without make, type it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin/python
FLEET := $(BIN) -m fleet

.PHONY: install install-dev demo test lint types check bench docs
.DEFAULT_GOAL := check

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN) -m pip install --quiet --editable ".[train,test]"
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN) -m pip install --quiet --editable ".[train,test,dev]"
	@touch $@

install: $(VENV)/.installed

install-dev: $(VENV)/.installed-dev

demo: install
	$(FLEET) train --profiles profiles/devices.yaml
	$(FLEET) audit transfer
	$(FLEET) package
	$(FLEET) verify
	@echo "report: $$(ls -d runs/*/audits/transfer/report.html | tail -n 1)"

test: install
	$(BIN) -m coverage erase
	$(BIN) -m pytest -n auto --dist loadscope --no-loadscope-reorder --cov --cov-report=
	$(BIN) -m coverage report

lint: install-dev
	$(BIN) -m ruff check .
	$(BIN) -m ruff format --check .

types: install-dev
	$(BIN) -m mypy

check: lint types test

bench: install
	$(BIN) -m pytest -m benchmark tests/benchmarks -s
	$(BIN) -m docs.render

docs: install
	$(BIN) -m docs.render
