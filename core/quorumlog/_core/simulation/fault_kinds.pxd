"""The kinds of faults, and how hot each is in a run: off, rare or hot, drawn per seed (swarm testing).

What each does to whom is in faults.pyx (turns), network.pyx (messages), host_disk.pyx
(writes) and damage.pyx (what lies on the platter).
"""

cdef enum FaultKind:
    # Messages
    FAULT_LOSS = 0
    FAULT_DUPLICATION = 1
    FAULT_DELAY = 2                # for up to two election timeouts
    FAULT_REORDERING = 3           # overtaken by later ones
    FAULT_REPLAY = 4               # old frames come again, after a reconnect or a restart
    # Links
    FAULT_PARTITION = 5            # both ways: one node, a pair, or two halves
    FAULT_ONE_WAY = 6
    FAULT_BRIDGE = 7               # two halves that one node reaches
    FAULT_CLOG = 8                 # nothing passes for a while, then everything
    # Processes
    FAULT_PROCESS_CRASH = 9        # the page cache stays
    FAULT_POWER_CUT = 10           # unsynced sectors are each kept, old or garbage
    FAULT_BLACKOUT = 11            # of all nodes at once
    FAULT_SECOND_CRASH = 12        # of the other kind, before the node is back
    FAULT_RECOVERY_CRASH = 13
    FAULT_PAUSE = 14               # stands still while its clock runs
    FAULT_WIPE = 15                # comes back with an empty disk
    # Disks
    FAULT_WRITE_ERROR = 16
    FAULT_SYNC_ERROR = 17
    FAULT_READ_ERROR = 18          # once, at a cold read
    FAULT_NO_SPACE = 19
    FAULT_LATE_WRITE = 20
    FAULT_SWAPPED_WRITES = 21      # the later of two completes first
    # What lies on the platter, within the bound of the atlas
    FAULT_BIT_ROT = 22
    FAULT_ZEROED = 23
    FAULT_MISDIRECTED = 24
    FAULT_STALE = 25
    # Clocks
    FAULT_DRIFT = 26
    FAULT_CLOCK_JUMP = 27
    FAULT_CLOCK_FREEZE = 28
    FAULT_STALL = 29               # a disk completes nothing for some election timeouts
    FAULT_KINDS = 30

cdef enum FaultLevel:
    LEVEL_OFF = 0
    LEVEL_RARE = 1
    LEVEL_HOT = 2

cdef enum Profile:
    PROFILE_SWARM = 0              # each kind off, rare or hot
    PROFILE_HOT = 1                # none off; crashes and cuts come for sure
    PROFILE_REFERENCE = 2          # the load that speed is stated for; none off
    PROFILE_BEYOND = 3             # the atlas is exceeded: a clean stop is the right end
    PROFILE_QUIET = 4              # no faults
    PROFILE_CLOCKS = 5             # leases, and clocks beyond the bound that they rest on: stale reads are right
