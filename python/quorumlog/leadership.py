"""Moving the leadership of a group: asking its leader until it has moved, or the time is up."""

from __future__ import annotations

import time
from threading import Event
from typing import TYPE_CHECKING

from quorumlog._core.bridge.leader_call import ask_transfer
from quorumlog.errors import QuorumlogError, TransferFailed, UsageError
from quorumlog.names import id_of

if TYPE_CHECKING:
    from quorumlog.group import Group

__all__ = ["hand_over", "transfer"]

POLL_SECONDS = 0.005
ASK_SECONDS = 1.5  # an answer that takes longer is lost
_POLL = Event()


def transfer(group: Group, to: str | None, timeout: float) -> str:
    """See Group.transfer."""
    deadline = time.monotonic() + timeout
    before: str | None = None
    outcome = "nobody has answered"
    while True:
        leader = group.status(max(ASK_SECONDS, timeout)).leader
        before = before or leader
        if leader is not None and (leader == to if to is not None else leader != before):
            return leader
        left = deadline - time.monotonic()
        if left <= 0:
            raise TransferFailed(f"transfer: {leader or 'nobody'} leads {group.name!r} after {timeout} s ({outcome})")
        if leader is not None:
            outcome = _ask(group, leader, to, min(left, ASK_SECONDS))
        _POLL.wait(min(left, POLL_SECONDS))


def _ask(group: Group, leader: str, to: str | None, seconds: float) -> str:
    try:
        said = ask_transfer(group.core, id_of(leader), id_of(to) if to is not None else 0, seconds)
    except TimeoutError:
        return "unanswered"
    if said == "no such voter":
        raise UsageError(f"transfer: {to!r} is no voter of group {group.name!r}")
    return said


def hand_over(groups: list[Group], seconds: float) -> None:
    """Of these groups, hands over those that their nodes lead; whatever goes wrong, it ends in time."""
    deadline = time.monotonic() + seconds
    for group in groups:
        try:
            while group.is_leader and time.monotonic() < deadline:
                left = deadline - time.monotonic()
                if _ask(group, group.node_name, None, max(left, POLL_SECONDS)) == "nobody":
                    break
                _POLL.wait(POLL_SECONDS)
        except QuorumlogError:
            continue
