"""The child of `bench instructions`: makes each hot path's turns, in order, under callgrind.

What is counted is what happens in `ql_measured` (bridge/testing_bench.pxd); callgrind dumps its counters
behind each call of it.
"""

from __future__ import annotations

import sys
from pathlib import Path

from quorumlog.bench.hot_paths import HOT_PATHS

WARM_UP_TURNS = 32
TURNS = 128


def main(directory: Path) -> None:
    """Prints a line for each path: entries of a turn, a tab, the name."""
    for number, (name, make) in enumerate(HOT_PATHS.items()):
        own = directory / str(number)
        own.mkdir()
        path = make(own)
        path.prepare(WARM_UP_TURNS)
        path.run(WARM_UP_TURNS, measured=False)
        path.prepare(TURNS)
        path.run(TURNS)
        print(f"{path.entries}\t{name}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
