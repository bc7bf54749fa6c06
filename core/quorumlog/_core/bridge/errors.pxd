"""The one door from a core status to a Python exception."""

from libc.stdint cimport uint64_t

# The exception for a status, not raised.  `what` says what was asked, in words for the user.
# `leader`: id of the node that leads, 0 if not known.
cdef object error_of(int status, str what, bint definite, uint64_t leader, uint64_t limit)
cdef object simple_error(int status, str what)
# Ids are made from names (python/quorumlog/names.py), so one table serves all nodes of a process.
cdef int know_names(dict names) except -1
