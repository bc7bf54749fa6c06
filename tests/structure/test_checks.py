"""Invariants can be found by their id: unique, well formed, with a sentence."""

import re
from collections import Counter
from pathlib import Path

CORE = Path(__file__).resolve().parents[2] / "core" / "quorumlog" / "_core"
CALL = re.compile(r"\bcheck2?\(")
TEXT = re.compile(r'b"(Q-[A-Z0-9]+-\d\d) ([^"]*)')


def checks() -> list[tuple[str, str, str]]:
    """(place, id, sentence) of each check; the text may stand on a line behind the call."""
    found = []
    for path in sorted(CORE.rglob("*.p[xy]*")):
        if path.name == "checks.pxd":
            continue
        source = "\n".join(line.split("  #")[0] for line in path.read_text().splitlines())
        for call in CALL.finditer(source):
            before = source[source.rfind("\n", 0, call.start()) + 1:call.start()]
            if "cimport" in before or "#" in before or "`" in before:
                continue
            text = TEXT.search(source, call.end(), call.end() + 600)
            following = CALL.search(source, call.end())
            place = f"{path.relative_to(CORE)}:{source.count(chr(10), 0, call.start()) + 1}"
            assert text, f"{place}: a check without an id of the form Q-AREA-01"
            assert not following or text.start() < following.start(), (
                f"{place}: a check without an id of the form Q-AREA-01")
            found.append((place, text[1], text[2]))
    return found


def test_ids_are_unique() -> None:
    found = checks()
    assert found
    twice = {name for name, count in Counter(name for _, name, _ in found).items() if count > 1}
    assert not [(place, name) for place, name, _ in found if name in twice]


def test_each_says_what_holds() -> None:
    assert not [(place, name) for place, name, sentence in checks() if len(sentence.split()) < 3]


def test_no_file_is_two_ideas() -> None:
    root = CORE.parents[2]
    files = [path for folder in ("core", "python", "tests", "bench")
             for path in (root / folder).rglob("*")
             if path.suffix in {".py", ".pyx", ".pxd", ".pyi", ".h"} and path.is_file()]
    assert files
    long = {str(path.relative_to(root)): lines for path in files
            if (lines := path.read_text().count("\n")) > 600}
    assert not long
