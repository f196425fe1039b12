# The commands of the project; `make help` lists them. Everything is installed into .venv, nothing outside the folder.
.DEFAULT_GOAL := help
.PHONY: help demo test lint bench bench-quick screenshots clean

PYTHON ?= python3
PORT ?= 8000
VENV := .venv
PY := $(VENV)/bin/python

help: ## list these commands
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "make %-12s %s\n", $$1, $$2 }'

demo: $(VENV)/.installed ## start the site on 127.0.0.1:8000 with the bundled sample (PORT=... changes the port)
	@exec $(PY) -m neuronviewer.cli demo --port "$(PORT)"

test: $(VENV)/.installed-dev ## run all tests on SQLite, then on PostgreSQL where one answers (ARGS=... goes to pytest)
	@$(PY) -m tests.run $(ARGS)

lint: $(VENV)/.installed-dev ## check style, types, import contracts and migrations
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	DATABASE_URL=sqlite://:memory: $(PY) manage.py makemigrations --check --dry-run
	DATABASE_URL=sqlite://:memory: $(PY) manage.py check --fail-level WARNING

bench: $(VENV)/.installed-dev ## measure everything, write docs/benchmarks.md (under 20 minutes; 9 GB in data/ and on PostgreSQL)
	@$(PY) -m tests.benchmarks $(ARGS)

bench-quick: $(VENV)/.installed-dev ## the same on little data, to see that it works (two minutes)
	@$(PY) -m tests.benchmarks --quick $(ARGS)

screenshots: $(VENV)/.installed-dev ## take the pictures in docs/images again (needs Chromium)
	@$(PY) -m tests.browser.screenshots

clean: ## delete the environment and caches; data/ stays
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

# A stamp says which pyproject.toml was installed: a second start asks no registry.
$(VENV)/.installed: pyproject.toml | $(PY)
	@echo "Installing into $(VENV) (about a minute, once) ..."
	@# Where its model's runtime has no build for this machine, the site works without the embedding simulator.
	@$(PY) -m pip install --quiet --disable-pip-version-check --editable '.[embedding]' \
		|| { echo "Trying without the extra [embedding] ..."; $(PY) -m pip install --quiet --disable-pip-version-check --editable .; }
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(PY)
	@echo "Installing into $(VENV), with what tests need (a minute or two, once) ..."
	@$(PY) -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $(VENV)/.installed $@

$(PY):
	@command -v $(PYTHON) >/dev/null || { echo "neuronviewer needs Python 3.11 or later; there is no $(PYTHON) here. On Debian: apt-get install python3 python3-venv" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "neuronviewer needs Python 3.11 or later; $(PYTHON) is $$($(PYTHON) -V). Another one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "Python's venv module is missing. On Debian: apt-get install python3-venv" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)
