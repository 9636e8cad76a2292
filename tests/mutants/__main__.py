"""python -m tests.mutants: plant every mistake, one at a time, and print which check found how many.

Each mutant runs in a process of its own, forked before the package is imported: it imports the changed file in place of
the real one, and the checks of `make gradcheck` look for the difference.  Exit code 1 if one is not found, unless
equivalent.py says why nothing can be found, or if planted.py or equivalent.py no longer fits the source.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")      # before NumPy: the processes share the cores by themselves

import argparse
import importlib.abc
import importlib.util
import json
import resource
import signal
import sys
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path

import numpy as np  # noqa: F401    in memory before the fork, so that no child has to load it

from . import mechanical
from .equivalent import EQUIVALENT
from .planted import PLANTED, PLANTED_LARGE

ROOT = Path(__file__).resolve().parents[2] / "gpt2np"
FOLDERS = ("layers", "blocks", "models", "adapt")       # those with mathematics, as far as they are there
NO_MATHEMATICS = ("__init__.py", "config.py", "protocols.py", "paths.py", "positional.py")  # the last: no gradient
FILES = sorted(p.relative_to(ROOT).as_posix() for folder in FOLDERS for p in (ROOT / folder).glob("*.py")
               if p.name not in NO_MATHEMATICS)
# Where training has mathematics, and the tests that look for a mistake there: no gradient checks do.
OPTIMIZERS = ("tests/training/test_by_formula.py", "tests/training/test_optimizers.py")
TRAINING = {f"training/{name}.py": OPTIMIZERS for name in (
    "adam", "adamw", "sgd", "clipping", "optimizer", "schedules")}
KINDS = ("adjoint", "differences", "order", "linearity", "reference", "law", "contract")
EXPLAINED = {(file, function, before, after) for _, file, function, before, *changes in EQUIVALENT for after in changes}
# What a mutant may take before it counts as found, a loop without end or a huge array; at large sizes, the former.
SECONDS, MEMORY, LARGE_SECONDS = 60, 8 << 30, 600


class Planted(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports one file of the package from a changed source."""

    def __init__(self, file, source):
        self.name = "gpt2np." + file.removesuffix(".py").replace("/", ".")
        self.path, self.source = str(ROOT / file), source

    def find_spec(self, name, path=None, target=None):
        if name == self.name:
            return importlib.util.spec_from_file_location(name, self.path, loader=self)
        return None

    def exec_module(self, module):
        exec(compile(self.source, self.path, "exec"), module.__dict__)


def kind_of(outcome):
    """The column of the table for an outcome of checks.examine."""
    return outcome.check if outcome.check in ("linearity", "reference") else outcome.kind


def find(file, source, cases, all_checks, large=False):
    """Which kinds of check fail on the changed source, of the first case where one does.

    With all_checks=False, only the first of the quick ones: differences and order see no more than adjoint does.
    """
    sys.meta_path.insert(0, Planted(file, source))
    warnings.simplefilter("ignore")
    try:
        from gpt2np.gradcheck.cases import CASES
        from gpt2np.gradcheck.checks import examine
        from gpt2np.gradcheck.large import examine_large
        by_name, found = {c.name: c for c in CASES}, []
        for name in cases:
            for outcome in (examine_large if large else examine)(by_name[name]):
                if outcome.kind == "differences" and not all_checks:
                    break
                if outcome.failure and kind_of(outcome) not in found:
                    found.append(kind_of(outcome))
                    if not all_checks:
                        return found
            if found:
                return found
        return found
    except Exception:
        return ["error"]                                # it does not even import, or a case cannot be made


