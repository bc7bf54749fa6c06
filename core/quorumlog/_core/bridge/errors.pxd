"""The one door from a core status to a Python exception."""

from libc.stdint cimport uint64_t

# The exception for a status, not raised.  `what` says what was asked, in words for the user.
cdef object error_of(int status, str what, bint definite, object leader, uint64_t limit)
cdef object simple_error(int status, str what)
