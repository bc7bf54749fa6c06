"""See control.pxd."""

from quorumlog._core.base.atomics cimport atomic_u32, load_u32, store_u32
from quorumlog._core.base.clock cimport monotonic_ns
from quorumlog._core.base.status cimport ERR_MEMORY, ERR_NOT_FOUND, ERR_STOPPED, ERR_TIMEOUT, OK
from quorumlog._core.runtime.node cimport node_command, ticket_leave, ticket_new, ticket_wait
from quorumlog._core.runtime.node_state cimport COMMAND_SURVEY_GROUP, COMMAND_SURVEY_NODE, Node, Ticket
from quorumlog._core.runtime.survey cimport GroupSurvey, NodeSurvey
from quorumlog._core.runtime.threads cimport thread_join, thread_start, thread_t

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset, strlen

cdef extern from *:
    """
    #include <errno.h>
    #include <fcntl.h>
    #include <poll.h>
    #include <stdint.h>
    #include <stdio.h>
    #include <string.h>
    #include <sys/eventfd.h>
    #include <sys/socket.h>
    #include <sys/stat.h>
    #include <sys/un.h>
    #include <unistd.h>

    #define QL_CONTROL_NAME "control"
    /* A socket's address has 107 bytes and a path may have 4,095: by way of an open directory it always fits. */
    static int ql_control_listen(const char *directory) {
        struct sockaddr_un address;
        int at = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC), fd = -1;
        if (at < 0) return -1;
        memset(&address, 0, sizeof address);
        address.sun_family = AF_UNIX;
        snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/" QL_CONTROL_NAME, at);
        /* The directory is locked by us: what lies there is left by a process that is gone. */
        unlinkat(at, QL_CONTROL_NAME, 0);
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        /* The mode of the socket before it has a name is the mode that the name gets. */
        if (fd >= 0 && (fchmod(fd, 0600) != 0 || bind(fd, (struct sockaddr *)&address, sizeof address) != 0
                        || listen(fd, 4) != 0)) {
            close(fd);
            fd = -1;
        }
        close(at);
        return fd;
    }
    static void ql_control_remove(const char *directory) {
        int at = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (at < 0) return;
        unlinkat(at, QL_CONTROL_NAME, 0);
        close(at);
    }
    static int ql_control_accept(int fd) {
        struct ucred who;
        socklen_t size = sizeof who;
        int got = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (got < 0) return -1;
        if (getsockopt(got, SOL_SOCKET, SO_PEERCRED, &who, &size) != 0
            || (who.uid != geteuid() && who.uid != 0)) {
            close(got);
            return -1;
        }
        return got;
    }
    /* Until `fd` is ready for `events`: 1; the time is up, an error, or `stop_fd` is readable: 0. */
    static int ql_control_wait(int fd, int stop_fd, short events, int64_t timeout_ns) {
        struct pollfd both[2] = {{fd, events, 0}, {stop_fd, POLLIN, 0}};
        int timeout_ms = timeout_ns < 0 ? -1 : (int)((timeout_ns + 999999) / 1000000);
        int got = poll(both, 2, timeout_ms);
        return got > 0 && both[1].revents == 0 && both[0].revents != 0;
    }
    static int ql_control_eventfd(void) { return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK); }
    static void ql_control_signal(int fd) {
        uint64_t one = 1;
        (void)!write(fd, &one, 8);
    }
    static int64_t ql_control_recv(int fd, void *data, size_t size) {
        int64_t got = recv(fd, data, size, 0);
        return got >= 0 ? got : errno == EAGAIN || errno == EINTR ? -1 : -2;
    }
    static int64_t ql_control_send(int fd, const void *data, size_t size) {
        int64_t got = send(fd, data, size, MSG_NOSIGNAL);
        return got >= 0 ? got : errno == EAGAIN || errno == EINTR ? -1 : -2;
    }
    static const short ql_control_in = POLLIN, ql_control_out = POLLOUT;
    """
    int control_listen "ql_control_listen"(const char* directory) noexcept nogil
    void control_remove "ql_control_remove"(const char* directory) noexcept nogil
    int control_accept "ql_control_accept"(int fd) noexcept nogil
    bint control_wait "ql_control_wait"(int fd, int stop_fd, short events, int64_t timeout_ns) noexcept nogil
    int control_eventfd "ql_control_eventfd"() noexcept nogil
    void control_signal "ql_control_signal"(int fd) noexcept nogil
    int64_t control_recv "ql_control_recv"(int fd, void* data, size_t size) noexcept nogil
    int64_t control_send "ql_control_send"(int fd, const void* data, size_t size) noexcept nogil
    const short EVENT_IN "ql_control_in"
    const short EVENT_OUT "ql_control_out"

cdef extern from "<unistd.h>" nogil:
    int close(int fd)

cdef enum:
    CONNECTION_NS = 10000000000    # for all of one connection
    TICKET_SLICE_NS = 50000000
    REFUSED_NS = 10000000

cdef struct Control:
    Node* node
    thread_t thread
    int listen_fd
    int stop_fd                    # eventfd: readable from the moment when the thread is to end
    atomic_u32 stopping
    char path[4096]

# One connection.
cdef struct Caller:
    Control* control
    int fd
    uint64_t end_ns


