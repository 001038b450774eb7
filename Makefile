# Two commands do everything: `make demo` and `make test`. Both set up what is missing first.
# PYTHON: the Python to build .venv with (3.11 to 3.13). ARGS: passed on to the command.
# BENCH: which benchmark.

PYTHON ?= python3
ARGS ?=
BENCH ?= settlements

VENV := .venv
PY := $(VENV)/bin/python
# Stamps live inside what they vouch for: delete .venv or node_modules, and they are made again.
STAMPS := $(VENV)/.stamps
NODE_MODULES := node_modules/.package-lock.json
LOCK_VENV := .cache/lock-venv

# A virtual environment knows its own path. After the checkout moved, it is rebuilt.
ifneq ($(wildcard $(STAMPS)/venv),)
ifneq ($(shell cat $(STAMPS)/venv),$(CURDIR))
$(shell rm -f $(STAMPS)/venv)
endif
endif

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup compile demo up test check coverage bench soak lint lab notebooks lock clean distclean

help: ## This list
	@echo "Settlement Workbench. Targets:"
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "  make %-10s %s\n", $$1, $$2}'
	@echo "  ARGS=... is passed on, PYTHON=... chooses the Python (3.11 to 3.13)."

setup: $(STAMPS)/project $(NODE_MODULES) compile ## Python, Node, anvil, solc, contracts: all inside this folder

compile: $(STAMPS)/project $(NODE_MODULES) ## Compile the contracts with Ape, if they changed
	@$(PY) -m workbench.evm.build.compile $(if $(filter compile,$(MAKECMDGOALS)),$(ARGS))

demo: setup ## One whole settlement, from HTTP 402 to the delivered asset
	@$(VENV)/bin/workbench demo $(ARGS)

up: setup ## Node and services, until Ctrl-C
	@$(VENV)/bin/workbench up $(ARGS)

test: setup ## The quick tests, notebooks included, on three workers (much of it waits) (ARGS=tests/core for some)
	@$(PY) -m pytest -n 3 --dist loadscope --no-loadscope-reorder --nbval $(if $(ARGS),$(ARGS),tests notebooks)

check: setup ## The slower tests: JupyterLab in Chromium, storms (ARGS=tests/lab for some)
	@$(PY) -m pytest -m check -n 2 --dist loadscope $(if $(ARGS),$(ARGS),tests)

coverage: setup ## The tests not marked slow once more, and the share of lines they run in each folder (ARGS=--write keeps it)
	@$(PY) tools/coverage_floors.py $(ARGS)

bench: setup ## Services against the node's own rate for the same bytes (BENCH=settlements, simulated, payouts or lab)
	@$(PY) -m bench.$(BENCH) $(ARGS)

soak: setup ## Many seeds, each audited (ARGS="scenarios/storm.yaml --seeds 200 --first 1000", ARGS="payouts --payouts 1000000", ARGS="kills")
	@$(PY) tools/soak.py $(ARGS)

lint: $(STAMPS)/project ## Style and types: ruff, mypy --strict
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy

lab: setup ## JupyterLab on the notebooks, until Ctrl-C (ARGS="--no-browser --port 9000")
	@$(VENV)/bin/workbench lab $(ARGS)

notebooks: setup ## Run the notebooks again and keep their output
	@$(PY) tools/notebooks.py $(ARGS)

lock: ## Resolve requirements.in into requirements.lock and its two parts (asks the package index)
	@echo "lock: uv in an environment of its own ..."
	@rm -rf $(LOCK_VENV) && mkdir -p .cache && $(PYTHON) -m venv $(LOCK_VENV)
	@$(LOCK_VENV)/bin/python -m pip install --quiet --disable-pip-version-check uv
	@$(LOCK_VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --custom-compile-command "make lock" --upgrade \
	  --override requirements.override --output-file requirements.lock requirements.in
	@rm -rf $(LOCK_VENV)
	@$(PYTHON) tools/runtime_lock.py --write
	@echo "lock: requirements.lock lists $$(grep -c '^[a-zA-Z0-9].*==' requirements.lock) packages"

clean: ## Remove what building and running left (not .venv and node_modules)
	@rm -rf .build .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis contracts/.cache
	@find . -name __pycache__ -type d -not -path "./$(VENV)/*" -not -path "./node_modules/*" -prune -exec rm -rf {} +

distclean: clean ## Remove all that set-up brought, too
	@rm -rf $(VENV) node_modules

# ------------------------------------------------------------------------------------- set-up

$(STAMPS)/venv:
	@command -v "$(PYTHON)" > /dev/null || { \
	  echo "setup: there is no '$(PYTHON)'. Install Python 3.11, or name one: make setup PYTHON=python3.11"; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "setup: $(PYTHON) is $$("$(PYTHON)" -V 2>&1 | cut -d' ' -f2); Python 3.11, 3.12 or 3.13 is needed: make setup PYTHON=python3.11"; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info >= (3, 14))' || { \
	  echo "setup: $(PYTHON) is $$("$(PYTHON)" -V 2>&1 | cut -d' ' -f2), newer than the locked packages (numpy among them) are known to work with; use Python 3.11, 3.12 or 3.13: make setup PYTHON=python3.11"; exit 1; }
	@"$(PYTHON)" -c 'import venv, ensurepip' 2> /dev/null || { \
	  echo "setup: this Python has no venv module. On Debian: apt-get install python3-venv"; exit 1; }
	@echo "setup 1/4: virtual environment in $(VENV) ..."
	@rm -rf $(VENV)
	@"$(PYTHON)" -m venv $(VENV)
	@mkdir -p $(STAMPS)
	@printf '%s' '$(CURDIR)' > $@

# A package whose installation was cut short can look installed. So a mark is left while pip is
# at work, and where it is still there the environment is begun anew (pip's cache makes that quick).
$(STAMPS)/python: requirements.lock $(STAMPS)/venv
	@if [ -e $(STAMPS)/installing ]; then \
	  echo "setup: the last set-up was interrupted, beginning anew"; \
	  rm -f $(STAMPS)/venv; $(MAKE) --no-print-directory $(STAMPS)/venv; fi
	@echo "setup 2/4: $$(grep -c '^[a-zA-Z0-9].*==' requirements.lock) Python packages, two to three minutes the first time ..."
	@touch $(STAMPS)/installing
	@$(PY) -m pip install --quiet --disable-pip-version-check --no-input --progress-bar off \
	  --no-deps --require-hashes --requirement requirements.lock
	@rm -f $(STAMPS)/installing
	@touch $@

$(STAMPS)/project: pyproject.toml $(STAMPS)/python
	@echo "setup 3/4: the workbench itself ..."
	@$(PY) -m pip install --quiet --disable-pip-version-check --no-input --no-index \
	  --no-deps --no-build-isolation --editable .
	@touch $@

$(NODE_MODULES): package.json package-lock.json .npmrc tools/npm.py $(STAMPS)/python
	@echo "setup 4/4: anvil, solc and the contract packages from npm, about 100 MB ..."
	@$(PY) tools/npm.py
