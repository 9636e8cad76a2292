"""python -m gpt2np.gradcheck: check every gradient, and print the table, a line at a time."""

if not __package__: raise SystemExit("error: a file of gpt2np, which is run as: python3 -m gpt2np.gradcheck")

import argparse
import time
from collections.abc import Collection, Sequence

import numpy as np

from ..command import Parser, not_empty, run_command, whole
from ..interrupts import leave
from . import checks
from .cases import CASES
from .checks import ALL_PARAMETERS, MANY, Case, Outcome
from .large import examine_large

WHAT_THE_COLUMNS_SAY = f"""\
difference  largest error of the gradient against central differences, h = 1e-5,
            over the largest element of both; PASS needs less than {checks.LIMIT_DIFFERENCES:g}
adjoint     |<Jv, dy> - <v, J'dy>|, relative, with Jv by the complex step;
            less than {checks.LIMIT_ADJOINT:g}
order       central differences come nearer to the gradient like h^order; 2, or
            "exact" where y is linear in the argument: no error is left to fall
laws        kept / all: equal to scalar loops, linear in dy, and what holds for
            this layer alone: rows that sum to 1, causality, invariances,
            limits, bad input refused
contract    kept / all: nothing written into, same bits twice, fresh
            memory, float32 stays float32, any memory layout, shapes refused
            rather than broadcast, empty batch
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command: returns its exit status, 1 if a check fails.  Wrong usage ends in SystemExit with status 2."""
    return run_command(check, arguments, "interrupted before the end")


def check(arguments: Sequence[str] | None) -> int:
    """Run the checks that the arguments ask for, and return 0 if all pass, 1 if one fails."""
    parser = Parser(
        "gradcheck", usage="%(prog)s [--layer NAME] [--large] [--seed N]",
        description="Check every gradient against the forward pass it belongs to.", epilog=WHAT_THE_COLUMNS_SAY,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        known_as={"--layers": "--layer", "-l": "--layer", "": "a layer goes behind --layer"},
        examples=("python -m gpt2np.gradcheck", "python -m gpt2np.gradcheck --layer attention"))
    parser.add_argument("--layer", type=not_empty, metavar="NAME", action="append",
                        help="only layers whose name has NAME in it, with a line for every parameter; several times")
    parser.add_argument("--large", action="store_true",
                        help="at large sizes, each alone far above what it is in the table, with a line for each")
    parser.add_argument("--seed", type=whole(0), default=0, metavar="N", help="of the random numbers (%(default)s)")
    options = parser.parse_args(arguments)
    cases: Sequence[Case] = CASES
    if options.layer:
        cases = [c for c in CASES if any(name.lower() in c.name.lower() for name in options.layer)]
        if not cases:
            parser.error(f"--layer: expected part of a layer's name, got {' '.join(options.layer)}; "
                         f"the layers are: {'; '.join(c.name for c in CASES)}")
    return report_large(cases, options.seed) if options.large else report(cases, options.seed, bool(options.layer))


def report(cases: Sequence[Case], seed: int, each: bool) -> int:
    """Print the table of these cases; each=True gives every parameter its line.  Returns the exit code."""
    start, count, failed, gradients = time.perf_counter(), 0, 0, 0
    worst = {"differences": 0.0, "adjoint": 0.0, "order": 0.0}
    print_row("layer", "argument", "difference", "adjoint", "order", "laws", "contract", "")
    for case in cases:
        outcomes, parameters = list(checks.examine(case, seed)), case.make(np.random.default_rng(seed)).parameters
        print_case(case.name, outcomes, () if each else parameters)
        count += len(outcomes)
        failed += any(o.failure for o in outcomes)
        gradients += sum(o.kind == "adjoint" for o in outcomes)
        for o in outcomes:
            if o.kind in worst and o.figure is not None:
                worst[o.kind] = max(worst[o.kind], abs(o.figure - 2) if o.kind == "order" else o.figure)
    print(f"\nlayers: {len(cases)}, gradients: {gradients}, checks: {count}, in {time.perf_counter() - start:.1f} s: "
          + (f"{failed} of the layers FAIL" if failed else "all PASS"))
    print(f"worst: difference {worst['differences']:.1e} (limit {checks.LIMIT_DIFFERENCES:g}), "
          f"adjoint {worst['adjoint']:.1e} (limit {checks.LIMIT_ADJOINT:g}),\n"
          f"       order 2 within {worst['order']:.3f} (limit {checks.LIMIT_ORDER:g})")
    return 1 if failed else 0


