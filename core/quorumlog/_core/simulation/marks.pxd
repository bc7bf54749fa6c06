"""Marks of rare paths: a campaign must hit each, or its faults have become too mild.

They are seen from outside, in what a node says, does and finds again, so that any
protocol can hit them.  bridge/testing_simulation has their names in this order.
"""

from libc.stdint cimport uint64_t

cdef enum Mark:
    # Elections
    MARK_ELECTED = 0
    MARK_CAMPAIGN_LOST = 1         # a candidate follows again in its own term
    MARK_PRE_CAMPAIGN_LOST = 2
    MARK_STEPPED_DOWN = 3          # a leader of its own accord, in its term
    MARK_DEPOSED = 4               # by a later term
    MARK_LEADER_PAUSED = 5
    MARK_QUORUM_DOWN = 6
    # Logs
    MARK_TRUNCATED = 7
    MARK_TRUNCATED_MANY = 8        # three batches or more at once
    MARK_OLD_TERM_COMMITTED = 9    # an earlier term's batch, by one of the own term (Figure 8)
    MARK_COMPACTED = 10
    MARK_FETCHED = 11              # cold batches for a peer
    MARK_FETCH_FAILED = 12
    MARK_APPLIED_COLD = 13
    MARK_HELD = 14                 # a message waited for its write
    MARK_HELD_LOST = 15            # and its node crashed
    # Clients
    MARK_REPEATED = 16
    MARK_GAP = 17
    MARK_GIVEN_UP = 18
    MARK_GIVEN_UP_HAPPENED = 19    # an unknown outcome that was applied after all
    MARK_REFUSED = 20
    MARK_READ_REFUSED = 21
    MARK_READ_WAITED = 22          # for the state machine
    MARK_READ_FORWARDED = 23       # asked of a node that does not lead
    # Disks
    MARK_UNPROVED_TAIL = 24
    MARK_TAIL_SETTLED = 25
    MARK_RECOVERY_CRASHED = 26
    MARK_RECOVERY_CRASHED_TWICE = 27
    MARK_WRITE_FAILED = 28
    MARK_SYNC_FAILED = 29
    MARK_SWAPPED = 30
    MARK_SEGMENT_ROLLED = 31
    MARK_SEGMENT_RETIRED = 32
    MARK_NAME_LOST = 33
    MARK_GARBAGE = 34
    MARK_DAMAGED = 35
    MARK_DAMAGE_FOUND = 36         # by a recovery, and named
    MARK_DAMAGE_OUTLIVED = 37      # what was redundant or of no use
    MARK_SECOND_CRASH = 38
    # Messages
    MARK_DUPLICATE_DELIVERED = 39
    MARK_REPLAYED = 40
    MARK_UNCLOGGED = 41
    MARK_CLOCK_FROZE_LEADER = 42
    # Reads of other kinds
    MARK_READ_BY_LEASE = 43        # answered without a round
    MARK_READ_BOUNDED = 44
    MARK_READ_TOO_STALE = 45
    MARK_READ_LOOKED = 46          # and saw less than was acknowledged
    # Leadership
    MARK_HANDED_OVER = 47          # a leader deposed while it handed over
    MARK_TRANSFER_GIVEN_UP = 48
    MARK_DISK_STALLED = 49         # a leader gave up because of its disk
    # Snapshots
    MARK_SNAPSHOT_MADE = 50
    MARK_SNAPSHOT_FAILED = 51
    MARK_SNAPSHOT_INSTALLED = 52
    MARK_SUFFIX_KEPT = 53          # an installed one that the log reached beyond
    MARK_SNAPSHOT_RESTORED = 54
    MARK_SNAPSHOT_CRASHED = 55     # within a job of the snapshot thread
    MARK_SNAPSHOT_DAMAGED = 56
    MARK_SNAPSHOT_NEEDED = 57      # a node that lost its own waits for a peer's
    MARK_INSTALL_REDONE = 58       # an install cut short by a crash, at the start
    MARK_PIECES_RESUMED = 59
    # What was lost, and comes back
    MARK_HOLE_FOUND = 60           # a bad batch in a log that goes on behind it
    MARK_LISTENS = 61              # what is lost has no known place: it may have forgotten votes
    MARK_ADMITTED = 62             # a listening node has a say again
    MARK_ADMITTED_WIPED = 63       # and had lost everything
    MARK_FAULT_READ = 64           # a cold read came upon it: to apply, or for a peer
    MARK_FAULT_SCRUBBED = 65       # nobody had asked for it
    MARK_REPAIR_SERVED = 66        # a batch was read for a peer's repair
    MARK_REPAIRED = 67
    MARK_REPAIRED_LEADING = 68     # its leader was repaired
    MARK_STOOD_DOWN_FAULTY = 69    # a leader that could not be in time
    MARK_ALL_ROTTEN = 70           # every node had a bad batch, and each another
    MARK_WHOLE_AGAIN = 71          # by an inspection of the disk
    # Sessions
    MARK_CLIENT_REPEATED = 72
    MARK_CLIENT_EXPIRED = 73
    MARK_SESSION_EXPIRED = 74      # a node's, for want of room
    # Slots
    MARK_PROPOSED_AGAIN = 75       # a chosen value, in a higher ballot
    MARKS = 76


cdef inline void mark(uint64_t* marks, int what) noexcept nogil:
    marks[what] += 1
