# Every body is a plain `python -m ...` line: without make, type it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin/python
FLEET := $(BIN) -m fleet
PEERS := .venv-crosscheck
PEERS_BIN := $(PEERS)/bin/python

.PHONY: install install-dev demo test mutants lint types check bench crosscheck docs reproduce-check reproduce-quick recompute cluster-check docs-site
.DEFAULT_GOAL := check

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(if $(TORCH),$(BIN) -m pip install --quiet torch torchvision --index-url https://download.pytorch.org/whl/$(TORCH))
	$(BIN) -m pip install --quiet --editable ".[train,test]"
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN) -m pip install --quiet --editable ".[train,test,dev]"
	@touch $@

# An environment of its own: torchattacks pins a requests of 2021, so it comes without dependencies.
$(PEERS)/.installed: pyproject.toml
	$(PYTHON) -m venv $(PEERS)
	$(PEERS_BIN) -m pip install --quiet --editable ".[train,test,crosscheck]"
	$(PEERS_BIN) -m pip install --quiet --no-deps "torchattacks==3.5.1"
	@touch $@

install: $(VENV)/.installed

install-dev: $(VENV)/.installed-dev

demo: install
	$(FLEET) demo --profile profiles/devices.yaml
	@echo "Beside it the fleet as the 2021 paper trains it (profiles/paper-demo.yaml):"
	$(FLEET) report results/paper-demo/audit.json --brief

# COVERAGE=1 measures coverage too: the same tests, two fifths longer. Bytecode is written whatever
# the environment says: else every process that a test starts compiles the package anew.
test: export PYTHONDONTWRITEBYTECODE =
test: install
	$(BIN) -m pytest -n auto --dist loadscope --no-loadscope-reorder $(if $(COVERAGE),--cov --cov-report=)
	$(if $(COVERAGE),$(BIN) -m coverage report)

# Not part of any check: minutes for a sample, hours for all (docs/decisions/0009-mutants.md).
mutants: install
	$(BIN) -m pip install --quiet --editable ".[mutants]"
	$(BIN) -m tests.mutants

# Each uses one core: `make -j2 reproduce-check` runs both at once.
reproduce-check: reproduce-quick recompute

reproduce-quick: install
	$(FLEET) reproduce all --quick

recompute: install
	$(BIN) -m pytest -m "reproduction and not slow"

# Kills nodes of a real Ray cluster on this machine (docs/clusters.md).
cluster-check: install
	$(BIN) -m pip install --quiet --editable ".[ray]"
	$(BIN) -m pytest -m "cluster or not cluster" tests/integration/test_ray.py

lint: install-dev
	$(BIN) -m ruff check .
	$(BIN) -m ruff format --check .

types: install-dev
	$(BIN) -m mypy

check: lint types test

crosscheck: $(PEERS)/.installed
	$(PEERS_BIN) -m fleet audit crosscheck

bench: install $(PEERS)/.installed
	$(PEERS_BIN) -m pytest -m benchmark tests/benchmarks -s
	$(BIN) -m docs.render

docs: install
	$(FLEET) profiles schema --out profiles/devices.schema.json
	$(BIN) -m docs.figures
	$(BIN) -m docs.render

# The documents as a site in build/site; nothing is fetched when it is built or read.
docs-site: install
	$(BIN) -m pip install --quiet --editable ".[docs]"
	$(BIN) -m mkdocs build --strict
