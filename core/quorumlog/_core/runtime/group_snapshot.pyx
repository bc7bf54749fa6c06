"""See group_snapshot.pxd."""

from quorumlog._core.base.atomics cimport store_u64
from quorumlog._core.base.status cimport ERR_CORRUPT, ERR_NOT_FOUND, OK
from quorumlog._core.base.types cimport index_t
from quorumlog._core.runtime.apply cimport NOT_THERE_YET
from quorumlog._core.runtime.apply_snapshot cimport apply_resume
from quorumlog._core.storage.files cimport system_files
from quorumlog._core.storage.segment cimport segments_group_bytes
from quorumlog._core.storage.snapshot cimport (
    SnapshotMeta, SnapshotReader, snapshot_close, snapshot_meta, snapshot_open, snapshot_verify)
from quorumlog._core.storage.snapshot_files cimport SnapshotList, snapshots_drop, snapshots_list

from libc.stdint cimport uint32_t


cdef int begin_from(Node* node, HostedGroup* hosted, index_t index) noexcept nogil:
    cdef SnapshotReader reader
    cdef SnapshotMeta meta
    cdef int status = snapshot_open(&reader, system_files(), node.path, hosted.group, index)
    if status != OK:
        return status
    status = snapshot_verify(&reader)
    if status == OK:
        snapshot_meta(&reader, &meta)
        status = apply_resume(&hosted.apply, &meta)
        if status == OK:
            hosted.snapshot = meta.id
    snapshot_close(&reader)
    return status


cdef int group_take_snapshot(Node* node, HostedGroup* hosted, bint has_peers) noexcept nogil:
    cdef SnapshotList found
    cdef uint32_t i
    cdef int status = snapshots_list(system_files(), node.path, hosted.group, &found)
    if status != OK:
        return status
    for i in range(found.count):
        if found.indexes[i] + 1 < hosted.log.first:
            break                      # the log begins behind it
        status = begin_from(node, hosted, found.indexes[i])
        if status == OK:
            hosted.log.appended_bytes = segments_group_bytes(node.wal, hosted.group, found.indexes[i] + 1)
            return OK
        if status != ERR_CORRUPT and status != ERR_NOT_FOUND:
            return status
        hosted.snapshots_damaged += 1
        snapshots_drop(system_files(), node.path, hosted.group, found.indexes[i])
    hosted.log.appended_bytes = segments_group_bytes(node.wal, hosted.group, hosted.log.first)
    if hosted.log.first == 1:
        return OK                      # all of it is in the log
    if not has_peers:
        return ERR_CORRUPT
    hosted.snapshot_needed = hosted.log.first - 1
    store_u64(&hosted.apply.restore, NOT_THERE_YET)
    return OK
