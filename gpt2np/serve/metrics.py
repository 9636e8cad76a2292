"""What a server counts, in the text that Prometheus reads: https://prometheus.io/docs/instrumenting/exposition_formats

    gpt2np_requests_total{path="/generate",status="200"} 3

The numbers add up, at any moment at which they are read: requests that came are those that were answered and those in
progress; texts that were accepted are those that wait, those that are written and those that have ended.

Chapter: S001 9 Q3.
"""

import threading
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Mapping

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)   # the upper ends of the buckets
# Every name that there is: what kind of number it is, and what it says.
NAMES = {
    "gpt2np_requests_received_total": ("counter", "Requests of which a first byte has come."),
    "gpt2np_requests_total": ("counter", "Requests that have ended, by path and status; 499: the client had gone."),
    "gpt2np_requests_in_progress": ("gauge", "Requests that have not."),
    "gpt2np_requests_refused_total": ("counter", "Those of them that were refused, with a status of 400 or more."),
    "gpt2np_request_seconds": ("histogram", "From the first byte of a request to the end of its answer."),
    "gpt2np_connections": ("gauge", "Connections that are open."),
    "gpt2np_connections_refused_total": ("counter", "Connections above the limit, answered 503 at once."),
    "gpt2np_texts_accepted_total": ("counter", "Texts that were asked for, and put into the queue."),
    "gpt2np_texts_waiting": ("gauge", "Texts in the queue."),
    "gpt2np_texts_running": ("gauge", "Texts that are read or written."),
    "gpt2np_texts_total": ("counter", "Texts that have ended, by what has ended them."),
    "gpt2np_queue_seconds": ("histogram", "How long a text was in the queue."),
    "gpt2np_first_token_seconds": ("histogram", "From the queue's door to a text's first token."),
    "gpt2np_prompt_tokens_total": ("counter", "Tokens of the prompts of texts that have left the queue for the batch."),
    "gpt2np_generated_tokens_total": ("counter", "Tokens that were written."),
    "gpt2np_steps_total": ("counter", "Steps of the batch."),
    "gpt2np_step_seconds_total": ("counter", "Time that these took."),
    "gpt2np_resident_bytes": ("gauge", "Memory of the process, where the system says it."),
}
Labels = tuple[tuple[str, str], ...]


class Metrics:
    """Counters, gauges and histograms.

    lock   hold it where several numbers change together: it may be taken again by whoever has it
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._values: dict[str, dict[Labels, float]] = {name: defaultdict(float) for name in NAMES}
        self._counts = {name: [0] * (len(SECONDS) + 1) for name, (kind, _) in NAMES.items() if kind == "histogram"}
        for name in NAMES:
            if name not in ("gpt2np_requests_total", "gpt2np_requests_refused_total", "gpt2np_texts_total"):
                self._values[name][()] = 0

    def add(self, name: str, n: float = 1, **labels: str) -> None:
        """n more."""
        with self.lock:
            self._values[name][tuple(sorted(labels.items()))] += n

    def observe(self, name: str, seconds: float) -> None:
        """One more time that something took."""
        with self.lock:
            self._counts[name][bisect_left(SECONDS, seconds)] += 1
            self._values[name][()] += seconds

    def value(self, name: str, **labels: str) -> float:
        """The sum over all rows that have these labels; of a histogram, the seconds."""
        with self.lock:
            return sum(v for row, v in self._values[name].items() if set(labels.items()) <= set(row))

    def text(self, **gauges: float) -> str:
        """All of them, a line each, with these gauges as they are now."""
        with self.lock:
            lines = []
            for name, (kind, help_) in NAMES.items():
                lines += [f"# HELP {name} {help_}", f"# TYPE {name} {kind}"]
                if kind == "histogram":
                    lines += self._histogram(name)
                elif name in gauges:
                    lines.append(f"{name} {number(gauges[name])}")
                else:
                    lines += [f"{name}{braces(dict(row))} {number(v)}" for row, v in sorted(self._values[name].items())]
        return "\n".join(lines) + "\n"

    def _histogram(self, name: str) -> list[str]:
        lines, total = [], 0
        for end, count in zip([*map(number, SECONDS), "+Inf"], self._counts[name]):
            total += count
            lines.append(f'{name}_bucket{{le="{end}"}} {total}')
        return [*lines, f"{name}_sum {number(self._values[name][()])}", f"{name}_count {total}"]


def braces(labels: Mapping[str, str]) -> str:
    """{path="/generate",status="200"}, or nothing where there are no labels."""
    def escaped(value: str) -> str:
        return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
    return "{" + ",".join(f'{name}="{escaped(value)}"' for name, value in labels.items()) + "}" if labels else ""


def number(value: float) -> str:
    """A whole number without a point."""
    return str(int(value)) if value == int(value) else repr(float(value))


def resident_bytes() -> int:
    """The memory of this process; 0 where the system does not say it in /proc."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            pages = int(file.read().split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    import resource
    return pages * resource.getpagesize()