cdef bint wait_for(Caller* caller, short events) noexcept nogil:
    cdef uint64_t now_ns = monotonic_ns()
    if now_ns >= caller.end_ns:
        return False
    return control_wait(caller.fd, caller.control.stop_fd, events, <int64_t>(caller.end_ns - now_ns))


cdef bint receive(Caller* caller, void* data, size_t size) noexcept nogil:
    cdef size_t at = 0
    cdef int64_t got
    while at < size:
        if not wait_for(caller, EVENT_IN):
            return False
        got = control_recv(caller.fd, <uint8_t*>data + at, size - at)
        if got == 0 or got == -2:
            return False
        if got > 0:
            at += <size_t>got
    return True


cdef bint say(Caller* caller, const void* data, size_t size) noexcept nogil:
    cdef size_t at = 0
    cdef int64_t got
    while at < size:
        if not wait_for(caller, EVENT_OUT):
            return False
        got = control_send(caller.fd, <const uint8_t*>data + at, size - at)
        if got == -2:
            return False
        if got > 0:
            at += <size_t>got
    return True


cdef int ask_reactor(Caller* caller, int kind, void* answer, size_t size) noexcept nogil:
    """What is in `answer` goes there with the question."""
    cdef Ticket* ticket = ticket_new(kind, NULL, size)
    cdef int status
    if ticket == NULL:
        return ERR_MEMORY
    memcpy(ticket.answer, answer, size)
    node_command(caller.control.node, ticket)
    while ticket_wait(ticket, TICKET_SLICE_NS) != OK:
        if load_u32(&caller.control.stopping) or monotonic_ns() >= caller.end_ns:
            ticket_leave(ticket)
            return ERR_STOPPED if load_u32(&caller.control.stopping) else ERR_TIMEOUT
    status = ticket.status
    if status == OK:
        memcpy(answer, ticket.answer, size)
    ticket_leave(ticket)
    return status


cdef void tell_survey(Caller* caller) noexcept nogil:
    cdef uint32_t[4] head
    cdef NodeSurvey node
    cdef GroupSurvey group
    cdef uint32_t position = 0
    cdef int status
    memset(&node, 0, sizeof(NodeSurvey))
    if ask_reactor(caller, COMMAND_SURVEY_NODE, &node, sizeof(NodeSurvey)) != OK:
        return
    head[0] = CONTROL_ANSWER_MAGIC
    head[1] = CONTROL_VERSION
    head[2] = sizeof(NodeSurvey)
    head[3] = sizeof(GroupSurvey)
    if not say(caller, head, sizeof(head)) or not say(caller, &node, sizeof(NodeSurvey)):
        return
    while True:
        memset(&group, 0, sizeof(GroupSurvey))
        group.position = position
        status = ask_reactor(caller, COMMAND_SURVEY_GROUP, &group, sizeof(GroupSurvey))
        if status == ERR_NOT_FOUND:
            break
        if status != OK or not say(caller, &group, sizeof(GroupSurvey)):
            return
        position += 1
    memset(&group, 0, sizeof(GroupSurvey))
    group.position = CONTROL_END
    say(caller, &group, sizeof(GroupSurvey))


cdef void serve(Caller* caller) noexcept nogil:
    cdef uint32_t[4] request
    if not receive(caller, request, CONTROL_REQUEST_BYTES):
        return
    if request[0] == CONTROL_REQUEST_MAGIC and request[1] == CONTROL_VERSION and request[2] == CONTROL_SURVEY \
            and request[3] == 0:
        tell_survey(caller)


cdef void* control_body(void* context) noexcept nogil:
    cdef Control* control = <Control*>context
    cdef Caller caller
    while not load_u32(&control.stopping):
        if not control_wait(control.listen_fd, control.stop_fd, EVENT_IN, -1):
            continue
        caller.control = control
        caller.fd = control_accept(control.listen_fd)
        if caller.fd < 0:
            control_wait(-1, control.stop_fd, 0, REFUSED_NS)     # out of descriptors perhaps
            continue
        caller.end_ns = monotonic_ns() + CONNECTION_NS
        serve(&caller)
        close(caller.fd)
    return NULL


cdef void discard(Control* control) noexcept nogil:
    control_remove(control.path)
    close(control.listen_fd)
    if control.stop_fd >= 0:
        close(control.stop_fd)
    free(control)


cdef int control_start(void* node, const char* directory, Control** out) noexcept nogil:
    cdef Control* control = <Control*>calloc(1, sizeof(Control))
    if control == NULL or strlen(directory) >= sizeof(control.path):
        free(control)
        return ERR_MEMORY
    control.node = <Node*>node
    memcpy(control.path, directory, strlen(directory) + 1)
    control.listen_fd = control_listen(directory)
    if control.listen_fd < 0:
        free(control)
        return OK
    control.stop_fd = control_eventfd()
    if control.stop_fd < 0 or thread_start(&control.thread, b"ql-control", control_body, control) != 0:
        discard(control)
        return ERR_MEMORY
    out[0] = control
    return OK


cdef void control_stop(Control* control) noexcept nogil:
    if control == NULL:
        return
    store_u32(&control.stopping, 1)
    control_signal(control.stop_fd)
    thread_join(control.thread)
    discard(control)
