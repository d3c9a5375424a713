# `make demo` and `make test` need Python 3.11+ and nothing else; both set up .venv by themselves.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check
PINNED := --require-hashes --only-binary :all: -r
# uv takes a quarter of pip's time, and says how far it is; an index that only pip's configuration names is pip's.
define INSTALL
$(BIN)/uv pip install --python $(BIN)/python --compile-bytecode $(PINNED) $(1) || \
	{ echo "uv could not install them: once more, with pip; minutes, in which nothing is said."; $(PIP) $(PINNED) $(1); }
endef
# Tests side by side, those that share a service in one process, the longest first: see tests/support/tiers.py.
WORKERS ?= 3
PYTEST := $(BIN)/pytest -n $(WORKERS) --dist loadgroup --no-loadscope-reorder
COVER := --cov=pipeline --cov=consumers --cov-report=term
# Where an image sets it, each of the suite's thousand processes would compile all that it imports.
export PYTHONDONTWRITEBYTECODE :=
.PHONY: setup setup-deployment demo test test-unit test-all coverage lint format hooks lock bench dist grafana grafana-preview grafana-known clean

setup: .venv/.setup-stamp
.venv/.setup-stamp: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Andon needs Python 3.11 or newer; set PYTHON=")'
	@echo "Setting up .venv: some 95 packages: a minute, and longer where the network is slow."
	$(PYTHON) -m venv .venv
	sed -n '/^uv==/,/[^\\]$$/p' constraints.txt > .venv/uv.txt
	$(PIP) $(PINNED) .venv/uv.txt
	$(call INSTALL,constraints.txt)
	$(PIP) --no-deps --no-build-isolation -e .
	touch $@

# The tools whose files deploy/ holds: 350 MB that only its tests and their types need.
setup-deployment: .venv/.deployment-stamp
.venv/.deployment-stamp: .venv/.setup-stamp tests/deploy/requirements.txt
	@echo "Setting up what reads deploy/: 350 MB."
	$(call INSTALL,tests/deploy/requirements.txt)
	touch $@

demo: setup
	$(BIN)/andon demo

# Of every kind of test at least one: what CI runs.
test: setup setup-deployment
	$(PYTEST) -m "not slow" --durations=30

# What needs no service: within a minute.
test-unit: setup
	$(PYTEST) -m unit

# The slow ones too: before an issue is closed.
test-all: setup setup-deployment
	$(PYTEST) --durations=30

# Which lines the unit tests run.
coverage: setup
	$(PYTEST) -m unit $(COVER)

lint: setup setup-deployment
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/vulture & $(BIN)/mypy; types=$$?; wait $$! && exit $$types

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

hooks: setup
	$(BIN)/pre-commit install

# constraints.txt anew from pyproject.toml, of it what the image installs, and what reads deploy/: the versions that stand there stay, unless
# UPGRADE=--upgrade.
lock: setup
	$(BIN)/uv pip compile pyproject.toml --quiet --extra local --extra bakeoff --extra dev --universal --python-version 3.11 --generate-hashes \
		--no-annotate --no-emit-index-url --custom-compile-command 'make lock' $(UPGRADE) --output-file constraints.txt
	$(BIN)/uv pip compile pyproject.toml --quiet --extra line --constraint constraints.txt --universal --python-version 3.11 \
		--generate-hashes --no-annotate --no-emit-index-url --custom-compile-command 'make lock' \
		--output-file deploy/image/requirements.txt
	$(BIN)/uv pip compile pyproject.toml --quiet --extra deployment --constraint constraints.txt --universal --python-version 3.11 \
		--generate-hashes --no-annotate --no-emit-index-url --custom-compile-command 'make lock' \
		--output-file tests/deploy/requirements.txt

bench: setup
	for name in combine collect decide archive latency; do $(BIN)/andon bench $$name --json || exit 1; done

# What is released, into dist/: made from what is committed, the wheel from the sdist; twine looks at both. docs/releasing.md
BUILD = $(CURDIR)/$(BIN)/python -c 'import sys; from setuptools import build_meta as b; getattr(b, sys.argv[1])(sys.argv[2])'
dist: setup
	rm -rf dist build/source build/sdist && mkdir -p dist build/source build/sdist
	git archive HEAD | tar -x -C build/source
	cd build/source && $(BUILD) build_sdist $(CURDIR)/dist >/dev/null
	tar -x -z -f dist/*.tar.gz -C build/sdist --strip-components 1
	cd build/sdist && $(BUILD) build_wheel $(CURDIR)/dist >/dev/null
	$(BIN)/uv tool run --quiet --python $(BIN)/python --from twine==7.0.0 twine check --strict dist/*

# The dashboards' JSON anew, from grafana/dashboards.
grafana: setup
	$(BIN)/python -m grafana

# Pictures of the dashboards after a replayed night, in build/grafana-preview: drawn by this repository, not by Grafana.
grafana-preview: setup
	PYTHONPATH=tests:. $(BIN)/python -m support.grafana.pictures build/grafana-preview

# Which units and the like Grafana knows, anew from its library: needs node and npm, which nothing else here does.
grafana-known:
	place=$$(mktemp -d) && npm install --prefix $$place --silent --legacy-peer-deps --ignore-scripts \
		@grafana/data@13.2.3 jsdom@29.1.1 react@19.3.1 && \
	NODE_PATH=$$place/node_modules node grafana/known/extract.cjs > $$place/known.json && \
	cp $$place/known.json grafana/known/grafana_data.json && rm -r $$place

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
