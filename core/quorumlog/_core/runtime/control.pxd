"""The node's control socket: what a person on this machine may ask a running node (ADR 0026).

A UNIX socket `control` in the data directory, 0600 in a directory of 0700; who connects must be of the
node's own user, or root.  One connection at a time, by a thread of its own that asks the reactor like
any caller, so that nothing here delays a heartbeat or takes the GIL.  Everything is bounded: requests
are 16 bytes, and a connection that takes longer than its time is closed.

    request    u32 magic `QLCQ`, u32 version, u32 what (ControlRequest), u32 0
    answer     u32 magic `QLCA`, u32 version, u32 size of NodeSurvey, u32 size of GroupSurvey,
               a NodeSurvey, any number of GroupSurveys, then one of zeros but for its position ~0
"""

cdef enum:
    CONTROL_VERSION = 1
    CONTROL_REQUEST_MAGIC = 0x51434C51     # QLCQ
    CONTROL_ANSWER_MAGIC = 0x41434C51      # QLCA
    CONTROL_REQUEST_BYTES = 16
    CONTROL_END = 0xFFFFFFFF               # `position` of what follows the last group

cdef enum ControlRequest:
    CONTROL_SURVEY = 1

cdef struct Control


# Begins to listen.  Where the file system has no sockets (or there is no /proc) the node does without: *out
# stays NULL, and nobody can ask.  ERR_MEMORY: no thread.  `node` is a Node*.
cdef int control_start(void* node, const char* directory, Control** out) noexcept nogil
# Closes and removes the socket, and frees.  NULL is fine.
cdef void control_stop(Control* control) noexcept nogil
