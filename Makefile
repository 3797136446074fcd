# Two entrances: `make demo` and `make test`. Each makes .venv with Python 3.11 or newer, installs, and runs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Modules are compiled when they are first imported: compiling all of them takes a minute, and few are ever used.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt
PRESET ?= small

.DEFAULT_GOAL := help
.PHONY: help demo paper test test-slow lint docs clean

help:
	@echo "make demo   phantom knees -> train -> index -> synthesize -> evaluate -> demo/report/report.html"
	@echo "make paper  the paper's experiment -> runs/paper/small/report/results.md; PRESET=smoke, small, full"
	@echo "make test   the tests, but for those that take minutes: make test-slow"
	@echo "make lint   ruff, mypy, layers, a wheel installed and imported by itself"
	@echo "make docs   docs/_build/html/index.html"

$(VENV)/.demo: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) -e '.[train,serve]'
	@touch $@

$(VENV)/.test: $(VENV)/.demo
	$(PIP) -e '.[train,serve,dicom,thickness,imagenet,ray,index,storage,test]'
	@touch $@

$(VENV)/.lint: $(VENV)/.demo
	$(PIP) -e '.[train,serve,storage,lint]'
	@touch $@

$(VENV)/.docs: $(VENV)/.demo
	$(PIP) -e '.[train,serve,docs]'
	@touch $@

# All of these at once, where all will be run.
$(VENV)/.all: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) -e '.[train,serve,dicom,thickness,imagenet,ray,index,storage,test,lint,docs]'
	@touch $(VENV)/.demo $(VENV)/.test $(VENV)/.lint $(VENV)/.docs $@

# Compiled modules are kept even where a container says not to: tests start a hundred processes that import them.
export PYTHONDONTWRITEBYTECODE :=

demo: $(VENV)/.demo
	$(BIN)/mris demo demo

paper: $(VENV)/.demo
	$(BIN)/python experiments/paper/run.py --preset $(PRESET) --work runs/paper/$(PRESET)

PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal --durations=10

test: $(VENV)/.test
	$(PYTEST) -m "not slow"

# What needs from ten seconds to minutes each: kills, full disks, browsers, whole experiments, real volumes.
# Only files that hold some are collected.
test-slow: $(VENV)/.test
	$(PYTEST) -m slow $$(grep -rl --include='test_*.py' 'mark\.slow' tests)

lint: $(VENV)/.lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	rm -rf dist && $(BIN)/python -m build --wheel --outdir dist . >/dev/null
	rm -rf $(VENV)/wheel && $(BIN)/python -m pip install --quiet --no-deps --target $(VENV)/wheel dist/*.whl
	cd / && PYTHONPATH=$(CURDIR)/$(VENV)/wheel $(CURDIR)/$(BIN)/python -P -c "import mris, sys; assert 'wheel' in mris.__file__, mris.__file__; [getattr(mris, name) for name in mris.__all__]"

docs: $(VENV)/.docs
	$(BIN)/sphinx-build -W -b html docs docs/_build/html

clean:
	rm -rf $(VENV) demo dist docs/_build .mypy_cache .ruff_cache .pytest_cache .hypothesis
