"""What the tests of adapted runs share."""

import pytest

from gpt2np.training import run_folder


@pytest.fixture
def stop_after(monkeypatch):
    """stop_after(step): once the checkpoint of that step is saved, the disk is full, once."""
    def ask(step):
        real, left = run_folder.save, [step]

        def save_and_stop(out, task, optimizer, state, keep=1):
            real(out, task, optimizer, state, keep)
            if state["step"] in left:
                left.clear()
                raise OSError(28, "No space left on device")

        monkeypatch.setattr(run_folder, "save", save_and_stop)
    return ask
