"""Runs seeds of the simulation, one line of JSON each.

    python -m quorumlog.testing.worker PROTOCOL PROFILE NODES FIRST COUNT STEP

A process of its own, because a broken invariant of the core aborts; the seed is
announced before it runs, so that the last line names it.  The last line of all is the
CPU time that the process took.
"""

from __future__ import annotations

import json
import sys
import time

from quorumlog._core.bridge.testing_simulation import run


def main(protocol: str, profile: str, nodes: int, first: int, count: int, step: int) -> int:
    failed = 0
    for number in range(count):
        seed = first + number * step
        print(json.dumps({"begins": seed}), flush=True)
        result = run(seed, protocol=protocol, profile=profile, nodes=nodes)
        print(json.dumps(result), flush=True)
        failed += bool(result["failure"])
    print(json.dumps({"cpu_seconds": time.process_time()}), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], *(int(argument) for argument in sys.argv[3:7])))
