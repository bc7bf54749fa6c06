"""See snapshots.pxd."""

from quorumlog._core.base.atomics cimport (
    add_u32, add_u64, cas_ptr, exchange_ptr, fence, futex_wait, futex_wake, load_ptr, load_u32, store_u32, store_u64)
from quorumlog._core.base.bytes cimport round_up
from quorumlog._core.base.crc32c cimport crc32c
from quorumlog._core.base.status cimport ERR_CORRUPT, ERR_IO, ERR_MEMORY, ERR_NOT_FOUND, OK
from quorumlog._core.base.types cimport same_snapshot
from quorumlog._core.runtime.threads cimport thread_join, thread_start, thread_step_back
from quorumlog._core.storage.batch cimport (
    KIND_SNAPSHOT, batch_drop, batch_new, batch_stamp, pool_close, pool_open)
from quorumlog._core.storage.snapshot cimport (
    SNAPSHOT_CHUNK_BYTES, SnapshotWriter, snapshot_begin, snapshot_close, snapshot_finish, snapshot_meta,
    snapshot_open, snapshot_verify)
from quorumlog._core.storage.snapshot_files cimport (
    inflow_add, inflow_close, inflow_finish, inflow_open, snapshots_clean, snapshots_drop_older)

from libc.stdint cimport int64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memset, strncpy

cdef enum:
    POOL_BYTES = 32 << 20          # pieces on their way to peers
    NICE = 5


cdef SnapshotJob* job_new(int kind, group_t group, const SnapshotId* id) noexcept nogil:
    cdef SnapshotJob* job = <SnapshotJob*>calloc(1, sizeof(SnapshotJob))
    if job != NULL:
        job.kind = kind
        job.group = group
        job.id = id[0]
    return job


cdef void job_free(SnapshotJob* job) noexcept nogil:
    if job.batch != NULL:
        batch_drop(job.batch)
    free(job.records)
    free(job)


# Between the threads --------------------------------------------------------------------------------------

cdef void push(atomic_ptr* stack, SnapshotJob* job) noexcept nogil:
    cdef void* top
    while True:
        top = load_ptr(stack)
        job.next = <SnapshotJob*>top
        if cas_ptr(stack, top, job):
            return


cdef SnapshotJob* take_all(atomic_ptr* stack) noexcept nogil:
    """In the order in which they were pushed."""
    cdef SnapshotJob* job = <SnapshotJob*>exchange_ptr(stack, NULL)
    cdef SnapshotJob* oldest = NULL
    cdef SnapshotJob* following
    while job != NULL:
        following = job.next
        job.next = oldest
        oldest = job
        job = following
    return oldest


cdef void free_all(SnapshotJob* job) noexcept nogil:
    cdef SnapshotJob* following
    while job != NULL:
        following = job.next
        job_free(job)
        job = following


cdef void snapshots_ask(Snapshots* snapshots, SnapshotJob* job) noexcept nogil:
    push(&snapshots.asked, job)
    add_u32(&snapshots.signal, 1)
    fence()
    futex_wake(&snapshots.signal, 1)


cdef SnapshotJob* snapshots_answers(Snapshots* snapshots) noexcept nogil:
    return take_all(&snapshots.done)


cdef bint snapshots_answered(Snapshots* snapshots) noexcept nogil:
    return load_ptr(&snapshots.done) != NULL


cdef uint64_t snapshots_number(Snapshots* snapshots) noexcept nogil:
    return add_u64(&snapshots.numbers, 1)


# The jobs -------------------------------------------------------------------------------------------------

cdef Outflow* outflow_for(Snapshots* snapshots, const SnapshotJob* job, int* status) noexcept nogil:
    """The open file of a snapshot.  Verified as a whole when the first piece of it is asked for: what is damaged here
    would be sent again and again."""
    cdef SnapshotMeta meta
    cdef Outflow* outflow = &snapshots.outflows[0]
    cdef uint32_t i
    snapshots.clock += 1
    status[0] = OK
    for i in range(OUTFLOWS_MAX):
        if snapshots.outflows[i].reader.fd >= 0:
            snapshot_meta(&snapshots.outflows[i].reader, &meta)
            if meta.group == job.group and same_snapshot(&meta.id, &job.id):
                outflow = &snapshots.outflows[i]
                if job.offset == 0:
                    break
                outflow.used = snapshots.clock
                return outflow
        if snapshots.outflows[i].used < outflow.used:
            outflow = &snapshots.outflows[i]
    snapshot_close(&outflow.reader)
    outflow.used = snapshots.clock
    status[0] = snapshot_open(&outflow.reader, snapshots.files, snapshots.directory, job.group, job.id.index)
    if status[0] != OK:
        return NULL
    snapshot_meta(&outflow.reader, &meta)
    status[0] = ERR_NOT_FOUND
    if same_snapshot(&meta.id, &job.id):
        status[0] = snapshot_verify(&outflow.reader)
    if status[0] != OK:
        snapshot_close(&outflow.reader)
        return NULL
    return outflow


cdef int read_piece(Snapshots* snapshots, SnapshotJob* job) noexcept nogil:
    cdef int status = OK
    cdef Outflow* outflow = outflow_for(snapshots, job, &status)
    cdef Batch* batch
    cdef int64_t got
    if outflow == NULL:
        return status
    batch = batch_new(snapshots.pool, job.size)
    if batch == NULL:
        return ERR_MEMORY
    job.batch = batch
    got = snapshots.files.read(snapshots.files.self, outflow.reader.fd, batch.body, job.size, job.offset)
    if got != job.size:
        return ERR_IO if got < 0 else ERR_CORRUPT
    batch.kind = KIND_SNAPSHOT
    batch.group = job.group
    batch.term = job.id.term
    batch.first = job.id.index
    batch.count = 0
    batch.body_crc = crc32c(0, batch.body, batch.body_bytes)
    batch_stamp(batch)
    return OK


