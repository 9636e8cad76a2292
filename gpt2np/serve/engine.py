"""The one thread that runs the model: it takes texts from a queue into the batch, and hands their tokens out.

    job = Job(text, ...)
    engine.submit([job, ...])               all of a request, or none: Busy, Ending
    for event in job.events: ...            an Event for each token, or one at the end

Chapter: S001 9 Q3.
"""

import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import NamedTuple

import numpy as np

from ..decoding import Text, Together
from ..decoding.together import Written
from ..errors import foreseen, sentence
from ..layers.softmax import log_softmax_forward
from ..models.protocols import LanguageModel
from .metrics import Metrics


class Busy(Exception):
    """There are as many texts in the queue as may be."""


class Ending(Exception):
    """The server ends: it takes no more texts."""


class Chosen(NamedTuple):
    """A token that was written, its log p by the model itself, and the likeliest ones with theirs."""

    token: int
    log_p: float = 0.0
    likeliest: tuple[tuple[int, float], ...] = ()


class Event(NamedTuple):
    """What is new of a text, the one of this number in its request: tokens, and why it has ended, if it has.

    ended    "" while it goes on; what Text says; or gone, time, interrupt
    problem  the sentence that goes with "error", and status: of whom the error is, 400, 500 or 503
    """

    number: int
    chosen: list[Chosen]
    ended: str = ""
    problem: str = ""
    status: int = 0


@dataclass(eq=False)
class Job:
    """A text that a request asks for.

    number    which of the request's texts it is
    events    where its Events go
    stream    whether for each token there is one, or one at the end
    logprobs  how many of the likeliest tokens are to be told; None: no probabilities at all
    wanted    whether anybody still waits for it, asked before each token
    deadline  the time.monotonic() at which it ends, wherever it is
    """

    number: int
    text: Text
    events: "SimpleQueue[Event]"
    stream: bool = False
    logprobs: int | None = None
    wanted: Callable[[], bool] = lambda: True
    deadline: float = float("inf")
    came: float = field(default_factory=time.monotonic)
    told: list[Chosen] = field(default_factory=list)


class Engine(threading.Thread):
    """Runs the model for all texts, at most `texts` together; at most `waiting` more are in the queue."""

    def __init__(self, model: LanguageModel, metrics: Metrics, texts: int, waiting: int):
        super().__init__(name="engine", daemon=True)
        self.together, self.metrics, self.most_waiting = Together(model, texts), metrics, waiting
        self.queue: deque[Job] = deque()
        self.running: dict[Text, Job] = {}
        self.changed = threading.Condition(metrics.lock)
        self.ending = self.at_once = False

    # ---- for the threads of the connections

    def submit(self, jobs: Sequence[Job]) -> None:
        """Put the texts of a request into the queue.  raises Busy, Ending"""
        with self.changed:
            if self.ending:
                raise Ending
            free = self.together.most - len(self.running)
            if len(self.queue) + len(jobs) > self.most_waiting + free:
                raise Busy
            self.queue.extend(jobs)
            self.metrics.add("gpt2np_texts_accepted_total", len(jobs))
            self.changed.notify()

    def end(self, at_once: bool = False) -> None:
        """Take no more texts.  Those that there are will be finished, or ended at once, too."""
        with self.changed:
            self.ending, self.at_once = True, self.at_once or at_once
            self.changed.notify()

    def counts(self) -> tuple[int, int]:
        """How many texts wait, and how many run."""
        with self.changed:
            return len(self.queue), len(self.running)

    # ---- the thread itself

    def run(self) -> None:
        """Go on until `end` was called and nothing is left to do."""
        while True:
            try:
                if not self._take_in():
                    return
                start = time.monotonic()
                written = self.together.step()
                self._hand_out(written, time.monotonic() - start)
            except Exception as error:                  # of the batch as a whole: no text of it can go on
                self._drop_all(error)

    def _hand_out(self, written: Sequence[Written], seconds: float) -> None:
        """Tell the threads of the connections what a step has written."""
        with self.changed:
            self.metrics.add("gpt2np_steps_total")
            self.metrics.add("gpt2np_step_seconds_total", seconds)
            for text, token, logits in written:
                job = self.running[text]
                if token is not None:
                    if not job.told:
                        self.metrics.observe("gpt2np_first_token_seconds", time.monotonic() - job.came)
                    self.metrics.add("gpt2np_generated_tokens_total")
                    job.told.append(chosen(token, logits, job.logprobs))
                if text.ended:
                    damaged = str(text.error).startswith("logits")      # the model's fault, not the request's
                    self._over(job, text.ended, str(text.error or ""), 500 if damaged else 400)
                elif job.stream:
                    job.events.put(Event(job.number, job.told[-1:]))

    def _take_in(self) -> bool:
        """Drop what nobody waits for, and let texts into the batch; waits where there are none.  False: it is over."""
        with self.changed:
            while True:
                for job in [*self.running.values(), *self.queue]:
                    if why := self._why_not(job):
                        self._drop(job, why)
                while self.queue and len(self.together) < self.together.most:
                    job = self.queue.popleft()
                    self.together.join(job.text)
                    self.running[job.text] = job
                    self.metrics.observe("gpt2np_queue_seconds", time.monotonic() - job.came)
                    self.metrics.add("gpt2np_prompt_tokens_total", job.text.n_prompt)
                if self.running:
                    return True
                if self.ending:
                    return False
                self.changed.wait()

    def _why_not(self, job: Job) -> str:
        """Why a text is not to go on; "" where it is."""
        return "interrupt" if self.at_once else "time" if time.monotonic() > job.deadline else \
            "" if job.wanted() else "gone"

    def _drop(self, job: Job, why: str) -> None:
        """End a text that has not ended by itself, wherever it is."""
        if job.text in self.running:
            self.together.leave(job.text)
        else:
            self.queue.remove(job)
        self._over(job, why)

    def _drop_all(self, error: Exception) -> None:
        """After an error that is none of a single text's: all of them end, and the next ones begin anew."""
        with self.changed:
            if not foreseen(error):
                traceback.print_exception(error)
            said = sentence(error) if foreseen(error) else "the server has made a mistake, which its log tells of"
            jobs, self.running = list(self.running.values()), {}
            self.together = Together(self.together.model, self.together.most)
            for job in jobs:
                self._over(job, "error", said, 503 if isinstance(error, MemoryError) else 500)

    def _over(self, job: Job, why: str, problem: str = "", status: int = 0) -> None:
        self.running.pop(job.text, None)
        self.metrics.add("gpt2np_texts_total", ended_by=why)
        # A stream has had all before; its last token comes with the end.
        new = job.told[-1:] if job.stream and why == job.text.ended and why != "error" else \
            [] if job.stream else job.told
        job.events.put(Event(job.number, new, why, problem, status))


def chosen(token: int, logits: np.ndarray, logprobs: int | None) -> Chosen:
    """A token with what is to be told of it."""
    if logprobs is None:
        return Chosen(token)
    log_p = log_softmax_forward(logits.astype(np.float64))[0]
    best = np.argsort(-log_p, kind="stable")[:logprobs].tolist()
    return Chosen(token, float(log_p[token]), tuple((i, float(log_p[i])) for i in best))
