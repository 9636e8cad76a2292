# `make` alone prints what there is to do.  Only python3 (3.10 or newer) and make are needed beforehand:
# the first target that runs creates .venv and installs what is missing there, once.

PYTHON ?= python3
VENV   ?= .venv
RUN     = $(VENV)/bin/python

.DEFAULT_GOAL := help
.NOTPARALLEL:                            # two targets must not install at once
unexport PYTHONPATH PYTHONHOME          # .venv has all that is needed
.PHONY: ask help generate gradcheck gradcheck-large test test-slow lint mutants mutants-large bench fuzz test-faults test-peers clean

help:           ## print this list
	@echo "gpt2np: GPT-2 in NumPy alone, with proof that its gradients are right."
	@echo
	@sed -n 's/^\([a-z-]*\): .*## \(.*\)/  make \1|\2/p' Makefile | while IFS='|' read -r a b; do printf '%-18s %s\n' "$$a" "$$b"; done

generate: $(VENV)/installed-run    ## let the demo model write a text (ARGS='"To be" --seed 1': what and how)
	@$(RUN) -m gpt2np.generate $(or $(ARGS),--min-new-tokens 30)

gradcheck: $(VENV)/installed-run   ## check every gradient, and print the table (LAYER=attention: one layer's)
	@$(RUN) -m gpt2np.gradcheck $(if $(LAYER),--layer '$(LAYER)') $(ARGS)

gradcheck-large: $(VENV)/installed-run   ## the same at large sizes, each of them alone: a minute
	@$(RUN) -m gpt2np.gradcheck --large

test: $(VENV)/installed-test       ## run the tests
	@$(RUN) -m pytest -q --numprocesses auto --maxprocesses 8

test-slow: $(VENV)/installed-test  ## run the tests that take seconds each: crashes, kills, memory, long pages
	@$(RUN) -m pytest -q -m slow --numprocesses auto --maxprocesses 8

lint: $(VENV)/installed-test       ## look for mistakes of style with ruff, of types with mypy
	@$(RUN) -m ruff check .
	@$(RUN) -m mypy

mutants: $(VENV)/installed-test    ## plant mistakes in the layers, and see that the checks find each
	@$(RUN) -m tests.mutants

mutants-large: $(VENV)/installed-test   ## plant mistakes that begin at a size: an hour
	@$(RUN) -m tests.mutants --large
	@$(RUN) -m tests.mutants --training

bench: $(VENV)/installed-test      ## time every layer (beside PyTorch, where it is installed)
	@$(RUN) -m benchmarks.layers

fuzz: $(VENV)/installed-test       ## damage checkpoints at random without end, and see that each is refused or whole
	@$(RUN) -m tests.checkpoints.fuzz

test-faults: $(VENV)/installed-test   ## kill a training run at 50 random moments, and see that nothing is lost
	@GPT2NP_KILLS=50 $(RUN) -m pytest -q -m slow tests/training/test_commands.py -k killed

test-peers: $(VENV)/installed-peers   ## test against TensorFlow, safetensors, transformers and PyTorch themselves (large)
	@GPT2NP_PEERS=1 TF_CPP_MIN_LOG_LEVEL=3 $(RUN) -m pytest -q tests/checkpoints/test_peers.py tests/peers

clean:          ## remove .venv and what tools left behind
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# .venv/installed-run says that gpt2np is there with what it needs; -test and -peers, with what those targets need too.
$(VENV)/installed-test:  EXTRAS = [test]
$(VENV)/installed-peers: EXTRAS = [test,peers]
$(VENV)/installed-%: setup.cfg pyproject.toml $(VENV)/created
	@echo "Installing gpt2np$(EXTRAS) and what it needs into $(VENV) (this happens once) ..."
	@PIP_USER=0 $(RUN) -m pip install --disable-pip-version-check --editable '.$(EXTRAS)' >$(VENV)/pip.log 2>&1 || { \
	  grep -i '^ *error: ' $(VENV)/pip.log | cut -c1-200; \
	  echo "gpt2np could not be installed: it needs a network, room on the disk, and a folder that it can write to."; \
	  echo "All that pip said is in $(VENV)/pip.log.  The same command goes on from here, make clean begins anew."; exit 1; }
	@touch $@ $(VENV)/installed-run

# A virtual environment is made where there is none, or only a part of one, or one whose Python has gone or changed.
$(VENV)/created: ask
	@test -e $@ && $(RUN) -c 'import pip' 2>/dev/null && exit; \
	$(RUN) -m pip --version >/dev/null 2>&1 || { \
	  $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || { \
	    echo "gpt2np needs Python 3.10 or newer; '$(PYTHON)' is missing or older.  Name another: make PYTHON=python3.12"; \
	    exit 1; }; \
	  echo "Creating a virtual environment in $(VENV) ..."; \
	  test -e $(RUN) || ! test -e $(VENV)/pyvenv.cfg || clear=--clear; \
	  $(PYTHON) -m venv $$clear $(VENV) || { \
	    echo "No virtual environment could be made: install Python's venv module (on Debian: apt install python3-venv),"; \
	    echo "or, if this folder cannot be written to, copy it to where you can write, and run make there."; \
	    exit 1; }; }; \
	touch $@
