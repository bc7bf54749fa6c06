"""`quorumlog sim` and `quorumlog trace` as a user meets them."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from quorumlog.cli import main
from quorumlog.cli.sim import many_seeds
from quorumlog.testing.campaign import Campaign, marks_wanted
from quorumlog.testing.tracing import read_trace

REPORT = ("protocol", "seeds", "violations", "simulated_hours", "cpu_seconds", "faults", "marks", "event_hash")


def quorumlog(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def test_many_seeds_end_in_one_report() -> None:
    first, second = (quorumlog("sim", "--protocol", "raft", "--seeds", "0:6", "--json") for _ in range(2))
    assert first.exit_code == 0, first.output
    report = json.loads(first.output)
    assert [name for name in REPORT if name not in report] == []
    assert (report["protocol"], report["seeds"], report["violations"]) == ("raft", 6, 0)
    assert report["simulated_hours"] >= 6 * 60 / 3600
    assert report["cpu_seconds"] > 0
    assert set(report["marks"]) == set(marks_wanted())
    assert json.loads(second.output)["event_hash"] == report["event_hash"]
    other = json.loads(quorumlog("sim", "--seeds", "1:7", "--json").output)
    assert other["event_hash"] != report["event_hash"]


def test_a_violation_ends_with_1_and_says_how_to_repeat_it(monkeypatch: pytest.MonkeyPatch) -> None:
    campaign = Campaign(3, 2, profile="hot", nodes=3)
    broken = {"seed": 4, "failure": "two leaders in one term (node 1; 8, 2)"}
    monkeypatch.setattr(campaign, "results", lambda: [campaign._take(broken)])
    with pytest.raises(Exception, match="two leaders in one term") as told:
        many_seeds(campaign, only_json=True)
    assert "quorumlog sim --seed 4 --profile hot --nodes 3 --trace seed-4.ndjson" in str(told.value)
    assert getattr(told.value, "exit_code", None) == 1
    assert campaign.report()["violations"] == 1
    assert campaign.report()["failures"] == [broken]


def test_a_path_that_nobody_took_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    campaign = Campaign(0, 1000)
    mild = {"seed": 4, "failure": "", "marks": {name: 1 for name in marks_wanted() if name != "deposed"}}
    monkeypatch.setattr(campaign, "results", lambda: [campaign._take(mild)])
    with pytest.raises(Exception, match="nobody took these paths: deposed"):
        many_seeds(campaign, only_json=True)


def test_a_seed_that_aborts_is_told_with_its_last_words() -> None:
    campaign = Campaign(0, 1)

    class Aborted:
        def communicate(self) -> tuple[str, str]:
            return '{"begins": 17}\n', "\nquorumlog: InvariantViolation: Q-RAFT-63 a message waits [3, 0] (x.c:1)\n"

    verdicts = list(campaign._read(Aborted()))  # type: ignore[arg-type]
    assert [(v.seed, v.failure) for v in verdicts] == [
        (17, "InvariantViolation: Q-RAFT-63 a message waits [3, 0] (x.c:1)")
    ]


@pytest.mark.parametrize("seeds", ["9:3", "a", "-1:4", "5:5"])
def test_seeds_that_make_no_sense(seeds: str) -> None:
    assert quorumlog("sim", f"--seeds={seeds}").exit_code == 2


def test_a_trace_as_text_and_as_a_picture(tmp_path: Path) -> None:
    recorded, picture = tmp_path / "run.ndjson", tmp_path / "run.svg"
    ran = quorumlog("sim", "--seed", "3", "--profile", "hot", "--nodes", "3", "--trace", str(recorded), "--json")
    assert ran.exit_code == 0, ran.output
    told = json.loads(ran.output)
    lines = [json.loads(line) for line in recorded.read_text().splitlines()]
    assert sum(line["event"] == "arrived" for line in lines) <= told["messages"] * 2
    text = quorumlog("trace", str(recorded), "--to", "9000", "--hide", "flushed", "--hide", "wrote")
    assert text.exit_code == 0
    assert "is leader in term" in text.output
    assert "append" in text.output
    assert "has flushed" not in text.output
    drawn = quorumlog("trace", str(recorded), "--to", "6000", "--svg", str(picture))
    assert drawn.exit_code == 0, drawn.output
    root = ElementTree.fromstring(picture.read_text())
    assert root.tag.endswith("svg")
    titles = [element.text or "" for element in root.iter("{http://www.w3.org/2000/svg}title")]
    assert any(title.startswith("append") for title in titles)


def test_a_history_for_porcupine(tmp_path: Path) -> None:
    history = tmp_path / "history.jsonl"
    assert quorumlog("sim", "--seed", "8", "--history", str(history), "--json").exit_code == 0
    operations = [json.loads(line) for line in history.read_text().splitlines()]
    assert len(operations) > 50
    assert {"ClientId", "Input", "Call", "Output", "Return"} == set(operations[0])
    assert all(operation["Call"] < operation["Return"] for operation in operations)


def test_what_is_no_trace_is_told_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "no.ndjson"
    file.write_text('{"at_ms": 1, "event": "healed"}\nnonsense\n')
    ran = quorumlog("trace", str(file))
    assert ran.exit_code == 1
    assert "line 2" in ran.output


def test_a_picture_has_a_bound(tmp_path: Path) -> None:
    trace = read_trace(['{"at_ms": 1, "event": "healed"}'] * 20_001)
    with pytest.raises(ValueError, match="too many for one picture"):
        trace.svg()
