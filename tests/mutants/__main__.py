"""python -m tests.mutants: plant every mistake, one at a time, and print which check found how many.

Each mutant runs in a forked process of its own: it imports the changed file in place of the real one, and all that
import it anew, and the checks of `make gradcheck` look for the difference.  Exit code 1 if one is not found, unless
equivalent.py says why nothing can be found, or if planted.py or equivalent.py no longer fits the source.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")      # before NumPy: the processes share the cores by themselves

import argparse
import ast
import functools
import gc
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
NO_MATHEMATICS = ("__init__.py", "config.py", "protocols.py", "paths.py", "replacing.py", "freezing.py",
                  "trimming.py", "positional.py")       # the last two: no gradient of their own
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
DIED = ["error"], None          # what is found of a mutant that raises, takes too long or dies


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


def module_of(path):
    """The name of the module that a file of the package is."""
    return ".".join(("gpt2np", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")


@functools.cache
def importers():
    """Which modules of the package import each: {module: [module, ...]}."""
    found = {}
    for path in ROOT.rglob("*.py"):
        name = module_of(path)
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                origin = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
                for imported in (origin, *(f"{origin}.{alias.name}" for alias in node.names)):
                    found.setdefault(imported, []).append(name)
    return found


def forget(file):
    """Take the module of this file out of memory, and all that import it, so that each is imported anew."""
    queue = [module_of(ROOT / file)]
    for name in queue:
        queue += [other for other in importers().get(name, ()) if other not in queue]
        package, _, last = name.rpartition(".")
        if sys.modules.pop(name, None) is not None and package in sys.modules:
            vars(sys.modules[package]).pop(last, None)


def kind_of(outcome):
    """The column of the table for an outcome of checks.examine."""
    return outcome.check if outcome.check in ("linearity", "reference") else outcome.kind


def find(file, source, cases, all_checks, large=False):
    """Which kinds of check fail on the changed source, of the first case where one does: (kinds, name of the case).

    With all_checks=False, only the first of the quick ones: differences and order see no more than adjoint does.
    """
    forget(file)
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
                        break
            if found:
                return found, name
        return found, None
    except Exception:
        return DIED                                     # it does not even import, or a case cannot be made


def in_child(job):
    """Run one job in a child process.  Returns its answer as JSON has it, or DIED where there is none."""
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
    return json.loads(answer) if answer else DIED


class Baseline:
    """A case on the source as it is: (its name, seconds, the functions of the package that it runs, what fails).

    large   True: at large sizes, without the functions
    """

    def __init__(self, name, large=False):
        self.name, self.large, self.called = name, large, set()

    def __call__(self):
        from gpt2np.gradcheck.cases import CASES
        from gpt2np.gradcheck.checks import examine
        from gpt2np.gradcheck.large import examine_large
        case, start, failures = next(c for c in CASES if c.name == self.name), time.perf_counter(), []
        if not self.large:
            sys.setprofile(self.note)
        for outcome in (examine_large if self.large else examine)(case):
            if outcome.kind == "differences":           # nothing new is called from here on, and it is slow
                break
            failures += [f"{case.name}, {outcome.argument}: {outcome.failure}"] if outcome.failure else []
        sys.setprofile(None)
        inside = [(Path(f).relative_to(ROOT).as_posix(), name) for f, name in self.called if f.startswith(str(ROOT))]
        return self.name, time.perf_counter() - start, inside, failures

    def note(self, frame, event, argument):
        if event == "call":
            code = frame.f_code
            self.called.add((code.co_filename, getattr(code, "co_qualname", code.co_name)))


def baselines(names, workers, large=False):
    """The answers of Baseline for these cases, the quickest first.  SystemExit if one fails."""
    table = sorted((answer for _, answer in spread([Baseline(name, large) for name in names], workers)),
                   key=lambda answer: answer[1])
    target = "make gradcheck-large" if large else "make gradcheck"
    if failures := [text for answer in table for text in (["it does not run"] if answer == list(DIED) else answer[3])]:
        sys.exit("\n    ".join([f"The checks fail on the source as it is; run `{target}`:", *failures]))
    return table


def spread(jobs, workers):
    """Run the jobs on so many processes, and yield (index, answer) as they end.  SystemExit if one is lost."""
    gc.freeze()                                         # what is in memory now, no child has to look through
    read, write = os.pipe()
    answers = 0
    for worker in range(workers):
        if os.fork() == 0:
            os.close(read)
            for i in range(worker, len(jobs), workers):
                answer = in_child(jobs[i])
                if isinstance(jobs[i], Job):
                    jobs[i].learn(answer)
                os.write(write, json.dumps([i, answer]).encode() + b"\n")
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as lines:
        for line in lines:
            answers += 1
            yield json.loads(line)
    for _ in range(workers):
        os.wait()
    if answers < len(jobs):
        sys.exit(f"Expected {len(jobs)} answers, got {answers}: a process that asks for them died")


class Cases:
    """The cases that run a function, in the order in which the next mutant of it is likely found soonest.

    A case that takes t seconds and has found n of the m mutants that it was asked about comes by t (m + 2) / (n + 1):
    at first the quickest, and soon those that see something.
    """

    def __init__(self, seconds):
        self.seconds, self.asked, self.found = seconds, Counter(), Counter()

    def __iter__(self):
        return iter(sorted(self.seconds, key=lambda name: (
            self.seconds[name] * (self.asked[name] + 2) / (self.found[name] + 1))))

    def learn(self, by):
        """That the last mutant was found by this case, or by none (None)."""
        for name in self:
            self.asked[name] += 1
            if name == by:
                self.found[name] += 1
                break


class Job:
    """One mutant: where it is, what was changed, and the cases that should find it."""

    def __init__(self, title, file, make, cases, all_checks=False, large=False):
        self.title, self.file, self.make, self.cases = title, file, make, cases
        self.all_checks, self.large = all_checks, large

    def __call__(self):
        return find(self.file, self.make(), self.cases, self.all_checks, self.large)

    def learn(self, answer):
        """What was found: the next job of the same function has the same Cases."""
        if isinstance(self.cases, Cases):
            self.cases.learn(answer[1])


class TrainingJob(Job):
    """A mutant of training: its tests fail, or it is not found."""

    def __call__(self):
        import pytest
        forget(self.file)
        sys.meta_path.insert(0, Planted(self.file, self.make()))
        for stream in (1, 2):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
        options = ("-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist", "--assert=plain", "-W", "ignore")
        failed = pytest.main([*options, "--rootdir", str(ROOT.parent), *(
            str(ROOT.parent / test) for test in TRAINING[self.file])])
        return ["test"] * bool(failed), None


def relevant(table, file, function):
    """The cases that run this function; for a constant of the file, those that run any of its functions."""
    seconds = {name: seconds for name, seconds, called, _ in table
               if any(f == file and (not function or n.split(".")[-1] == function.split(".")[-1]) for f, n in called)}
    return Cases(seconds or {name: seconds for name, seconds, *_ in table})


def planted_jobs(table, large):
    """The classic mistakes, each a text of a file that is replaced.  SystemExit if a text is not there exactly once."""
    for title, file, changes, cases in PLANTED_LARGE if large else PLANTED:
        source = (ROOT / file).read_text(encoding="utf-8")
        for old, new in changes:
            if source.count(old) != 1:
                sys.exit(f"planted.py, {title!r}: expected its text once in gpt2np/{file}, "
                         f"found it {source.count(old)} times:\n{old}")
            source = source.replace(old, new)
        if unknown := set(cases) - {name for name, *_ in table}:
            sys.exit(f"planted.py, {title!r}: expected names of cases, got {unknown}")
        rest = [name for name in relevant(table, file, "") if name not in cases]
        yield Job(title, file, lambda source=source: source, [*cases, *rest], all_checks=True, large=large)


def mechanical_jobs(table, files, large):
    """Every mechanical change of the files; large: all that change something, where something is large."""
    for file in files:
        cases = {}
        for function, before, after, make in mechanical.mutants((ROOT / file).read_text(encoding="utf-8"), large):
            title = file, function, before, after
            if not (large and title in EXPLAINED):
                if function not in cases:
                    cases[function] = relevant(table, file, function)
                yield Job(title, file, make, cases[function], large=large)


def training_jobs(files):
    """Every mechanical change of the optimizers and schedules."""
    for file in files:
        source = (ROOT / file).read_text(encoding="utf-8")
        for function, before, after, make in mechanical.mutants(source, False):
            yield TrainingJob((file, function, before, after), file, make, ())


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
        as_it_is = [TrainingJob("", file, (ROOT / file).read_text, ()) for file in TRAINING]
        if broken := [job.file for job in as_it_is if in_child(job)[0]]:
            sys.exit(f"The tests fail on the source as it is, those of {', '.join(broken)}")
        return ended(report_mechanical(list(training_jobs(TRAINING)), workers, TRAINING), start, workers)
    from gpt2np.gradcheck.cases import CASES
    importers()                                         # once, before any process is forked
    names, lost = [case.name for case in CASES], 0
    table = baselines(names, workers)
    if options.large and not options.planted:
        called = {name: functions for name, _, functions, _ in table}
        table = [(name, seconds, called[name], []) for name, seconds, *_ in baselines(names, workers, large=True)]
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
        found, _ = results[i]
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
    for done, (i, (found, _)) in enumerate(spread(jobs, workers), 1):
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
