# `make demo` and `make test` need Python 3.11+ and nothing else; both set up .venv by themselves.
PYTHON ?= python3
BIN := .venv/bin
.PHONY: setup demo test lint bench clean

setup: .venv/.setup-stamp
.venv/.setup-stamp: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Andon needs Python 3.11 or newer; set PYTHON=")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[local,dev]'
	touch $@

demo: setup
	$(BIN)/andon demo

test: setup
	$(BIN)/pytest

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: setup
	for name in combine collect decide archive latency; do $(BIN)/andon bench $$name --json || exit 1; done

clean:
	rm -rf .venv build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