def in_child(job):
    """Run one job in a child process.  Returns what it found, or that it took too long or died."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        seconds = LARGE_SECONDS if getattr(job, "large", False) else SECONDS
        signal.setitimer(signal.ITIMER_PROF, seconds)   # of the processor: a busy machine is no mistake
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        os.close(read)
        try:
            os.write(write, json.dumps(job()).encode())
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        answer = pipe.read()
    os.waitpid(child, 0)
    return json.loads(answer) if answer else ["error"]


def cases_by_function():
    """Which cases run each function of the package, the quickest first: [(seconds, name, {(file, function)})]."""
    from gpt2np.gradcheck.cases import CASES
    from gpt2np.gradcheck.checks import examine
    table, failures = [], []
    for case in CASES:
        called = set()

        def note(frame, event, argument, called=called):
            if event == "call":
                called.add((frame.f_code.co_filename, frame.f_code.co_qualname
                            if hasattr(frame.f_code, "co_qualname") else frame.f_code.co_name))

        start = time.perf_counter()
        sys.setprofile(note)
        for outcome in examine(case):
            if outcome.kind == "differences":           # nothing new is called from here on, and it is slow
                break
            failures += [f"{case.name}: {outcome.failure}"] if outcome.failure else []
        sys.setprofile(None)
        inside = [(Path(f).relative_to(ROOT).as_posix(), name) for f, name in called if f.startswith(str(ROOT))]
        table.append((time.perf_counter() - start, case.name, inside))
    return {"table": sorted(table), "failures": failures}


class TrainingJob:
    """A mutant of training: its tests fail, or it is not found."""

    large = False

    def __init__(self, title, file, make):
        self.title, self.file, self.make = title, file, make

    def __call__(self):
        import pytest
        sys.meta_path.insert(0, Planted(self.file, self.make()))
        for stream in (1, 2):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
        options = ("-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist", "--assert=plain", "-W", "ignore")
        return ["test"] if pytest.main([*options, "--rootdir", str(ROOT.parent), *(
            str(ROOT.parent / test) for test in TRAINING[self.file])]) else []


class LargeCase:
    """How long a case takes at large sizes, and what fails there: {name: (seconds, failures)}."""

    large = True

    def __init__(self, name):
        self.name = name

    def __call__(self):
        from gpt2np.gradcheck.cases import CASES
        from gpt2np.gradcheck.large import examine_large
        case, start = next(c for c in CASES if c.name == self.name), time.perf_counter()
        failures = [f"{self.name}, {o.argument}: {o.failure}" for o in examine_large(case) if o.failure]
        return {self.name: (time.perf_counter() - start, failures)}


def spread(jobs, workers):
    """Run the jobs on so many processes, and yield (index, found) as they end."""
    read, write = os.pipe()
    for worker in range(workers):
        if os.fork() == 0:
            os.close(read)
            for i in range(worker, len(jobs), workers):
                os.write(write, json.dumps([i, in_child(jobs[i])]).encode() + b"\n")
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as lines:
        for line in lines:
            yield json.loads(line)
    for _ in range(workers):
        os.wait()


class Job:
    """One mutant: where it is, what was changed, and what should find it."""

    def __init__(self, title, file, make, cases, all_checks=False, large=False):
        self.title, self.file, self.make, self.cases = title, file, make, cases
        self.all_checks, self.large = all_checks, large

    def __call__(self):
        return find(self.file, self.make(), self.cases, self.all_checks, self.large)


def relevant(table, file, function):
    """The cases that run this function; for a constant of the file, those that run any of its functions."""
    names = [name for _, name, called in table
             if any(f == file and (not function or n.split(".")[-1] == function.split(".")[-1]) for f, n in called)]
    return names or [name for _, name, _ in table]


def planted_jobs(table, large):
    """The classic mistakes, each a text of a file that is replaced.  SystemExit if a text is not there exactly once."""
    for title, file, changes, cases in PLANTED_LARGE if large else PLANTED:
        source = (ROOT / file).read_text(encoding="utf-8")
        for old, new in changes:
            if source.count(old) != 1:
                sys.exit(f"planted.py, {title!r}: expected its text once in gpt2np/{file}, "
                         f"found it {source.count(old)} times:\n{old}")
            source = source.replace(old, new)
        if unknown := set(cases) - {name for _, name, _ in table}:
            sys.exit(f"planted.py, {title!r}: expected names of cases, got {unknown}")
        rest = [name for name in relevant(table, file, "") if name not in cases]
        yield Job(title, file, lambda source=source: source, [*cases, *rest], all_checks=True, large=large)


def mechanical_jobs(table, files, large):
    """Every mechanical change of the files; large: all that change something, where something is large."""
    for file in files:
        for function, before, after, make in mechanical.mutants((ROOT / file).read_text(encoding="utf-8"), large):
            title = file, function, before, after
            if not (large and title in EXPLAINED):
                yield Job(title, file, make, relevant(table, file, function), large=large)


def training_jobs(files):
    """Every mechanical change of the optimizers and schedules."""
    for file in files:
        source = (ROOT / file).read_text(encoding="utf-8")
        for function, before, after, make in mechanical.mutants(source, False):
            yield TrainingJob((file, function, before, after), file, make)


def main(argv=None):
    """Plant what argv asks for.  Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__.split("\n\n")[0])
    parser.add_argument("--planted", action="store_true", help="only the classic mistakes")
    parser.add_argument("--large", action="store_true",
                        help="mistakes that begin at a size: the mechanical changes where something is large, too")
    parser.add_argument("--training", action="store_true", help="the optimizers and schedules, by their tests")
    parser.add_argument("--file", metavar="NAME", help="only the mechanical changes of one file, e.g. layers/linear.py")
    options = parser.parse_args(argv)
    if options.file and options.file not in FILES:
        parser.error(f"--file: expected one of {', '.join(FILES)}, got {options.file}")
    start = time.perf_counter()
    workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    if options.training:
        broken = [file for file in TRAINING if in_child(TrainingJob("", file, (ROOT / file).read_text))]
        if broken:
            print("The tests fail on the source as it is, those of", *broken)
            return 1
        return ended(report_mechanical(list(training_jobs(TRAINING)), workers, TRAINING), start, workers)
    baseline = in_child(cases_by_function)
    if baseline == ["error"]:
        print("The checks do not run on the source as it is, or take too long; run `make gradcheck`.")
        return 1
    if baseline["failures"]:
        print("The checks fail on the source as it is; run `make gradcheck`:", *baseline["failures"], sep="\n    ")
        return 1
    table, lost, failures = baseline["table"], 0, []
    if options.large and not options.planted:
        for _, answer in spread([LargeCase(name) for _, name, _ in table], workers):
            (name, (seconds, failed)), = answer.items()
            failures += failed
            table = [(seconds if other == name else s, other, called) for s, other, called in table]
        table.sort()
    if failures:
        print("The checks fail at large sizes on the source as it is; run `make gradcheck-large`:", *failures,
              sep="\n    ")
        return 1
    if not options.file:
        lost += report_planted(list(planted_jobs(table, options.large)), workers)
    if not options.planted:
        files = [options.file] if options.file else FILES
        lost += report_mechanical(list(mechanical_jobs(table, files, options.large)), workers, files)
    return ended(lost, start, workers)


