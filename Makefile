# make run    sets up, trains the chapter's five models, verifies each, ends in a table
# make test   sets up, runs every check
# make thorough  the same tests, each long search among them in full: an hour
# make quick  the checks that take no Keras, browser, cluster or long search: a minute and a half
# make fuzz   holds N random models against Keras, from SEED on; goes on where it was;
#             BACKEND=jax holds them against Keras on JAX, likewise torch and numpy;
#             torch is not in .venv: FUZZ_PYTHON=/path/to/python that has it
# make notebooks  runs every notebook and keeps what it shows; NAMES="03 05" only those
# make bench  how fast the NumPy forward pass is; OPTIONS=--quick measures less
# make docs   builds the site of the documentation into site/, offline
# make hostile  reads N damaged or absurd files, from SEED on
# make frameworks  measures the conventions of other frameworks, in .venv-frameworks
# make nightly  runs the tests that need Keras with a later one, in .venv-nightly;
#             KERAS=keras-nightly==3.16.0.dev2026102704 TESTS="tests/verify" say which
# make wheels  builds both distributions into dist/; make try-wheels installs and tries
#             each in an environment of its own
# make exporters  exports 53 small models by every route out of Keras, judges what comes
#             of it and makes docs/exporters.md; goes on where it was; not part of CI
.DEFAULT_GOAL := help
.PHONY: help setup run test thorough quick quick-tests docs notebooks lint format fuzz hostile trust bench exporters bench-streaming bench-all frameworks nightly wheels try-wheels clean

# Images for CI often forbid Python to keep what it compiles. The tests begin hundreds of
# processes, each of which would compile this package, and pytest its tests, anew.
export PYTHONDONTWRITEBYTECODE :=

BIN := .venv/bin
LIGHT := packages/keras-rnn-verify
PYTHONS := $(PYTHON) python3 python3.13 python3.12 python3.11
USABLE := import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 14))

help:
	@echo "make run    train and verify the chapter's models (under four minutes)"
	@echo "make test   run every check"
	@echo "make thorough  run the tests, with the long searches among them in full"
	@echo "make quick  run those that take neither Keras nor long, in a minute and a half"
	@echo "make notebooks  run every notebook anew; NAMES=\"03 05\": only those"
	@echo "make docs   build the site of the documentation: site/index.html"
	@echo "make fuzz   N=3000 SEED=1 BACKEND=tensorflow|jax|torch|numpy: random models,"
	@echo "            resumes; FUZZ_PYTHON=python: of another environment, with torch"
	@echo "make hostile N=100000 SEED=1: damaged and absurd files, each read in bounds"
	@echo "make trust  plant every known mistake, see which are caught and named"
	@echo "make bench  how fast the NumPy forward pass is, beside Keras and ONNX Runtime;"
	@echo "            OPTIONS=--quick: a few cases, OPTIONS=--full: every one"
	@echo "make bench-streaming  what the commands cost over many rows"
	@echo "make bench-all  all that docs/speed.md quotes (hours); BESIDE=../earlier: and what"
	@echo "            the build in another folder takes"
	@echo "make frameworks  install other frameworks (gigabytes) into"
	@echo "            .venv-frameworks, and measure their conventions"
	@echo "make nightly  run the tests that need Keras with a later one, pinned, in"
	@echo "            .venv-nightly (gigabytes); KERAS=keras-nightly==VERSION: another"
	@echo "make wheels build both distributions into dist/; make try-wheels: and try them"
	@echo "make exporters  what exporters of Keras models keep, lose and refuse (an hour);"
	@echo "            OPTIONS=\"onnx --again\": one route anew, OPTIONS=--page: the page"
	@echo "make setup  only create .venv and install"
	@echo "make clean  remove .venv and caches; runs/ stays"

setup: .venv/.installed

# Made last, so an installation that was cut off is begun again.
.venv/.installed: pyproject.toml $(LIGHT)/pyproject.toml constraints.txt
	@for python in $(PYTHONS); do \
	  if $$python -c '$(USABLE)' 2>/dev/null; then found=$$python; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
	  echo "Python 3.11, 3.12 or 3.13 with venv is needed and none was found." \
	    "On Debian: apt-get install python3-venv." \
	    "Elsewhere: make PYTHON=/path/to/python" >&2; exit 2; \
	fi; \
	echo "Setting up .venv with $$($$found --version)"; \
	$$found -m venv --clear .venv
	$(BIN)/python -m pip install --disable-pip-version-check \
	  --constraint constraints.txt \
	  --editable ./$(LIGHT) --editable '.[dev,jax,dask,parquet,exported,docs]'
	@touch $@

run: setup
	$(BIN)/rnn-recipe run chapter --epochs 10

PYTEST := $(BIN)/python -m pytest --numprocesses 2 --dist worksteal
ON_JAX := tests/recipes tests/verify/test_keras_callback.py
QUICK := not keras and not browser and not cluster and not slow

test: setup
	@$(MAKE) --no-print-directory --jobs 2 lint docs
	$(PYTEST) --ignore=tests/recipes
	KERAS_BACKEND=jax $(PYTEST) $(ON_JAX)

