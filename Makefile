# make demo | make test | make venv, each from a fresh machine.
# STACK=onedl chooses the other tested stack, in an environment of its own.
STACK ?= openmmlab
PYTHON ?= python3
VENV := .venv$(if $(filter-out openmmlab,$(STACK)),-$(STACK))
REQUIREMENTS := requirements/stacks/$(STACK).txt

.PHONY: demo test venv clean

demo: venv
	$(VENV)/bin/python tools/demo.py

test: venv
	$(VENV)/bin/python -m pytest

venv: $(VENV)/.installed

$(VENV)/.installed: $(REQUIREMENTS) requirements/stacks/common.txt setup.py
	$(PYTHON) -c 'import sys; v = sys.version_info[:2]; (3, 10) <= v <= (3, 12) or sys.exit("Python 3.10 to 3.12 is needed and PYTHON=$(PYTHON) is %d.%d" % v)'
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install -r $(REQUIREMENTS)
	$(VENV)/bin/python -m pip install --no-deps --no-build-isolation -e .
	touch $@

clean:
	rm -rf .venv .venv-*
