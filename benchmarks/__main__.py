"""`make bench`: every benchmark, one table, each number beside a named baseline of the same run.

`make bench ARGS="push"` runs one. Numbers depend on the machine; the ratios are what to compare.
"""

import sys
from collections.abc import Callable

from benchmarks import ack, audit_verify, delivery, history, push, render
from benchmarks.table import Row

ALL: dict[str, Callable[[], list[Row]]] = {
    "push": push.rows,
    "delivery": delivery.rows,
    "ack": ack.rows,
    "render": render.rows,
    "history": history.rows,
    "audit_verify": audit_verify.rows,
}


def main() -> int:
    """Run those that are named, or all. 1 when a target was missed."""
    names = sys.argv[1:] or list(ALL)
    unknown = [name for name in names if name not in ALL]
    if unknown:
        print(f"there is no benchmark called {', '.join(unknown)}; there are {', '.join(ALL)}", file=sys.stderr)
        return 2
    missed = 0
    for name in names:
        for row in ALL[name]():
            print(row, flush=True)
            missed += not row.reached
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
