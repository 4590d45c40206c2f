# Everything a developer runs. `make` alone lists it.

# The first interpreter that is new enough; PYTHON=... chooses another one.
PYTHON ?= $(shell for name in python3.11 python3 python3.12 python3.13; do \
	$$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$name; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
WORKERS ?= 2
# What pytest gets besides the defaults, such as TESTS=tests/routing or TESTS="-k hygiene".
TESTS ?=
# Options of `manage.py demo`, such as DEMO="--bind 127.0.0.1:8080".
DEMO ?=

.DEFAULT_GOAL := help
.PHONY: help run test soak lint format bench clean

help: ## List these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(VENV)/.installed ## Start the gateway and the example services on 127.0.0.1:8000
	@exec env GATEWAY_ENV=development $(BIN)/python manage.py demo $(DEMO)

test: $(VENV)/.installed ## Install what the tests need and run them all (but the soak tests)
	@tests/services/install
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -m "not soak" $(TESTS)

soak: $(VENV)/.installed ## Run the slow tests: hours of load, faults, leaks
	@tests/services/install soak
	$(BIN)/python -m pytest -m soak --timeout 7200 $(TESTS)

lint: $(VENV)/.installed ## Check style, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.installed ## Mend style and format where a tool can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.installed $(VENV)/.installed-benchmarks ## Measure against other gateways; writes benchmarks/RESULTS.md
	$(BIN)/python -m benchmarks

clean: ## Remove the virtual environment and caches; keep var/ (the data)
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache .hypothesis htmlcov .coverage
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Gatehouse needs Python 3.11 or newer: none was found. Install it, or say PYTHON=/path/to/python3.11." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Gatehouse needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1)." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "$(PYTHON) can't make a virtual environment; on Debian: apt-get install python3-venv" >&2; exit 1; }

$(VENV)/.installed: requirements.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

$(VENV)/.installed-benchmarks: benchmarks/requirements.txt | $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r benchmarks/requirements.txt
	@touch $@
