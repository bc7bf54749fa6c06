"""Runs simulation seeds, one line of JSON each: `python tests/simulation/run_seeds.py FIRST COUNT [STRIDE]`.

A process of its own, because a broken invariant of the core aborts; the seed is
announced before it runs, so that the last line names it.
"""

from __future__ import annotations

import json
import sys

from quorumlog._core.bridge.testing_simulation import run


def main(first: int, count: int, stride: int) -> int:
    failed = 0
    for number in range(count):
        seed = first + number * stride
        print(json.dumps({"begins": seed}), flush=True)
        result = run(seed)
        del result["hosts"]
        print(json.dumps(result), flush=True)
        failed += bool(result["failure"])
    return 1 if failed else 0


if __name__ == "__main__":
    first, count, stride = ([int(argument) for argument in sys.argv[1:]] + [1, 1])[:3]
    sys.exit(main(first, count, stride))
