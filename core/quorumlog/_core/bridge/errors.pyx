"""See errors.pxd."""

from quorumlog._core.base.status cimport (
    ERR_BUSY, ERR_CLOSED, ERR_COMPACTED, ERR_CONNECTION_LOST, ERR_CORRUPT, ERR_DROPPED, ERR_FENCED, ERR_IDENTITY,
    ERR_IO, ERR_LEADERSHIP_LOST, ERR_LOCKED, ERR_MEMORY, ERR_NO_SPACE, ERR_NOT_FOUND, ERR_NOT_LEADER, ERR_OVERLOADED,
    ERR_OVERTAKEN, ERR_PEER, ERR_POISONED, ERR_REUSED, ERR_SESSION_EXPIRED, ERR_SNAPSHOT, ERR_STOPPED, ERR_TIMEOUT,
    ERR_TOO_LARGE, ERR_TRANSFERRING, ERR_UNANSWERED, ERR_USAGE)

from quorumlog import errors

cdef dict TEXTS = {
    ERR_USAGE: "the arguments don't fit",
    ERR_TOO_LARGE: "it is over the size limit (16 MiB a batch)",
    ERR_CLOSED: "it is closed",
    ERR_NOT_LEADER: "this node is not the leader",
    ERR_OVERLOADED: "the bytes in flight reached their limit; wait for some to be settled",
    ERR_COMPACTED: "the index lies before the head of the log",
    ERR_FENCED: "it was settled that it never happens, or a later process has resumed its session",
    ERR_REUSED: "its sequence was used for another proposal of the session",
    ERR_UNANSWERED: "256 commands of the session, or 4 MiB of their results, wait for the client to take note of them",
    ERR_DROPPED: "the group was dropped, and its name is not used again",
    ERR_BUSY: "another change of the group is under way",
    ERR_TRANSFERRING: "leadership is being handed over",
    ERR_TIMEOUT: "the time ran out",
    ERR_LEADERSHIP_LOST: "leadership was lost on the way",
    ERR_CONNECTION_LOST: "the connection was lost on the way",
    ERR_STOPPED: "the node was closed, or this replica's state machine stopped",
    ERR_SESSION_EXPIRED: "the group has forgotten the session, or the answer",
    ERR_OVERTAKEN: "it was applied, but its result is not known here: too large to be kept, or within a snapshot",
    ERR_SNAPSHOT: "no snapshot could be made",
    ERR_PEER: "a peer broke the protocol",
    ERR_IO: "a write, sync or read failed; the node no longer acknowledges anything",
    ERR_NO_SPACE: "the disk is full; the node no longer acknowledges anything",
    ERR_CORRUPT: "the log is damaged",
    ERR_LOCKED: "another process (or another node of this one) has the directory open",
    ERR_IDENTITY: "the directory belongs to another node or cluster",
    ERR_POISONED: "an earlier write or sync failed, which is final; restart the node",
    ERR_MEMORY: "a bound on memory was reached",
    ERR_NOT_FOUND: "there is nothing",
}
cdef dict KINDS = {
    ERR_USAGE: errors.UsageError,
    ERR_TOO_LARGE: errors.UsageError,
    ERR_CLOSED: errors.Closed,
    ERR_COMPACTED: errors.Compacted,
    ERR_DROPPED: errors.GroupDropped,
    ERR_FENCED: errors.Fenced,
    ERR_REUSED: errors.UsageError,
    ERR_UNANSWERED: errors.Overloaded,
    ERR_BUSY: errors.Rejected,
    ERR_TRANSFERRING: errors.Rejected,
    ERR_LEADERSHIP_LOST: errors.LeadershipLost,
    ERR_CONNECTION_LOST: errors.ConnectionLost,
    ERR_SESSION_EXPIRED: errors.SessionExpired,
    ERR_OVERTAKEN: errors.ResultLost,
    ERR_SNAPSHOT: errors.SnapshotFailed,
    ERR_PEER: errors.PeerError,
    ERR_IO: errors.Io,
    ERR_POISONED: errors.Io,
    ERR_NO_SPACE: errors.NoSpace,
    ERR_CORRUPT: errors.Corrupt,
    ERR_LOCKED: errors.UsageError,
    ERR_IDENTITY: errors.UsageError,
    ERR_MEMORY: errors.Rejected,
    ERR_NOT_FOUND: errors.UsageError,
}


cdef dict NAMES = {}


cdef int know_names(dict names) except -1:
    NAMES.update(names)
    return 0


cdef object error_of(int status, str what, bint definite, uint64_t leader, uint64_t limit):
    cdef str text = f"{what}: {TEXTS.get(status, f'status {status}')}"
    if status == ERR_NOT_LEADER:
        name = NAMES.get(leader) if leader else None
        return errors.NotLeader(f"{text} ({f'{name!r} is' if name else 'who is, is not known'})", name)
    if status == ERR_OVERLOADED:
        return errors.Overloaded(f"{text} (limit {limit} bytes)", limit)
    if status == ERR_TIMEOUT:
        if definite:
            return errors.Withdrawn(f"{text} before this node could take it; it did not happen")
        return errors.ProposalTimeout(f"{text}; it may still be applied")
    if status == ERR_STOPPED:
        return errors.Closed(text) if definite else errors.Unknown(text)
    kind = KINDS.get(status, errors.QuorumlogError)
    if not definite and (issubclass(kind, errors.StorageError) or status == ERR_DROPPED):
        unknown = errors.Unknown(text)
        unknown.__cause__ = kind(text)
        return unknown
    return kind(text)


cdef object simple_error(int status, str what):
    return error_of(status, what, True, 0, 0)
