"""This tree against another revision: both built, run in turn, and the ratios of the pairs.

    make bench-compare BASE=main~5                        the default shapes, five pairs
    python bench/compare.py v0.1 --pairs 9 single         one shape

The other revision is checked out as a git worktree in build/compare and compiled there by the same Python and
Cython; each runs its own sources and its own benchmarks, and what only one of them has is left out. Which
one begins alternates from pair to pair, so that a machine that gets slower meanwhile favours neither. A ratio
is this tree's figure over the other's, of one pair; the median of the pairs is shown with the least and the most.
Where those lie on both sides of 1, the pairs don't agree which is better, and the table says so with `~`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SECONDS = "2"
# `bench cluster` with these; only options that old revisions have too.
SHAPES = {
    "batch": ("--mode", "batch", "--payload", "16", "--batch", "4096"),
    "small": ("--mode", "batch", "--payload", "16", "--batch", "64"),
    "large": ("--mode", "batch", "--payload", "1024", "--batch", "1024"),
    "python": ("--mode", "batch", "--payload", "16", "--batch", "4096", "--machine", "python"),
    "submit": ("--mode", "submit"),
    "single": ("--mode", "single"),
}
MICRO = "micro"
DEFAULT = ("batch", "small", "submit", "single", MICRO)

# Name of a figure, and its value.
Figures = dict[str, float]


class Failed(RuntimeError):
    """A revision could not be built or run; the text says what it said."""


@dataclass
class Compared:
    """The figures of all pairs, by name: the base's and this tree's."""

    base: dict[str, list[float]] = field(default_factory=dict)
    this: dict[str, list[float]] = field(default_factory=dict)

    def add(self, base: Figures, this: Figures) -> None:
        for name in base:
            if name not in this:
                continue
            self.base.setdefault(name, []).append(base[name])
            self.this.setdefault(name, []).append(this[name])

    def ratios(self, name: str) -> list[float]:
        return [this / base for base, this in zip(self.base[name], self.this[name], strict=True) if base]


def call(command: Sequence[str], directory: Path, environment: dict[str, str] | None = None) -> str:
    ran = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise Failed(f"{' '.join(command)} in {directory}:\n{(ran.stdout + ran.stderr).strip()[-3000:]}")
    return ran.stdout


def environment_of(tree: Path) -> dict[str, str]:
    """The tree's package in front of the installed one."""
    return {**os.environ, "PYTHONPATH": str(tree / "python")}


def checked_out(revision: str) -> Path:
    """A worktree of that revision, compiled; one that is there already is used again."""
    commit = call(["git", "rev-parse", "--verify", f"{revision}^{{commit}}"], ROOT).strip()
    tree = ROOT / "build" / "compare" / commit[:12]
    if not (tree / "setup.py").exists():
        call(["git", "worktree", "prune"], ROOT)
        call(["git", "worktree", "add", "--detach", "--force", str(tree), commit], ROOT)
    call([sys.executable, "setup.py", "--quiet", "build_ext", "--inplace"], tree, environment_of(tree))
    where = call([sys.executable, "-c", "import quorumlog; print(quorumlog.__file__)"], tree, environment_of(tree))
    if not Path(where.strip()).is_relative_to(tree):
        raise Failed(f"{where.strip()} is imported in place of {tree}: another quorumlog stands in front")
    return tree


def cluster_figures(tree: Path, shape: str) -> Figures:
    """Entries a second and latencies of one run, which must be verified."""
    command = [sys.executable, "-m", "quorumlog", "bench", "cluster", "--json", "--seconds", SECONDS, *SHAPES[shape]]
    run = json.loads(call(command, tree, environment_of(tree)).splitlines()[-1])
    latency = run["latency_us"]
    return {
        f"{shape}: entries/s": run["entries_per_second"],
        f"{shape}: p50 µs": latency["p50"],
        f"{shape}: p99 µs": latency["p99"],
    }


def micro_figures(tree: Path) -> Figures:
    """The median time of a round of each micro benchmark, in µs."""
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory, "micro.json")
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "bench/micro"]
        call([*command, "--benchmark-json", str(file)], tree, environment_of(tree))
        found = json.loads(file.read_text())["benchmarks"]
    return {f"micro: {one['name']} µs": one["stats"]["median"] * 1e6 for one in found}


def figures(tree: Path, names: Sequence[str]) -> Figures:
    found: Figures = {}
    for name in names:
        found.update(micro_figures(tree) if name == MICRO else cluster_figures(tree, name))
    return found


def compare(base: Path, this: Path, names: Sequence[str], pairs: int,
            run: Callable[[Path, Sequence[str]], Figures] = figures,
            said: Callable[[str], None] = lambda text: None) -> Compared:
    """Runs the pairs, shape by shape; who begins alternates."""
    compared = Compared()
    for name in names:
        for pair in range(pairs):
            said(f"{name}: pair {pair + 1} of {pairs}")
            order = (base, this) if pair % 2 == 0 else (this, base)
            ran = {tree: run(tree, [name]) for tree in order}
            compared.add(ran[base], ran[this])
    return compared


def table(compared: Compared) -> str:
    """Markdown: a line for each figure."""
    lines = ["| figure | base | this | ratio | least to most | |", "|---|---:|---:|---:|---:|---|"]
    for name in compared.base:
        ratios = compared.ratios(name)
        if not ratios:
            continue
        least, most = min(ratios), max(ratios)
        agree = "" if least > 1 or most < 1 else "~"
        lines.append(
            f"| {name} | {statistics.median(compared.base[name]):,.1f} | {statistics.median(compared.this[name]):,.1f}"
            f" | {statistics.median(ratios):.3f} | {least:.3f} to {most:.3f} | {agree} |"
        )
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description="This tree against another revision.")
    parser.add_argument("base", help="a git revision")
    parser.add_argument("only", nargs="*", help=f"of {', '.join([*SHAPES, MICRO])}; default {' '.join(DEFAULT)}")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--output", type=Path, help="a JSON file for all figures of all pairs")
    chosen = parser.parse_intermixed_args()
    names = chosen.only or list(DEFAULT)
    unknown = [name for name in names if name not in (*SHAPES, MICRO)]
    if unknown or not 1 <= chosen.pairs <= 100:
        parser.error(f"unknown: {' '.join(unknown)}" if unknown else "--pairs: 1 to 100")

    def said(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    try:
        said(f"building {chosen.base}")
        base = checked_out(chosen.base)
        compared = compare(base, ROOT, names, chosen.pairs, said=said)
    except Failed as why:
        print(f"bench-compare: {why}", file=sys.stderr)
        return 1
    if chosen.output:
        chosen.output.write_text(json.dumps({"base": compared.base, "this": compared.this}, indent=1) + "\n")
    print(f"base: {base.name}; this tree at {call(['git', 'describe', '--always', '--dirty=+'], ROOT).strip()}\n")
    print(table(compared))
    return 0


if __name__ == "__main__":
    sys.exit(main())
