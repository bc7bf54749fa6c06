"""What a core function returns: 0 or the reason why not.

The bridge turns it into an exception in one place (bridge/errors.pyx); the
numbers are internal and may change.
"""

cdef enum Status:
    OK = 0
    # Whose fault: the caller's.
    ERR_USAGE = 1
    ERR_TOO_LARGE = 2          # a payload, batch or frame over its bound
    ERR_CLOSED = 3
    # The group said no, and it did not happen.
    ERR_NOT_LEADER = 10
    ERR_OVERLOADED = 11
    ERR_COMPACTED = 12         # the index lies before the log's head
    ERR_FENCED = 13
    ERR_BUSY = 14              # another change of the group is under way
    ERR_TRANSFERRING = 15      # leadership is being handed over
    ERR_DROPPED = 16           # the group was dropped, for ever
    ERR_REUSED = 18            # a client's sequence was used for another proposal
    ERR_UNANSWERED = 19        # too much of a client's session waits to be acknowledged
    ERR_STALE = 17             # what this node knows is older than the reader takes
    # May or may not have happened.
    ERR_TIMEOUT = 20
    ERR_LEADERSHIP_LOST = 21
    ERR_CONNECTION_LOST = 22
    ERR_STOPPED = 23           # the node or the replica's state machine stopped
    ERR_SESSION_EXPIRED = 24
    ERR_OVERTAKEN = 25         # applied elsewhere; here a snapshot took the place of the entry, and of its result
    # A peer broke the protocol.
    ERR_PEER = 30
    # Storage.
    ERR_IO = 40
    ERR_NO_SPACE = 41
    ERR_CORRUPT = 42
    ERR_LOCKED = 43            # another process has the directory open
    ERR_IDENTITY = 44          # not the directory of this node or cluster
    ERR_POISONED = 45          # an earlier write or sync failed: final for this log
    ERR_SNAPSHOT = 46          # the state machine could not make a snapshot
    # Passing conditions, never seen by users.
    ERR_MEMORY = 50            # a bound on memory was reached
    ERR_AGAIN = 51             # nothing to do now
    ERR_NOT_FOUND = 52         # beyond the end, or not in memory
