# `make` alone prints what there is to do.  Only python3 (3.10 or newer) and make are needed beforehand:
# the first target that runs creates .venv and installs what is missing there, once.

PYTHON ?= python3
VENV   ?= .venv
RUN     = $(VENV)/bin/python

.DEFAULT_GOAL := help
.PHONY: help generate gradcheck test lint mutants bench fuzz test-faults test-peers clean

help:           ## print this list
	@echo "gpt2np: GPT-2 in NumPy alone, with proof that its gradients are right."
	@echo
	@sed -n 's/^\([a-z-]*\): .*## \(.*\)/  make \1|\2/p' Makefile | while IFS='|' read -r a b; do printf '%-18s %s\n' "$$a" "$$b"; done

generate: $(VENV)/installed-run    ## let the demo model write a text
	@$(RUN) -m gpt2np.generate

gradcheck: $(VENV)/installed-run   ## check every gradient, and print the table
	@$(RUN) -m gpt2np.gradcheck

test: $(VENV)/installed-test       ## run the tests
	@$(RUN) -m pytest -q --numprocesses auto --maxprocesses 8

lint: $(VENV)/installed-test       ## look for mistakes of style with ruff, of types with mypy
	@$(RUN) -m ruff check .
	@$(RUN) -m mypy

mutants: $(VENV)/installed-test    ## plant mistakes in the layers, and see that the checks find each
	@$(RUN) -m tests.mutants

bench: $(VENV)/installed-test      ## time every layer (beside PyTorch, where it is installed)
	@$(RUN) benchmarks/layers.py

fuzz: $(VENV)/installed-test       ## damage checkpoints at random without end, and see that each is refused or whole
	@$(RUN) -m tests.checkpoints.fuzz

test-faults: $(VENV)/installed-test   ## kill a training run at 50 random moments, and see that nothing is lost
	@GPT2NP_KILLS=50 $(RUN) -m pytest -q tests/training/test_commands.py -k killed

test-peers: $(VENV)/installed-peers   ## test against TensorFlow, safetensors, transformers and PyTorch themselves (large)
	@GPT2NP_PEERS=1 TF_CPP_MIN_LOG_LEVEL=3 $(RUN) -m pytest -q tests/checkpoints/test_peers.py tests/peers

clean:          ## remove .venv and what tools left behind
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A file in .venv says what has been installed.  It is made again when setup.cfg changes.
$(VENV)/installed-run: setup.cfg pyproject.toml | $(RUN)
	@echo "Installing gpt2np and what it needs into $(VENV) (this happens once) ..."
	@$(RUN) -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/installed-test: setup.cfg pyproject.toml | $(RUN)
	@echo "Installing gpt2np and what its tests need into $(VENV) (this happens once) ..."
	@$(RUN) -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@ $(VENV)/installed-run

$(VENV)/installed-peers: setup.cfg pyproject.toml | $(RUN)
	@echo "Installing TensorFlow, PyTorch, safetensors and transformers into $(VENV) (this happens once, some gigabytes) ..."
	@$(RUN) -m pip install --quiet --disable-pip-version-check --editable '.[test,peers]'
	@touch $@ $(VENV)/installed-test $(VENV)/installed-run

$(RUN):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	  echo "gpt2np needs Python 3.10 or newer; '$(PYTHON)' is missing or older.  Name another: make PYTHON=python3.12"; exit 1; }
	@echo "Creating a virtual environment in $(VENV) ..."
	@$(PYTHON) -m venv $(VENV) || { rm -f $(VENV)/bin/python*; \
	  echo "No virtual environment could be made: install Python's venv module (on Debian: apt install python3-venv)."; exit 1; }
