"""See batch.pxd."""

from quorumlog._core.base.atomics cimport add_u64, atomic_u64, load_u64, sub_u64
from quorumlog._core.storage.batch cimport (
    BATCH_STAMPED, KIND_ENTRIES, batch_drop, batch_keep, batch_offsets, batch_payload)

from cpython.buffer cimport PyBuffer_FillInfo
from libc.stdint cimport uint8_t, uint32_t

import numpy

cdef atomic_u64 pinned          # one module owns it; others call pinned_bytes()


cdef uint64_t pinned_bytes() noexcept nogil:
    return load_u64(&pinned)


cdef class _Pin:
    """One reference to a batch, counted once, however many views share it."""
    cdef Batch* batch

    def __dealloc__(self):
        if self.batch != NULL:
            sub_u64(&pinned, self.batch.body_bytes)
            batch_drop(self.batch)


cdef _Pin pin_of(Batch* batch):
    cdef _Pin made = _Pin.__new__(_Pin)
    made.batch = batch_keep(batch)
    add_u64(&pinned, batch.body_bytes)
    return made


cdef class _Bytes:
    """A read-only buffer that keeps its batch alive."""
    cdef object pin
    cdef const void* data
    cdef Py_ssize_t size

    def __getbuffer__(self, Py_buffer* view, int flags):
        PyBuffer_FillInfo(view, self, <void*>self.data, self.size, 1, flags)


cdef _Bytes bytes_of(object pin, const void* data, Py_ssize_t size):
    cdef _Bytes made = _Bytes.__new__(_Bytes)
    made.pin = pin
    made.data = data
    made.size = size
    return made


cdef class BatchView:
    """A committed batch: entries `first` to `last` of the group's log.

    `payload` (uint8) and `offsets` (uint32, count + 1) are read-only views of native
    memory, valid for as long as you keep them; entry i is
    `payload[offsets[i]:offsets[i + 1]]`.  Iterating yields each entry as `bytes`.
    Keep views only briefly: they pin the memory of the whole batch.
    """

    def __cinit__(self):
        self.batch = NULL

    def __init__(self):
        raise TypeError("a Batch is made by quorumlog, not by its users")

    @property
    def first(self):
        """Index of the first entry, from 1."""
        return self.batch.first

    @property
    def last(self):
        """Index of the last entry."""
        return self.batch.first + self.entries - 1

    @property
    def count(self):
        """Number of entries."""
        return self.entries

    @property
    def term(self):
        """Term in which the batch was appended by its leader."""
        return self.batch.term

    @property
    def leader_time_ns(self):
        """Unix time at the leader when it appended the batch, in nanoseconds: the same on all replicas."""
        return self.batch.leader_time_ns

    @property
    def session(self):
        """Session of the proposer."""
        return self.batch.session

    @property
    def sequence(self):
        """Number of the batch within its session."""
        return self.batch.sequence

    @property
    def is_entries(self):
        """False for the blank batch that a new leader begins with."""
        return self.batch.kind == KIND_ENTRIES

    @property
    def offsets(self):
        """uint32[count + 1], read-only."""
        if self.array_offsets is None:
            self.array_offsets = numpy.frombuffer(
                bytes_of(self.pin, batch_offsets(self.batch), 4 * (self.entries + 1)), dtype=numpy.uint32)
        return self.array_offsets

    @property
    def payload(self):
        """uint8[offsets[count]], read-only; starts 8-aligned."""
        cdef Py_ssize_t size
        if self.array_payload is None:
            size = batch_offsets(self.batch)[self.entries]
            if size:
                self.array_payload = numpy.frombuffer(
                    bytes_of(self.pin, batch_payload(self.batch), size), dtype=numpy.uint8)
            else:
                self.array_payload = numpy.empty(0, dtype=numpy.uint8)
        return self.array_payload

    def __len__(self):
        return self.entries

    def __getitem__(self, Py_ssize_t position):
        cdef const uint32_t* offsets = batch_offsets(self.batch)
        if position < 0:
            position += self.entries
        if position < 0 or position >= self.entries:
            raise IndexError(f"entry {position} of a batch of {self.entries}")
        cdef const uint8_t* data = batch_payload(self.batch) + offsets[position]
        return (<const char*>data)[:offsets[position + 1] - offsets[position]]

    def __iter__(self):
        cdef Py_ssize_t position
        for position in range(self.entries):
            yield self[position]

    def __repr__(self):
        return f"<Batch {self.first}..{self.last} of term {self.term}, {self.batch.body_bytes} bytes>"


cdef BatchView view_of(Batch* batch):
    cdef BatchView view = BatchView.__new__(BatchView)
    view.batch = batch
    view.entries = batch.count - 1 if batch.flags & BATCH_STAMPED else batch.count
    view.pin = pin_of(batch)
    return view
