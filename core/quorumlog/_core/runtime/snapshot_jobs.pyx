"""See snapshot_jobs.pxd."""

from quorumlog._core.runtime.apply_snapshot cimport apply_install
from quorumlog._core.runtime.snapshots cimport JOB_READ, JOB_STORE, SnapshotJob, job_new, snapshots_ask
from quorumlog._core.storage.batch cimport batch_drop

from libc.stdint cimport uint32_t


cdef void jobs_install(HostedGroup* hosted, const Outbox* out) noexcept nogil:
    if out.install.index != 0:
        hosted.snapshot = out.install
        apply_install(&hosted.apply, out.install.index)


cdef void store(Node* node, HostedGroup* hosted, Outbox* out) noexcept nogil:
    cdef SnapshotJob* job = job_new(JOB_STORE, hosted.group, &out.piece_store.id)
    if job == NULL:
        batch_drop(out.piece_store.batch)
        hosted.piece_lost = out.piece_store.id
        return
    job.offset = out.piece_store.offset
    job.batch = out.piece_store.batch
    job.last = out.piece_store.last
    snapshots_ask(&node.snapshots, job)


cdef void jobs_hand_over(Node* node, HostedGroup* hosted, Outbox* out) noexcept nogil:
    cdef SnapshotJob* job
    cdef uint32_t i
    for i in range(out.piece_read_count):
        job = job_new(JOB_READ, hosted.group, &out.piece_reads[i].id)
        if job == NULL:
            break                      # as good as lost on the way: it is asked for again
        job.peer = out.piece_reads[i].peer
        job.offset = out.piece_reads[i].offset
        job.size = out.piece_reads[i].size
        snapshots_ask(&node.snapshots, job)
    if out.piece_store.batch != NULL:
        store(node, hosted, out)
