"""Test-facing: snapshot files on a virtual disk, written, read and received piece by piece."""

from quorumlog._core.base.status cimport OK
from quorumlog._core.base.types cimport SnapshotId
from quorumlog._core.bridge.testing_disk cimport VirtualDisk
from quorumlog._core.engine.sessions cimport (
    Sessions, sessions_admit, sessions_close, sessions_decode, sessions_encode, sessions_encoded_bytes, sessions_last,
    sessions_open)
from quorumlog._core.storage.snapshot cimport (
    SnapshotMeta, SnapshotReader, SnapshotWriter, snapshot_abandon, snapshot_add, snapshot_begin, snapshot_close,
    snapshot_finish, snapshot_meta, snapshot_next, snapshot_open)
from quorumlog._core.storage.snapshot_files cimport (
    SnapshotInflow, SnapshotList, inflow_add, inflow_close, inflow_finish, inflow_open, snapshots_clean,
    snapshots_drop_older, snapshots_list)

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

GROUP = 7


class SnapshotRefused(Exception):
    """The status of a call that was not OK."""


cdef int done(int status) except -1:
    if status != OK:
        raise SnapshotRefused(status)
    return 0


cdef tuple told(const SnapshotId* id):
    return (id.index, id.term, id.writer, id.number, id.file_bytes)


cdef SnapshotId id_of(told):
    cdef SnapshotId id
    id.index, id.term, id.writer, id.number, id.file_bytes = told
    return id


def write(VirtualDisk disk, uint64_t index, uint64_t term, pieces, *, uint64_t number=1, uint64_t writer=1,
          bytes membership=b"", uint64_t membership_index=0, bytes sessions=b"", uint32_t chunk_bytes=64,
          bint drop_older=True):
    """A snapshot in `wal`, durable when this returns: (index, term, writer, number, file_bytes)."""
    cdef SnapshotMeta meta
    cdef SnapshotWriter writing
    cdef SnapshotId id
    memset(&meta, 0, sizeof(meta))
    meta.group = GROUP
    meta.id.index, meta.id.term, meta.id.writer, meta.id.number = index, term, writer, number
    meta.membership_index, meta.membership_bytes = membership_index, len(membership)
    meta.membership = <const uint8_t*><const char*>membership
    meta.sessions, meta.sessions_bytes = <const uint8_t*><const char*>sessions, len(sessions)
    meta.log_time_ns = 1234
    done(snapshot_begin(&writing, &disk.disk.files, b"wal", &meta, chunk_bytes))
    for piece in pieces:
        status = snapshot_add(&writing, <const char*><bytes>piece, len(piece))
        if status != OK:
            snapshot_abandon(&writing)
            done(status)
    done(snapshot_finish(&writing, &id))
    if drop_older:
        snapshots_drop_older(&disk.disk.files, b"wal", GROUP, index)
    return told(&id)


def read(VirtualDisk disk, uint64_t index):
    """All that it says, and the state, every byte of it verified."""
    cdef SnapshotReader reader
    cdef SnapshotMeta meta
    cdef const uint8_t* data = NULL
    cdef uint32_t size = 0
    cdef int status
    done(snapshot_open(&reader, &disk.disk.files, b"wal", GROUP, index))
    try:
        snapshot_meta(&reader, &meta)
        found = {
            "id": told(&meta.id), "membership": (<const char*>meta.membership)[:meta.membership_bytes],
            "membership_index": meta.membership_index, "sessions": (<const char*>meta.sessions)[:meta.sessions_bytes],
            "state_bytes": meta.state_bytes, "log_time_ns": meta.log_time_ns,
        }
        state = b""
        while True:
            status = snapshot_next(&reader, &data, &size)
            if status == 52:               # ERR_NOT_FOUND: that was all
                found["state"] = state
                return found
            done(status)
            state += (<const char*>data)[:size]
    finally:
        snapshot_close(&reader)


def indexes(VirtualDisk disk):
    cdef SnapshotList found
    done(snapshots_list(&disk.disk.files, b"wal", GROUP, &found))
    return [found.indexes[i] for i in range(found.count)]


def clean(VirtualDisk disk):
    done(snapshots_clean(&disk.disk.files, b"wal"))


cdef class Inflow:
    """A snapshot that comes in."""
    cdef VirtualDisk disk
    cdef SnapshotInflow inflow

    def __cinit__(self, VirtualDisk disk):
        self.disk = disk
        inflow_open(&self.inflow, &disk.disk.files, b"wal", GROUP)

    def __dealloc__(self):
        if self.disk is not None and self.disk.disk != NULL:
            inflow_close(&self.inflow)

    def add(self, id, uint64_t offset, bytes data):
        cdef SnapshotId c_id = id_of(id)
        done(inflow_add(&self.inflow, &c_id, offset, <const char*>data, len(data)))

    def finish(self):
        done(inflow_finish(&self.inflow))


def sessions_round(admitted, *, uint32_t limit=64, cut=None):
    """Admits (session, sequence, index), encodes, decodes into a fresh table: last sequences, and the bytes."""
    cdef Sessions first, second
    cdef uint8_t* room
    cdef uint64_t size
    cdef bytes encoded
    done(sessions_open(&first, limit))
    done(sessions_open(&second, limit))
    try:
        for session, sequence, index in admitted:
            sessions_admit(&first, session, sequence, True, index)
        size = sessions_encoded_bytes(&first)
        room = <uint8_t*>malloc(size)
        sessions_encode(&first, room)
        encoded = (<char*>room)[:size]
        free(room)
        if cut is not None:
            encoded = cut(encoded)
        done(sessions_decode(&second, <const uint8_t*><const char*>encoded, len(encoded)))
        known = {session for session, _, _ in admitted}
        return {session: sessions_last(&second, session) for session in known}, encoded
    finally:
        sessions_close(&first)
        sessions_close(&second)
