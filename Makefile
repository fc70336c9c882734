# Needs Python 3.11 or newer with pip, and nothing else. `make help` lists what there is.

PYTHON ?= python3
DEMO ?= runs/demo
VENV := .venv
BIN := $(VENV)/bin
FULL := .venv-full
BENCH := .venv-bench
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt

.DEFAULT_GOAL := help
.PHONY: help install demo test test-full torture lint format bench bench-attacks docs docs-check clean distclean

help: ## List the targets.
	@echo "make TARGET, where TARGET is one of"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-13s %s\n", $$1, $$2}' Makefile

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { echo "evofool: Python 3.11 or newer" \
	"is needed, and $(PYTHON) is $$($(PYTHON) -c 'import platform; print(platform.python_version())' 2>/dev/null || echo missing):" \
	"name another, such as: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(VENV)
	$(INSTALL) --editable .
	@touch $@

$(VENV)/.installed-%: $(VENV)/.installed
	$(INSTALL) --editable '.[$*]'
	@touch $@

install: $(VENV)/.installed ## Make .venv with evofool in it.

demo: $(VENV)/.installed ## Run the operator study on embedded digits, and say where its report is.
	@run=$(DEMO); n=1; while [ -e "$$run" ]; do n=$$((n + 1)); run=$(DEMO)-$$n; done; \
	echo "$(BIN)/evofool study operators --data digits --seeds 3 -o $$run/"; \
	$(BIN)/evofool study operators --data digits --seeds 3 -o "$$run/" || exit; \
	echo "open in a browser: file://$$(cd "$$run" && pwd)/report.html"

test: $(VENV)/.installed-test ## Run all tests, and see that they reach 95% of the lines.
	$(BIN)/python -m pytest -n 2 --dist loadfile --cov --cov-report=term --cov-fail-under=95

$(FULL)/.installed: pyproject.toml constraints-full.txt $(VENV)/.installed
	@$(FULL)/bin/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m venv $(FULL)
	$(FULL)/bin/python -m pip install --disable-pip-version-check --constraint constraints-full.txt \
	--editable '.[timm,hf]' pytest
	@touch $@

test-full: $(FULL)/.installed ## Test what needs the full torch (5 GB, in .venv-full): timm, torchvision, transformers.
	$(FULL)/bin/python -m pytest tests_full

torture: $(VENV)/.installed ## Kill, cut, flip, fill and forge runs, and see that what is promised holds.
	$(BIN)/python torture/run.py

lint: $(VENV)/.installed-test ## Check style, format and types.
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: $(VENV)/.installed-test ## Bring all files into the house format.
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: $(VENV)/.installed-bench ## Measure the speed, beside other libraries.
	$(BIN)/python benchmarks/operators.py
	$(BIN)/python benchmarks/adapters.py
	$(BIN)/python benchmarks/ink.py

$(BENCH)/.installed: pyproject.toml constraints.txt constraints-bench.txt $(VENV)/.installed
	@$(BENCH)/bin/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m venv $(BENCH)
	$(BENCH)/bin/python -m pip install --disable-pip-version-check --constraint constraints.txt \
	--constraint constraints-bench.txt --editable . foolbox adversarial-robustness-toolbox
	$(BENCH)/bin/python -m pip install --disable-pip-version-check --constraint constraints-bench.txt --no-deps torchattacks
	@touch $@

bench-attacks: $(BENCH)/.installed ## Attack images with other libraries (in .venv-bench), every query counted outside.
	$(BENCH)/bin/python benchmarks/attack_peers.py $(ATTACKS)

docs: $(VENV)/.installed ## Write the pages with figures anew from the numbers of their runs.
	$(BIN)/python docs/make_operator_study.py
	$(BIN)/python docs/make_reliability.py
	$(BIN)/python docs/make_why_edges.py
	$(BIN)/python docs/make_attacks.py

docs-check: $(VENV)/.installed ## See that those pages agree with the numbers.
	$(BIN)/python docs/make_operator_study.py --check
	$(BIN)/python docs/make_reliability.py --check
	$(BIN)/python docs/make_why_edges.py --check
	$(BIN)/python docs/make_attacks.py --check

clean: ## Remove caches and other leftovers; runs/ and the environments stay.
	rm -rf build dist htmlcov .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage .coverage.*
	find src tests tests_full docs benchmarks torture -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean ## Remove .venv, .venv-full and .venv-bench as well.
	rm -rf $(VENV) $(FULL) $(BENCH) src/evofool.egg-info
