"""What an epoll registration's data.ptr points at: whoever owns a descriptor in the reactor's epoll."""

from libc.stdint cimport uint32_t, uint64_t

cdef struct Source:
    void (*ready)(void* self, uint32_t events, uint64_t now_ns) noexcept nogil
    void* self
