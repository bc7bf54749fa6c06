"""The documents say what is so: the README's example runs as printed, the table of errors is the tree of
errors, every link leads somewhere, and every named module or test is there."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import quorumlog
from quorumlog import errors

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("bench/*.md")])
LINK = re.compile(r"\[[^\]]*\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)")
# `storage/wal`, `protocols/raft.pyx`, `engine/receipt.pxd`: a part of the core
PART = re.compile(
    r"`((?:base|storage|engine|protocols|runtime|simulation|bridge)/[a-z0-9_]+)(?:\.(pyx|pxd))?`"
)
TEST = re.compile(r"`(tests/[a-z0-9_/]+\.(?:py|txt))(?:::([a-z0-9_]+))?`")

TREE_LINE = re.compile(r"^(?P<indent>[│ ├└─]*)(?P<name>[A-Z]\w+)")


def names(path: Path) -> str:
    return str(path.relative_to(ROOT))


def blocks(document: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / document).read_text(), re.M | re.S)


def run(example: str, where: Path) -> str:
    command = [sys.executable, "-W", "error", "-c", example]
    found = str(Path(quorumlog.__file__).parents[1])  # a relative PYTHONPATH leads nowhere from there
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([found, os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(command, cwd=where, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_readme_example_runs_as_printed(tmp_path: Path) -> None:
    (example,) = blocks("README.md", "python")
    index, total = map(int, run(example, tmp_path).split())
    assert index > 0
    assert total == 5 + sum(range(1000))


@pytest.mark.parametrize(
    "page",
    [
        "write-a-state-machine",
        "use-the-log-alone",
        "use-asyncio",
        "choose-quorums",
        "move-leadership",
        "read",
        "exactly-once",
    ],
)
def test_examples_hold_what_they_assert(page: str, tmp_path: Path) -> None:
    (example,) = blocks(f"docs/how-to/{page}.md", "python")
    assert "assert " in example
    (tmp_path / "var").mkdir()
    run(example, tmp_path)


@pytest.mark.parametrize("path", DOCUMENTS, ids=names)
def test_links_lead_somewhere(path: Path) -> None:
    broken = [link for link in LINK.findall(path.read_text()) if not (path.parent / link).exists()]
    assert not broken


@pytest.mark.parametrize("path", DOCUMENTS, ids=names)
def test_named_parts_and_tests_are_there(path: Path) -> None:
    text = path.read_text()
    core = ROOT / "core/quorumlog/_core"
    missing = []
    for part, suffix in PART.findall(text):
        wanted = [suffix] if suffix else ["pyx", "pxd"]
        if not any((core / f"{part}.{one}").exists() for one in wanted):
            missing.append(part)
    for file, name in TEST.findall(text):
        if not (ROOT / file).exists() or (name and f"def {name}(" not in (ROOT / file).read_text()):
            missing.append(f"{file}::{name}")
    assert not missing


def documented_tree() -> dict[str, str]:
    """Name to name of the parent, from the drawing in docs/reference/errors.md."""
    (drawing,) = [b for b in blocks("docs/reference/errors.md", "") if "QuorumlogError" in b]
    parents: dict[str, str] = {}
    path: list[str] = []
    for line in drawing.splitlines():
        if found := TREE_LINE.match(line):
            depth = len(found["indent"]) // 4
            path = [*path[:depth], found["name"]]
            parents[found["name"]] = path[-2] if depth else "Exception"
    return parents


def test_the_tree_of_errors_is_the_documented_one() -> None:
    real = {
        name: kind.__bases__[0].__name__
        for name, kind in inspect.getmembers(errors, inspect.isclass)
        if kind.__module__ == errors.__name__
    }
    assert documented_tree() == real
    assert set(errors.__all__) == set(real)


def test_definite_and_retryable_are_as_documented() -> None:
    text = (ROOT / "docs/reference/errors.md").read_text()
    rows = re.findall(r"^\| (`.*?) \| (yes|\*\*no\*\*) \| (yes|no) \|", text, re.M)
    said = {
        name: (definite == "yes", retryable == "yes")
        for row, definite, retryable in rows
        for name in re.findall(r"`(\w+)`", row)
    }
    branches = {"QuorumlogError", "Rejected", "Unknown", "StorageError"}  # shown by their leaves
    assert set(said) == set(errors.__all__) - branches - {"PeerError", "InvariantViolation"}
    for name, both in said.items():
        kind = getattr(errors, name)
        assert (kind.definite, kind.retryable) == both, name
