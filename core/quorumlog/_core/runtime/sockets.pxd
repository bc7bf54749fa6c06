"""The socket calls the transport makes, with their flags, and nothing that keeps state.

Every descriptor is non-blocking and close-on-exec from birth.  Results are byte
counts or a negative errno, so that callers never read errno themselves.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

cdef extern from "<sys/uio.h>" nogil:
    cdef struct iovec:
        void* iov_base
        size_t iov_len

cdef extern from "<sys/epoll.h>" nogil:
    enum: EPOLLIN
    enum: EPOLLOUT
    enum: EPOLLERR
    enum: EPOLLHUP

cdef extern from "<errno.h>" nogil:
    enum: EAGAIN
    enum: ECONNABORTED
    enum: ECONNRESET
    enum: EINPROGRESS
    enum: EINTR
    enum: EMFILE
    enum: ENFILE
    enum: ENOBUFS
    enum: ENOMEM

# A numeric address and port, and the address alone as 16 bytes (IPv4 mapped), to compare.
cdef struct Address:
    uint8_t storage[32]        # sockaddr_in or sockaddr_in6
    uint32_t storage_bytes
    uint8_t host[16]


# False: not a numeric IPv4 or IPv6 address.
cdef bint address_parse(Address* address, const char* host, uint16_t port) noexcept nogil
cdef bint address_same_host(const Address* a, const Address* b) noexcept nogil
# A listening descriptor and the port it got, or a negative errno.
cdef int socket_listen(const Address* address, uint16_t* port) noexcept nogil
# A descriptor whose connect is under way (or done), or a negative errno.
cdef int socket_dial(const Address* address) noexcept nogil
cdef int socket_accept(int listener, Address* address) noexcept nogil
cdef void socket_close(int fd) noexcept nogil
# Bytes, or a negative errno (-EAGAIN: not now; EINTR is retried).  A read of 0: the other end closed.
cdef ssize_t socket_read(int fd, iovec* vectors, uint32_t count) noexcept nogil
cdef ssize_t socket_write(int fd, iovec* vectors, uint32_t count) noexcept nogil

cdef int poll_add(int epoll_fd, int fd, uint32_t events, void* source) noexcept nogil
cdef int poll_change(int epoll_fd, int fd, uint32_t events, void* source) noexcept nogil
cdef void poll_remove(int epoll_fd, int fd) noexcept nogil

# Unpredictable bytes from the kernel; False when it has none.
cdef bint random_bytes(uint8_t* out, uint32_t count) noexcept nogil
# Unix time; seeds connection epochs, nothing else.
cdef uint64_t wall_clock_ns() noexcept nogil
# The text of a negative errno, for `detail`.
cdef void errno_text(int negative_errno, char* out, uint32_t out_bytes) noexcept nogil
