"""The asking side of a node's control socket (runtime/control), for a program on the same machine."""

from quorumlog._core.bridge.node cimport explanation_dict, node_status_dict
from quorumlog._core.runtime.control cimport (
    CONTROL_ANSWER_MAGIC, CONTROL_END, CONTROL_REQUEST_MAGIC, CONTROL_SURVEY, CONTROL_VERSION)
from quorumlog._core.runtime.survey cimport GroupSurvey, NodeSurvey

from libc.stdint cimport uint32_t
from libc.string cimport memcpy

import os
import socket
import struct
import time

from quorumlog import errors

cdef enum:
    HEAD_BYTES = 16


def survey(path, timeout):
    """All that a running node tells of itself and its groups: (node, [group, ...]) as dicts.

    Raises UsageError when no node runs there, or one of another build; ReadTimeout when it does not answer.
    """
    deadline = time.monotonic() + timeout
    with connected(path) as connection:
        try:
            connection.settimeout(max(timeout, 0.001))
            connection.sendall(struct.pack("<IIII", CONTROL_REQUEST_MAGIC, CONTROL_VERSION, CONTROL_SURVEY, 0))
            check_head(path, taken(connection, HEAD_BYTES, deadline))
            node = node_dict(taken(connection, sizeof(NodeSurvey), deadline))
            groups = []
            while True:
                group = group_dict(taken(connection, sizeof(GroupSurvey), deadline))
                if group is None:
                    return node, groups
                groups.append(group)
        except TimeoutError:
            raise errors.ReadTimeout(
                f"the node of {path} runs and did not answer within {timeout} s: is its process stopped?") from None
        except ConnectionError as error:
            raise errors.UsageError(f"the node of {path} went away while it answered: {error}") from error


def connected(path):
    cdef str why = "its process has ended"
    directory = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(f"/proc/self/fd/{directory}/control")
        return connection
    except FileNotFoundError:
        why = "there is no control socket"
    except PermissionError:
        why = "its control socket is another user's"
    except ConnectionError:
        pass
    finally:
        os.close(directory)
    connection.close()
    raise errors.UsageError(f"no node runs on {path} that could be asked: {why}")


def taken(connection, size, deadline):
    data = bytearray()
    while len(data) < size:
        connection.settimeout(max(deadline - time.monotonic(), 0.001))
        part = connection.recv(size - len(data))
        if not part:
            raise ConnectionError("the connection was closed")
        data += part
    return bytes(data)


def check_head(path, head):
    magic, version, node_bytes, group_bytes = struct.unpack("<IIII", head)
    if magic != CONTROL_ANSWER_MAGIC:
        raise errors.UsageError(f"what answers in {path} is no node")
    if (version, node_bytes, group_bytes) != (CONTROL_VERSION, sizeof(NodeSurvey), sizeof(GroupSurvey)):
        raise errors.UsageError(f"the node of {path} runs another build of quorumlog: ask it with that one")


cdef dict node_dict(bytes data):
    cdef NodeSurvey s
    cdef uint32_t i
    memcpy(&s, <const char*>data, sizeof(NodeSurvey))
    return {
        "name": s.name.decode(errors="replace"), "node": s.node, "cluster": s.cluster[:16],
        "incarnation": s.incarnation, "pid": s.pid, "port": s.port, "segment_bytes": s.segment_bytes,
        "peers": [
            {"node": s.peers[i].node, "name": s.peers[i].name.decode(errors="replace"),
             "connected": bool(s.peers[i].connected)}
            for i in range(min(s.peer_count, <uint32_t>(sizeof(s.peers) // sizeof(s.peers[0]))))
        ],
        "status": node_status_dict(&s.status, s.status.boot, s.pinned_bytes),
    }


cdef object group_dict(bytes data):
    """None: it marks the end."""
    cdef GroupSurvey s
    memcpy(&s, <const char*>data, sizeof(GroupSurvey))
    if s.position == CONTROL_END:
        return None
    return {
        "name": s.name.decode(errors="replace"), "has_machine": bool(s.has_machine), "log_bytes": s.log_bytes,
        "cached_bytes": s.cached_bytes, "outstanding_bytes": s.outstanding_bytes, "sessions": s.sessions,
        "explanation": explanation_dict(&s.explanation, s.applied),
    }
