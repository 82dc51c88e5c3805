# make demo      compress and decompress a photograph and speech, from an empty environment
# make test      lint, types and all tests but the slow ones
# make test-all  the slow tests and the notebooks too
# make lint      ruff check, ruff format --check and mypy --strict
# make docs      the documentation, in docs/_build/html
# make notebooks run all notebooks and keep their outputs
# make fuzz MINUTES=12  hostile input by atheris, the minutes divided among the targets; fails on a finding
# make venv      the environment that the tests use, in .venv
# make clean     remove everything that these made

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
# Two threads for libraries that ask; the tests themselves keep torch to one.
RUN := OMP_NUM_THREADS=2 $(BIN)/python

# Tests that run at a time.
JOBS ?= 2
PYTEST := $(RUN) -m pytest -q -n $(JOBS) --dist worksteal
MINUTES ?= 12

.PHONY: demo test test-all lint docs notebooks fuzz venv clean
.DELETE_ON_ERROR:

demo: $(VENV)/.demo
	$(RUN) examples/demo.py

test: lint
	$(PYTEST) -m "not slow"

test-all: lint $(VENV)/.docs
	$(PYTEST)
	$(RUN) -m pytest -q --nbmake --nbmake-timeout=180 notebooks

docs: $(VENV)/.docs
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo docs/_build/html/index.html

notebooks: $(VENV)/.docs
	OMP_NUM_THREADS=2 $(BIN)/jupyter execute --inplace notebooks/*.ipynb

fuzz: $(VENV)/.fuzz
	OMP_NUM_THREADS=1 $(BIN)/python fuzz/run.py --minutes $(MINUTES)

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

venv: $(VENV)/.test

# New pins mean a new environment; a new pyproject.toml is installed on top, which is quick.
$(VENV)/.made: constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed (make PYTHON=...), this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.demo: $(VENV)/.made pyproject.toml
	$(INSTALL) -e '.[demo]'
	touch $@

$(VENV)/.test: $(VENV)/.made pyproject.toml
	$(INSTALL) -e '.[test,demo]'
	touch $@

$(VENV)/.docs: $(VENV)/.made pyproject.toml
	$(INSTALL) -e '.[docs,demo,fields,baselines]'
	touch $@

# Not every Python has a wheel of the fuzzer, so nothing else asks for it.
$(VENV)/.fuzz: $(VENV)/.made pyproject.toml
	$(INSTALL) -e '.[fuzz]'
	touch $@

clean:
	rm -rf $(VENV) docs/_build docs/notebooks build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