cdef SnapshotInflow* inflow_of(Snapshots* snapshots, group_t group) noexcept nogil:
    cdef SnapshotInflow* inflow
    cdef void* memory
    cdef uint32_t i
    for i in range(snapshots.inflow_count):
        if snapshots.inflows[i].group == group:
            return snapshots.inflows[i]
    memory = realloc(snapshots.inflows, (snapshots.inflow_count + 1) * sizeof(SnapshotInflow*))
    if memory == NULL:
        return NULL
    snapshots.inflows = <SnapshotInflow**>memory
    inflow = <SnapshotInflow*>malloc(sizeof(SnapshotInflow))
    if inflow == NULL:
        return NULL
    inflow_open(inflow, snapshots.files, snapshots.directory, group)
    snapshots.inflows[snapshots.inflow_count] = inflow
    snapshots.inflow_count += 1
    return inflow


cdef int store_piece(Snapshots* snapshots, SnapshotJob* job) noexcept nogil:
    cdef SnapshotInflow* inflow = inflow_of(snapshots, job.group)
    cdef int status
    if inflow == NULL:
        return ERR_MEMORY
    status = inflow_add(inflow, &job.id, job.offset, job.batch.body, job.batch.body_bytes)
    if status == OK and job.last:
        status = inflow_finish(inflow)
        if status == OK:
            snapshots_drop_older(snapshots.files, snapshots.directory, job.group, job.id.index)
    return status


cdef int make(Snapshots* snapshots, SnapshotJob* job) noexcept nogil:
    """There is no state: the file says which entries it stands for, and the sessions."""
    cdef SnapshotWriter writer
    cdef int status = snapshot_begin(&writer, snapshots.files, snapshots.directory, &job.meta, SNAPSHOT_CHUNK_BYTES)
    if status == OK:
        status = snapshot_finish(&writer, &job.id)
    if status == OK:
        snapshots_drop_older(snapshots.files, snapshots.directory, job.group, job.id.index)
    return status


cdef int load(Snapshots* snapshots, SnapshotJob* job) noexcept nogil:
    cdef SnapshotReader reader
    cdef uint64_t size
    cdef int status = snapshot_open(&reader, snapshots.files, snapshots.directory, job.group, job.id.index)
    if status != OK:
        return status
    snapshot_meta(&reader, &job.meta)
    job.records = reader.records       # the reader's memory is the job's now
    reader.records = NULL
    size = round_up(job.meta.membership_bytes, 8)
    job.meta.membership = job.records
    job.meta.sessions = job.records + size
    snapshot_close(&reader)
    return OK


cdef int carry_out(Snapshots* snapshots, SnapshotJob* job) noexcept nogil:
    if job.kind == JOB_READ:
        return read_piece(snapshots, job)
    if job.kind == JOB_STORE:
        return store_piece(snapshots, job)
    if job.kind == JOB_MAKE:
        return make(snapshots, job)
    return load(snapshots, job)


# The thread -----------------------------------------------------------------------------------------------

cdef void* work(void* context) noexcept nogil:
    cdef Snapshots* snapshots = <Snapshots*>context
    cdef SnapshotJob* job
    cdef SnapshotJob* following
    cdef uint32_t seen
    thread_step_back(NICE)
    while not load_u32(&snapshots.stopping):
        seen = load_u32(&snapshots.signal)
        job = take_all(&snapshots.asked)
        while job != NULL:
            following = job.next
            if load_u32(&snapshots.stopping):
                job_free(job)
            else:
                job.status = carry_out(snapshots, job)
                push(&snapshots.done, job)
                snapshots.wake(snapshots.context)
            job = following
        fence()
        if load_ptr(&snapshots.asked) == NULL and not load_u32(&snapshots.stopping):
            futex_wait(&snapshots.signal, seen, -1)
    return NULL


cdef int snapshots_start(Snapshots* snapshots, Files* files, const char* directory, uint64_t first_number,
                         SnapshotsWake wake, void* context) noexcept nogil:
    cdef int status = snapshots_clean(files, directory)
    cdef uint32_t i
    if status != OK:
        return status
    memset(snapshots, 0, sizeof(Snapshots))
    snapshots.files = files
    strncpy(snapshots.directory, directory, PATH_BYTES_MAX - 1)
    snapshots.wake = wake
    snapshots.context = context
    store_u64(&snapshots.numbers, first_number)
    for i in range(OUTFLOWS_MAX):
        snapshots.outflows[i].reader.fd = -1
    snapshots.pool = pool_open(POOL_BYTES)
    if snapshots.pool == NULL or thread_start(&snapshots.thread, b"ql-snapshot", work, snapshots) != 0:
        if snapshots.pool != NULL:
            pool_close(snapshots.pool)
        return ERR_MEMORY
    snapshots.started = True
    return OK


cdef void snapshots_stop(Snapshots* snapshots) noexcept nogil:
    cdef uint32_t i
    if not snapshots.started:
        return
    snapshots.started = False
    store_u32(&snapshots.stopping, 1)
    add_u32(&snapshots.signal, 1)
    futex_wake(&snapshots.signal, 1)
    thread_join(snapshots.thread)
    free_all(take_all(&snapshots.asked))
    free_all(take_all(&snapshots.done))
    for i in range(OUTFLOWS_MAX):
        snapshot_close(&snapshots.outflows[i].reader)
    for i in range(snapshots.inflow_count):
        inflow_close(snapshots.inflows[i])
        free(snapshots.inflows[i])
    free(snapshots.inflows)
    pool_close(snapshots.pool)
