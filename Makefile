# `make demo` and `make test` set everything up by themselves; PYTHON names another interpreter.
BIN := .venv/bin
export PYTHON ?= python3

# The folder of training data for `make weights`.
DATA ?= ../shared/data

.PHONY: demo test lint bench docs site weights clean

demo: .venv/.demo
	$(BIN)/facekeep demo --out demo-out

test: .venv/.dev
	$(BIN)/pytest --numprocesses auto --cov --cov-report term

lint: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python scripts/gen_cli_docs.py --check

bench: .venv/.demo
	$(BIN)/facekeep bench

docs: .venv/.dev
	$(BIN)/python scripts/gen_cli_docs.py

# The documentation as a website, in site/.
site: .venv/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

weights: .venv/.dev
	$(BIN)/python scripts/weights.py --data $(DATA)

clean:
	rm -rf .venv demo-out site build dist .coverage .mypy_cache .pytest_cache .ruff_cache .hypothesis

.venv/.dev: pyproject.toml scripts/setup.sh
	scripts/setup.sh dev

.venv/.docs: pyproject.toml scripts/setup.sh
	scripts/setup.sh docs

.venv/.demo: pyproject.toml scripts/setup.sh
	scripts/setup.sh demo
