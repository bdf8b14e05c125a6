# make demo | make test | make commands | make docs | make venv, each from a
# fresh machine. commands runs what README.md and docs/ tell a user to type.
# STACK=onedl, classic or latest chooses another stack, in an environment of
# its own; docs/environments.md tells of them. classic compiles mmcv.
STACK ?= openmmlab
PYTHON ?= python3
VENV := .venv$(if $(filter-out openmmlab,$(STACK)),-$(STACK))
REQUIREMENTS := requirements/stacks/$(STACK).txt
SOURCES := $(wildcard requirements/stacks/$(STACK)-source.txt)
PYTEST := OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n 2 --dist worksteal

PYTHONS := 3.10 3.11 3.12
ifeq ($(STACK),classic)
PYTHONS := 3.10 3.11
endif

.PHONY: demo test commands docs venv clean

demo: venv
	$(VENV)/bin/python tools/demo.py

test: venv
	$(PYTEST)

commands: venv
	$(PYTEST) -m commands

docs: .venv-docs/.installed
	.venv-docs/bin/mkdocs build

venv: $(VENV)/.installed

$(VENV)/.installed: $(wildcard requirements/stacks/*.txt) $(REQUIREMENTS) setup.py
	$(PYTHON) -c 'import sys; v = "%d.%d" % sys.version_info[:2]; v in "$(PYTHONS)".split() or sys.exit("STACK=$(STACK) is for Python $(PYTHONS), and PYTHON=$(PYTHON) is " + v)'
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install -r $(REQUIREMENTS)
	$(if $(SOURCES),MMCV_WITH_OPS=1 $(VENV)/bin/python -m pip install --no-build-isolation -r $(SOURCES))
	$(VENV)/bin/python -m pip install --no-deps --no-build-isolation -e .
	touch $@

.venv-docs/.installed: requirements/docs.txt
	$(PYTHON) -m venv .venv-docs
	.venv-docs/bin/python -m pip install -r requirements/docs.txt
	touch $@

clean:
	rm -rf .venv .venv-* site
