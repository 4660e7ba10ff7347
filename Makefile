# make demo   the environment, the embedded data set, every stage, a table and a report (one command, no network after it)
# make test   the environment if it is missing, and all tests
# make study STUDY=NAME   make params/studies/NAME.yaml the current study (then: snakemake --cores all, or dvc repro)
# make environment   the environment alone: .venv with the pins of requirements.txt
# make lint   style;   make types   pyright;   make clean   delete what stages wrote (DVC's cache restores it)

VENV := .venv
BIN := $(VENV)/bin
STUDY ?= demo
# the first of these that runs, is 3.11 or 3.12 and can make an environment
PYTHONS := python3.12 python3.11 python3 python /usr/bin/python3
unexport PYTHONPATH PYTHONHOME
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help demo test study environment install lint types clean
help:
	@sed -n '/^#/!q; s/^# //p' Makefile

demo: environment
	@$(MAKE) --no-print-directory study STUDY=demo
	@$(BIN)/snakemake --cores all
	@$(BIN)/python -m scantling.report results/report/demo

test: environment
	@$(BIN)/python -m pytest -n 2 -q tests

study: environment
	@$(BIN)/python -m workflow.study params/studies/$(STUDY).yaml

# Nothing to do if the environment runs and was made from the pins as they are now.
environment:
	@{ cat requirements.txt requirements.lock | cmp -s - $(VENV)/pins && $(BIN)/python -c 'import scantling'; } 2>/dev/null \
	  || $(MAKE) --no-print-directory install

install:
	@if ! $(BIN)/python -c 'import pip' 2>/dev/null; then \
	  for python in $(PYTHONS); do \
	    $$python -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null && break; \
	    python=; \
	  done; \
	  test -n "$$python" || { echo "make: needs Python 3.11 or 3.12 with its venv module (Debian: python3-venv); none of $(PYTHONS) is one" >&2; exit 1; }; \
	  echo "environment: $(VENV), with $$($$python --version)"; \
	  $$python -m venv --clear $(VENV); \
	fi
	@rm -f $(VENV)/pins
	@echo "environment: installing the packages of requirements.txt, some minutes and about 6 GB"
	@$(BIN)/python -m pip install --quiet -r requirements.txt -c requirements.lock
	@$(BIN)/python -m pip install --quiet --no-deps -e .
	@$(BIN)/python -m scantling.environment
	@cat requirements.txt requirements.lock > $(VENV)/pins

lint: environment
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/snakefmt --check Snakefile

types: environment
	@$(BIN)/pyright --pythonpath $(BIN)/python

clean:
	rm -rf results data/generated work logs .pipeline .snakemake