# What `make test` tries a part of: every mistake in every model, more random models.
thorough: setup
	THOROUGH=1 $(PYTEST) --ignore=tests/recipes
	THOROUGH=1 KERAS_BACKEND=jax $(PYTEST) $(ON_JAX)

quick: setup
	@$(MAKE) --no-print-directory --jobs 2 lint quick-tests

quick-tests: setup
	$(PYTEST) -m '$(QUICK)' --budget 1

# Strict: a warning, such as a link that leads nowhere, is an error.
docs: setup
	$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going -j auto \
	  -c docs -d site/.doctrees . site

notebooks: setup
	PYTHONPATH=tests $(BIN)/python -m notebook_runs $(NAMES)

N := 3000
SEED := 1
BACKEND := tensorflow
FUZZ_PYTHON := $(BIN)/python
FUZZ := KERAS_BACKEND=$(BACKEND) PYTHONPATH=tests:. $(FUZZ_PYTHON) -m fuzzing --count $(N) --seed $(SEED)
HAS_BACKEND := import sys, importlib.util as u; sys.exit(u.find_spec('$(BACKEND)') is None)

fuzz: setup
	@$(FUZZ_PYTHON) -c "$(HAS_BACKEND)" || { \
	  echo "BACKEND=$(BACKEND): $(FUZZ_PYTHON) has no $(BACKEND)." \
	    "Install it there, or name a Python that has it: make fuzz" \
	    "BACKEND=$(BACKEND) FUZZ_PYTHON=/path/to/python. Without a GPU choose torch's" \
	    "CPU build: the default brings gigabytes" >&2; exit 2; }
	$(FUZZ) --part 1/2 & $(FUZZ) --part 2/2; wait
	$(FUZZ) --summary

hostile: setup
	PYTHONPATH=tests $(BIN)/python -m fuzzing.hostile --count $(N) --seed $(SEED)

trust: setup
	$(BIN)/python -m benchmarks.trust

OPTIONS :=

# Makes the environments of the exporters in .exporters/ when they are first needed.
exporters: setup
	$(BIN)/python -m benchmarks.exporters $(OPTIONS)

bench: setup
	$(BIN)/python -m benchmarks.speed $(OPTIONS)

bench-streaming: setup
	$(BIN)/python -m benchmarks.streaming $(OPTIONS)

# All that docs/speed.md quotes; hours, on a machine without other work.
bench-all: bench bench-streaming
	$(BIN)/python -m benchmarks.few_rows
	$(BIN)/python -m benchmarks.verdict
	$(BIN)/python -m benchmarks.training
	$(BIN)/python -m benchmarks.long_windows
	$(if $(BESIDE),$(BIN)/python -m benchmarks.goals --beside $(BESIDE))

# Apart from .venv, since these packages are large and some of them clash with it.
FRAMEWORKS := .venv-frameworks

frameworks: setup
	test -x $(FRAMEWORKS)/bin/python || $(BIN)/python -m venv $(FRAMEWORKS)
	$(FRAMEWORKS)/bin/python -m pip install --disable-pip-version-check \
	  --requirement benchmarks/conventions/requirements.txt --editable ./$(LIGHT)
	$(FRAMEWORKS)/bin/python -m benchmarks.conventions
	$(FRAMEWORKS)/bin/python -m benchmarks.conventions onednn

# The Keras that is to come, in an environment of its own. TensorFlow brings a released
# Keras, which has the same folder as a nightly one, so both are removed before it.
NIGHTLY := .venv-nightly
KERAS := keras-nightly==3.16.0.dev2026102704
TESTS := tests/verify tests/recipes
VERSION := $(lastword $(subst ==, ,$(KERAS)))

nightly: $(NIGHTLY)/.$(VERSION)
	$(NIGHTLY)/bin/python -m pytest --numprocesses 2 --dist worksteal -m keras $(TESTS)

$(NIGHTLY)/.$(VERSION): pyproject.toml $(LIGHT)/pyproject.toml constraints.txt | setup
	$(BIN)/python -m venv --clear $(NIGHTLY)
	$(NIGHTLY)/bin/python -m pip install --disable-pip-version-check \
	  --constraint constraints.txt \
	  --editable ./$(LIGHT) --editable '.[dev,jax,dask,parquet,exported]'
	$(NIGHTLY)/bin/python -m pip uninstall --yes keras keras-nightly
	$(NIGHTLY)/bin/python -m pip install --disable-pip-version-check --no-deps '$(KERAS)'
	TF_CPP_MIN_LOG_LEVEL=3 $(NIGHTLY)/bin/python -c \
	  'import keras; assert keras.__version__ == "$(VERSION)", keras.__version__'
	@touch $@

# The wheels are built by the hatchling of .venv, so this works offline.
wheels: setup
	rm -rf dist
	cd $(LIGHT) && ../../$(BIN)/python -m hatchling build -d ../../dist
	$(BIN)/python -m hatchling build -d dist

try-wheels: wheels
	PYTHONPATH=tests $(BIN)/python -m bare_install dist

lint: setup
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

clean:
	rm -rf .venv .venv-nightly .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache site
