"""The child process of the demo: one node, proposals and questions from its parent."""

from __future__ import annotations

from typing import Any

import quorumlog as ql
from quorumlog.demo.lines import Lines, entry_of
from quorumlog.processes.channel import from_text, serve
from quorumlog.processes.node import NodeWorker


class DemoWorker(NodeWorker):
    def __init__(self) -> None:
        super().__init__({"lines": Lines})

    def propose(self, first_id: int, lines: list[str], timeout_seconds: float) -> dict[str, int]:
        """Proposes the lines as one batch, all or nothing, on this node (which forwards if it
        must).
        """
        entries = [entry_of(line_id, from_text(line)) for line_id, line in enumerate(lines, first_id)]
        applied = self.group.propose_many(entries, timeout=timeout_seconds)
        return {"index": applied.index, "term": applied.term}

    def report(self) -> Any:
        return self.group.read("report", consistency=ql.STALE)

    def order(self, start: int, count: int) -> Any:
        return self.group.read((start, count), consistency=ql.STALE)


def main() -> None:
    worker = DemoWorker()
    serve(
        {
            **worker.handlers(),
            "propose": worker.propose,
            "report": worker.report,
            "order": worker.order,
        },
        threads=16,
    )
    worker.close()


if __name__ == "__main__":
    main()
