"""What one sees of the demo: a bar, the nodes, what happened, and the figures at the end."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

COLUMNS = ("node", "role", "term", "committed", "applied", "syncs")


class Show:
    def __init__(self, quiet: bool) -> None:
        self._console = Console(quiet=quiet, log_path=False)
        self._bar = Progress(
            TextColumn("lines acknowledged"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self._console,
        )
        self._task = self._bar.add_task("lines", total=None)
        self._live = Live(console=self._console, refresh_per_second=10, transient=True)

    def __enter__(self) -> Show:
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()

    def say(self, text: str) -> None:
        self._console.log(text, highlight=False)

    def update(self, done: int, total: int, statuses: dict[str, dict[str, Any]]) -> None:
        self._bar.update(self._task, completed=done, total=total)
        self._live.update(Group(self._bar, nodes_table(statuses)))

    def result(self, result: dict[str, Any]) -> None:
        self._console.print(result_table(result))
        for problem in result["problems"]:
            self._console.print(f"[bold red]{problem}")


def nodes_table(statuses: dict[str, dict[str, Any]]) -> Table:
    table = Table(*COLUMNS, box=None)
    for number in range(1, 4):
        name = f"n{number}"
        status = statuses.get(name)
        if status is None:
            table.add_row(name, "[red]down", "", "", "", "")
            continue
        leads = status["leader"] == name
        table.add_row(
            name,
            "[bold green]leader" if leads else "follower",
            *(f"{status[key]:,}" for key in ("term", "commit", "applied", "syncs")),
        )
    return table


def result_table(result: dict[str, Any]) -> Table:
    latency = result["latency_us"]
    milliseconds = {key: f"{value / 1000:,.2f} ms" for key, value in latency.items()}
    verdict = (
        "[bold green]every acknowledged line is in all three state machines once, in the same order"
        if result["ok"]
        else "[bold red]NOT as it must be"
    )
    table = Table(show_header=False, title="quorumlog demo")
    rows = {
        "lines": f"{result['lines']:,}, all acknowledged in {result['seconds']:.2f} s",
        "entries/s": f"{result['entries_per_second']:,.0f} in all,"
        f" {result['entries_per_second_with_a_leader']:,.0f} while there was a leader",
        "latency of a line": "p50 {p50}, p99 {p99}, p99.9 {p999}".format(**milliseconds)
        + " (first try to answer, retries included)",
        "syncs/s": f"{result['syncs_per_second']:,.0f} over all three nodes",
        "killed": f"{result['killed']}; a new leader after {result['new_leader_ms']:,.0f} ms",
        "without a leader": f"{result['without_leader_ms']:,.0f} ms, from the kill to the next commit",
        "restarted": f"caught up {result['caught_up_ms']:,.0f} ms after its restart",
        "retried": f"{result['retried_with_unknown_outcome']} proposals with an unknown outcome,"
        f" {result['retried_after_refusal']} after a refusal;"
        f" {max(result['passed_over_as_repeated'].values())} repeated lines passed over",
        "state hash": ", ".join(sorted({one[:16] for one in result["state_hash"].values()})),
        "data": result["data"],
        "verdict": verdict,
    }
    for name, text in rows.items():
        table.add_row(name, text)
    return table