def ended(lost, start, workers):
    """Say how it ended.  Returns the exit code."""
    print(f"\n{time.perf_counter() - start:.0f} s on {workers} processes: "
          + (f"{lost} to look at" if lost else "every mistake was found"))
    return 1 if lost else 0


def report_planted(jobs, workers):
    """Print the catch table of the classic mistakes.  Returns how many were not found."""
    width = max(len(job.title) for job in jobs)
    what = "Mistakes that begin at a size" if jobs[0].large else "Classic mistakes"
    print(f"{what}, and which checks find them:\n\n{'':{width}}  " + " ".join(f"{k[:9]:>9s}" for k in KINDS))
    results, counts, missed = dict(spread(jobs, workers)), Counter(), 0
    for i, job in enumerate(jobs):
        found = results[i]
        counts.update(found)
        missed += found in ([], ["error"])             # one that does not even run says nothing about the checks
        print(f"{job.title:{width}}  " + " ".join(f"{'x' if k in found else '.':>9s}" for k in KINDS)
              + ("" if found else "  NOT FOUND") + ("  IT DOES NOT RUN" if "error" in found else ""))
    print(f"{'found, of ' + str(len(jobs)):{width}}  " + " ".join(f"{counts[k]:9d}" for k in KINDS) + "\n")
    return missed


def report_mechanical(jobs, workers, files):
    """Print how many mechanical changes each kind of check found first.  Returns how many survivors are unexplained."""
    print("Mechanical changes, and the check that finds each first (the quick ones are asked first):\n")
    by_file, survivors = {file: Counter() for file in files}, []
    for done, (i, found) in enumerate(spread(jobs, workers), 1):
        by_file[jobs[i].file][found[0] if found else "survived"] += 1
        if not found:
            survivors.append(jobs[i].title)
        if sys.stderr.isatty():
            print(f"\r{done} of {len(jobs)}", end="\r", file=sys.stderr)
    columns = ["adjoint", "contract", "linearity", "reference", "law"] if files is not TRAINING else ["test"]
    columns += ["error", "survived"]
    print(f"{'':22s} {'made':>5s} " + " ".join(f"{k[:8]:>8s}" for k in columns))
    for file, counts in by_file.items():
        print(f"{file:22s} {sum(counts.values()):5d} " + " ".join(f"{counts[k]:8d}" for k in columns))
    total = sum(by_file.values(), Counter())
    if len(files) > 1:
        print(f"{'all':22s} {sum(total.values()):5d} " + " ".join(f"{total[k]:8d}" for k in columns))
    tried = {job.title for job in jobs}
    unexplained = [s for s in survivors if s not in EXPLAINED]
    stale = [s for s in EXPLAINED if s[0] in files and s not in survivors and (s in tried or not jobs[0].large)]
    print(f"\n{sum(total.values()) - len(survivors)} of {sum(total.values())} found; "
          f"{len(survivors) - len(unexplained)} change nothing, with the reason in equivalent.py")
    for heading, left in (("NOT FOUND", unexplained), ("in equivalent.py, but no survivor", stale)):
        for file, function, before, after in sorted(left):
            print(f"\n{heading}: {file} {function}\n    {before}\n    {after}")
    return len(unexplained) + len(stale)


if __name__ == "__main__":
    sys.exit(main())