def print_case(name: str, outcomes: list[Outcome], parameters: Collection[str]) -> None:
    """The lines of one layer: one for each argument, the laws and the contract on the first; below, what failed.

    parameters   arguments that share a line where there are many
    """
    arguments = list(dict.fromkeys(o.argument for o in outcomes if o.argument))
    lines, together = [(a, [a]) for a in arguments], [a for a in arguments if a in parameters]
    if len(arguments) > MANY and together:
        lines = [(a, [a]) for a in arguments if a not in (*together, ALL_PARAMETERS)]
        lines.append((f"{len(together)} parameters", [*together, ALL_PARAMETERS]))
    laws, contract = (kept([o for o in outcomes if o.kind == kind]) for kind in ("law", "contract"))
    for i, (label, members) in enumerate(lines):
        mine = [o for o in outcomes if o.argument in members or (i == 0 and not o.argument)]
        print_row(name if i == 0 else "", label, worst_of(mine, "differences"), worst_of(mine, "adjoint"),
                  worst_of(mine, "order"), laws if i == 0 else "", contract if i == 0 else "",
                  "FAIL" if any(o.failure for o in mine) else "PASS")
    print_failures(outcomes)


def report_large(cases: Sequence[Case], seed: int) -> int:
    """Print the table of these cases at large sizes, a line for each size.  Returns the exit code."""
    start, count, failed, sizes, worst = time.perf_counter(), 0, 0, 0, 0.0
    print_row("layer", "size", "", "adjoint", "", "laws", "contract", "")
    for case in cases:
        outcomes = list(examine_large(case, seed))
        for i, size in enumerate(dict.fromkeys(o.argument for o in outcomes)):
            mine, sizes = [o for o in outcomes if o.argument == size], sizes + 1
            laws, contract = (kept([o for o in mine if o.kind == kind]) for kind in ("law", "contract"))
            print_row(case.name if i == 0 else "", size, "", worst_of(mine, "adjoint"), "", laws, contract,
                      "FAIL" if any(o.failure for o in mine) else "PASS")
            print_failures(mine)
        count += len(outcomes)
        failed += any(o.failure for o in outcomes)
        worst = max([worst, *(o.figure for o in outcomes if o.kind == "adjoint" and o.figure is not None)])
    print(f"\nlayers: {len(cases)}, sizes: {sizes}, checks: {count}, in {time.perf_counter() - start:.0f} s: "
          + (f"{failed} of the layers FAIL" if failed else "all PASS"))
    print(f"worst: adjoint {worst:.1e} (limit {checks.LIMIT_ADJOINT:g})")
    return 1 if failed else 0


def print_failures(outcomes: list[Outcome]) -> None:
    """What failed, a line for each."""
    for o in outcomes:
        if o.failure:
            print(f"    {o.check.replace('_', ' ')}: {o.failure}", flush=True)


def kept(outcomes: list[Outcome]) -> str:
    """How many of these were kept, of how many."""
    return f"{sum(o.failure is None for o in outcomes)}/{len(outcomes)}"


def worst_of(outcomes: list[Outcome], kind: str) -> str:
    """The worst figure of one kind, as text: the largest error, or the order furthest from 2."""
    mine = [o for o in outcomes if o.kind == kind]
    if any(o.failure for o in mine):
        return "FAIL"
    if not mine:                                        # of a single parameter: they move together
        return ""
    figures = [o.figure for o in mine if o.figure is not None]
    if kind == "order":
        return f"{max(figures, key=lambda f: abs(f - 2)):.3f}" if figures else "exact"
    return f"{max(figures):.0e}"


def print_row(layer: str, argument: str, differences: str, adjoint: str, order: str, laws: str, contract: str,
              verdict: str) -> None:
    """One line of at most 80 columns, at once."""
    print(f"{layer:21s} {argument:13s} {differences:>10s} {adjoint:>7s} {order:>5s} {laws:>5s} {contract:>8s} {verdict}"
          .rstrip(), flush=True)


if __name__ == "__main__":
    leave(main())
