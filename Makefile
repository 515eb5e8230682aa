# `make demo` and `make test` set everything up by themselves; PYTHON names another interpreter.
BIN := .venv/bin
export PYTHON ?= python3

# What the tests are run with besides: make test ARGS="-k gallery"
ARGS ?=
PYTEST := $(BIN)/pytest --numprocesses auto --dist worksteal

# The folder of training data for `make weights`.
DATA ?= ../shared/data

.PHONY: demo test test-fast lint bench docs man site weights clean

demo: .venv/.demo
	$(BIN)/facekeep demo --out demo-out

test: .venv/.dev
	$(PYTEST) $(ARGS)

# Less than two minutes on two cores: the tests that are not marked slow.
test-fast: .venv/.dev
	$(PYTEST) -m "not slow" $(ARGS)

lint: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python scripts/package_graph.py > /dev/null
	$(BIN)/python scripts/gen_cli_docs.py --check

bench: .venv/.demo
	$(BIN)/facekeep bench

docs: .venv/.dev
	$(BIN)/python scripts/gen_cli_docs.py

# A manual page for each command, in build/man/man1.
man: .venv/.demo
	$(BIN)/python scripts/gen_man.py build/man/man1

# The documentation as a website, in site/: open site/index.html (its search needs a web server).
site: .venv/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

weights: .venv/.dev
	$(BIN)/python scripts/weights.py --data $(DATA)

clean:
	rm -rf .venv demo-out site build dist .coverage .mypy_cache .pytest_cache .ruff_cache .hypothesis \
		.import_linter_cache

.venv/.dev: pyproject.toml hatch_build.py scripts/setup.sh
	scripts/setup.sh dev

.venv/.docs: pyproject.toml scripts/setup.sh
	scripts/setup.sh docs

.venv/.demo: pyproject.toml hatch_build.py scripts/setup.sh
	scripts/setup.sh demo
