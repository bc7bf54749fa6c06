"""The socket calls the transport makes.  C at heart: Cython's view of sockets would hide the macros."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memset

cdef extern from *:
    """
    #include <arpa/inet.h>
    #include <errno.h>
    #include <netinet/in.h>
    #include <netinet/tcp.h>
    #include <stdio.h>
    #include <string.h>
    #include <sys/epoll.h>
    #include <sys/random.h>
    #include <sys/socket.h>
    #include <sys/uio.h>
    #include <time.h>
    #include <unistd.h>

    typedef union { struct sockaddr any; struct sockaddr_in v4; struct sockaddr_in6 v6; } ql_address;
    _Static_assert(sizeof(ql_address) <= 32, "Address.storage holds both families");

    static int ql_address_parse(void *out, unsigned *out_bytes, const char *host, uint16_t port) {
        ql_address a;
        memset(&a, 0, sizeof a);
        if (inet_pton(AF_INET, host, &a.v4.sin_addr) == 1) {
            a.v4.sin_family = AF_INET;
            a.v4.sin_port = htons(port);
            *out_bytes = sizeof a.v4;
        } else if (inet_pton(AF_INET6, host, &a.v6.sin6_addr) == 1) {
            a.v6.sin6_family = AF_INET6;
            a.v6.sin6_port = htons(port);
            *out_bytes = sizeof a.v6;
        } else {
            return 0;
        }
        memcpy(out, &a, sizeof a);
        return 1;
    }
    static void ql_address_host(const void *storage, uint8_t *host) {
        ql_address a;
        memcpy(&a, storage, sizeof a);
        memset(host, 0, 16);
        if (a.any.sa_family == AF_INET) {
            host[10] = host[11] = 0xff;
            memcpy(host + 12, &a.v4.sin_addr, 4);
        } else {
            memcpy(host, &a.v6.sin6_addr, 16);
        }
    }
    static int ql_family(const void *storage) {
        ql_address a;
        memcpy(&a, storage, sizeof a);
        return a.any.sa_family;
    }
    static void ql_set(int fd, int level, int name, int value) {
        (void)setsockopt(fd, level, name, &value, sizeof value);
    }
    /* Acceptors never send after the opening, so a vanished dialer shows only through keep-alive. */
    static void ql_tune(int fd) {
        ql_set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
        ql_set(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
        ql_set(fd, IPPROTO_TCP, TCP_KEEPIDLE, 4);
        ql_set(fd, IPPROTO_TCP, TCP_KEEPINTVL, 2);
        ql_set(fd, IPPROTO_TCP, TCP_KEEPCNT, 3);
        ql_set(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, 10000);
        /* Unsent bytes wait in our queue and not in the kernel's, where a heartbeat could not pass them. */
        ql_set(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, 256 << 10);
    }
    static int ql_listen(const void *storage, unsigned storage_bytes, uint16_t *port) {
        ql_address a;
        socklen_t length = sizeof a;
        int fd = socket(ql_family(storage), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), error;
        if (fd < 0) return -errno;
        ql_set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
        if (ql_family(storage) == AF_INET6) ql_set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
        if (bind(fd, (const struct sockaddr *)storage, storage_bytes) != 0 || listen(fd, 128) != 0
            || getsockname(fd, &a.any, &length) != 0) {
            error = errno;
            close(fd);
            return -error;
        }
        *port = ntohs(a.any.sa_family == AF_INET ? a.v4.sin_port : a.v6.sin6_port);
        return fd;
    }
    static int ql_dial(const void *storage, unsigned storage_bytes) {
        int fd = socket(ql_family(storage), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), error;
        if (fd < 0) return -errno;
        ql_tune(fd);
        if (connect(fd, (const struct sockaddr *)storage, storage_bytes) != 0 && errno != EINPROGRESS) {
            error = errno;
            close(fd);
            return -error;
        }
        return fd;
    }
    static int ql_accept(int listener, void *storage, unsigned *storage_bytes) {
        ql_address a;
        socklen_t length;
        int fd;
        memset(&a, 0, sizeof a);
        do {
            length = sizeof a;
            fd = accept4(listener, &a.any, &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
        } while (fd < 0 && errno == EINTR);
        if (fd < 0) return -errno;
        ql_tune(fd);
        memcpy(storage, &a, sizeof a);
        *storage_bytes = length;
        return fd;
    }
    static ssize_t ql_read(int fd, struct iovec *vectors, uint32_t count) {
        struct msghdr m;
        ssize_t n;
        memset(&m, 0, sizeof m);
        m.msg_iov = vectors;
        m.msg_iovlen = count;
        do n = recvmsg(fd, &m, MSG_DONTWAIT); while (n < 0 && errno == EINTR);
        return n < 0 ? -errno : n;
    }
    static ssize_t ql_write(int fd, struct iovec *vectors, uint32_t count) {
        struct msghdr m;
        ssize_t n;
        memset(&m, 0, sizeof m);
        m.msg_iov = vectors;
        m.msg_iovlen = count;
        do n = sendmsg(fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL); while (n < 0 && errno == EINTR);
        return n < 0 ? -errno : n;
    }
    static int ql_poll(int epoll_fd, int operation, int fd, uint32_t events, void *source) {
        struct epoll_event e;
        memset(&e, 0, sizeof e);
        e.events = events;
        e.data.ptr = source;
        return epoll_ctl(epoll_fd, operation, fd, &e) != 0 ? -errno : 0;
    }
    static uint64_t ql_wall_ns(void) {
        struct timespec t;
        clock_gettime(CLOCK_REALTIME, &t);
        return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
    }
    static int ql_random(uint8_t *out, size_t count) {
        ssize_t n;
        do n = getrandom(out, count, 0); while (n < 0 && errno == EINTR);
        return n == (ssize_t)count;
    }
    static void ql_errno_text(int error, char *out, size_t out_bytes) {
        char text[128];
        if (out_bytes) snprintf(out, out_bytes, "%s", strerror_r(error, text, sizeof text));
    }
    """
    int ql_address_parse(void*, unsigned int*, const char*, uint16_t) noexcept nogil
    void ql_address_host(const void*, uint8_t*) noexcept nogil
    int ql_listen(const void*, unsigned int, uint16_t*) noexcept nogil
    int ql_dial(const void*, unsigned int) noexcept nogil
    int ql_accept(int, void*, unsigned int*) noexcept nogil
    ssize_t ql_read(int, iovec*, uint32_t) noexcept nogil
    ssize_t ql_write(int, iovec*, uint32_t) noexcept nogil
    int ql_poll(int, int, int, uint32_t, void*) noexcept nogil
    uint64_t ql_wall_ns() noexcept nogil
    int ql_random(uint8_t*, size_t) noexcept nogil
    void ql_errno_text(int, char*, size_t) noexcept nogil
    int close(int) noexcept nogil
    int EPOLL_CTL_ADD, EPOLL_CTL_MOD, EPOLL_CTL_DEL


cdef bint address_parse(Address* address, const char* host, uint16_t port) noexcept nogil:
    memset(address, 0, sizeof(Address))
    if not ql_address_parse(address.storage, &address.storage_bytes, host, port):
        return False
    ql_address_host(address.storage, address.host)
    return True


cdef bint address_same_host(const Address* a, const Address* b) noexcept nogil:
    return memcmp(a.host, b.host, 16) == 0


cdef int socket_listen(const Address* address, uint16_t* port) noexcept nogil:
    return ql_listen(address.storage, address.storage_bytes, port)


cdef int socket_dial(const Address* address) noexcept nogil:
    return ql_dial(address.storage, address.storage_bytes)


cdef int socket_accept(int listener, Address* address) noexcept nogil:
    cdef int fd
    memset(address, 0, sizeof(Address))
    fd = ql_accept(listener, address.storage, &address.storage_bytes)
    if fd >= 0:
        ql_address_host(address.storage, address.host)
    return fd


cdef void socket_close(int fd) noexcept nogil:
    close(fd)


cdef ssize_t socket_read(int fd, iovec* vectors, uint32_t count) noexcept nogil:
    return ql_read(fd, vectors, count)


cdef ssize_t socket_write(int fd, iovec* vectors, uint32_t count) noexcept nogil:
    return ql_write(fd, vectors, count)


cdef int poll_add(int epoll_fd, int fd, uint32_t events, void* source) noexcept nogil:
    return ql_poll(epoll_fd, EPOLL_CTL_ADD, fd, events, source)


cdef int poll_change(int epoll_fd, int fd, uint32_t events, void* source) noexcept nogil:
    return ql_poll(epoll_fd, EPOLL_CTL_MOD, fd, events, source)


cdef void poll_remove(int epoll_fd, int fd) noexcept nogil:
    ql_poll(epoll_fd, EPOLL_CTL_DEL, fd, 0, NULL)


cdef bint random_bytes(uint8_t* out, uint32_t count) noexcept nogil:
    return ql_random(out, count)


cdef uint64_t wall_clock_ns() noexcept nogil:
    return ql_wall_ns()


cdef void errno_text(int negative_errno, char* out, uint32_t out_bytes) noexcept nogil:
    ql_errno_text(-negative_errno, out, out_bytes)
