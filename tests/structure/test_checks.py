"""Every check in the core has an id of its own and a sentence (base/checks.pxd)."""

import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(
    p
    for suffix in ("*.pyx", "*.pxd", "*.h")
    for p in (ROOT / "core").rglob(suffix)
    if p.name != "checks.pxd"
)
CALL = re.compile(r"(?<![\w.])(?:ql_)?check2?\s*\(")
TEXT = re.compile(r"\"(Q-[^\"]*)\"")
WELL_FORMED = re.compile(r"Q-[A-Z]+-\d\d [A-Za-z`].*[^.\s]")


def calls(source: str) -> int:
    return len(CALL.findall(re.sub(r"#.*", "", source)))


def texts(source: str) -> list[str]:
    return TEXT.findall(source)


def test_ids_are_unique_across_the_core():
    ids = Counter(text.split(" ")[0] for path in SOURCES for text in texts(path.read_text()))
    assert len(ids) > 20
    assert [found for found, times in ids.items() if times > 1] == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_check_has_an_id_and_a_sentence(path):
    source = path.read_text()
    assert [text for text in texts(source) if not WELL_FORMED.fullmatch(text)] == []
    assert calls(source) == len(texts(source))


@pytest.mark.parametrize(
    "text", ["Q-1 x", "Q-LOG-1 one digit", "Q-log-01 small", "Q-LOG-01", "Q-LOG-01 ", "Q-LOG-01 x."]
)
def test_what_is_not_well_formed(text):
    assert not WELL_FORMED.fullmatch(text)


def test_calls_are_seen_and_others_are_not():
    source = 'check(a, b"Q-A-01 x")\n    check2(a,\n b"Q-A-02 y", 1, 2)\n'
    source += "recheck(1)\nself.check(2)\n"
    assert calls(source) == 2
    assert texts(source) == ["Q-A-01 x", "Q-A-02 y"]
