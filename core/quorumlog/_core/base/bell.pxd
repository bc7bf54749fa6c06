"""How native threads tell an event loop that something it waits for has happened.  Header only.

An event loop has one bell: an eventfd that its selector watches, and a stack of
notices.  Who waits leaves a notice in the list of what he waits for; whoever makes
that happen hangs the whole list onto the bells it names.  Only the first notice
since the loop last looked writes the eventfd, so a loop that is behind costs no
system calls.  No thread takes the GIL, and no memory is taken or freed here: a
notice and its bell belong to Python objects that live until the loop's thread has
taken the notice off the bell (bridge/loops).
"""

from quorumlog._core.base.atomics cimport (
    add_u32, atomic_ptr, atomic_u32, cas_ptr, exchange_ptr, load_ptr, sub_u32)

from libc.stdint cimport uint64_t

cdef extern from "<unistd.h>" nogil:
    ssize_t write_bell "write"(int fd, const void* data, size_t size)

cdef struct Bell:
    int event_fd
    atomic_ptr rung            # stack of Notice, newest first
    atomic_u32 ringing         # threads between hanging a notice and the end of their write

cdef struct Notice:
    Notice* next               # in the list, then on the bell
    Bell* bell
    void* owner


cdef inline void* closed_list() noexcept nogil:
    """In place of a list: what it was about has happened for good."""
    return <void*><size_t>1


cdef inline bint notice_leave(atomic_ptr* notices, Notice* notice) noexcept nogil:
    """False if it has happened for good: the notice was not left, look again."""
    cdef void* top
    while True:
        top = load_ptr(notices)
        if top == closed_list():
            return False
        notice.next = <Notice*>top
        if cas_ptr(notices, top, notice):
            return True


cdef inline void notice_ring(Notice* notice) noexcept nogil:
    cdef Bell* bell = notice.bell
    cdef uint64_t one = 1
    cdef ssize_t _written
    cdef void* top
    add_u32(&bell.ringing, 1)        # once it hangs, the notice may be taken, and all it belongs to may go
    while True:
        top = load_ptr(&bell.rung)
        notice.next = <Notice*>top
        if cas_ptr(&bell.rung, top, notice):
            break
    if top == NULL:
        _written = write_bell(bell.event_fd, &one, 8)      # fails only when it is readable anyway
    sub_u32(&bell.ringing, 1)


cdef inline void notices_ring(atomic_ptr* notices, bint for_good) noexcept nogil:
    """All that were left; with `for_good` nobody can leave one any more."""
    cdef void* top = exchange_ptr(notices, closed_list() if for_good else NULL)
    cdef Notice* notice = NULL if top == closed_list() else <Notice*>top
    cdef Notice* following
    while notice != NULL:
        following = notice.next
        notice_ring(notice)
        notice = following
