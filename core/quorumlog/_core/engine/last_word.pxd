"""The entry that drops its group: a blank batch whose one payload is a word (ADR 0026).  Header only.

No state machine sees a blank batch; who applies this one lets go of the group, for ever.
"""

from quorumlog._core.base.crc32c cimport crc32c
from quorumlog._core.storage.batch cimport KIND_BLANK, Batch, BatchPool, batch_new

from libc.stdint cimport uint32_t
from libc.string cimport memcmp, memcpy

cdef enum:
    LAST_WORD_BODY_BYTES = 16      # offsets 0, 8 and the word


cdef inline bint is_last_word(const Batch* batch) noexcept nogil:
    return (batch.kind == KIND_BLANK and batch.count == 1 and batch.body_bytes == LAST_WORD_BODY_BYTES
            and memcmp(batch.body + 8, b"ql-drop!", 8) == 0)


cdef inline Batch* last_word(BatchPool* pool) noexcept nogil:
    """To be proposed; NULL: no memory."""
    cdef Batch* batch = batch_new(pool, LAST_WORD_BODY_BYTES)
    cdef uint32_t* offsets
    if batch == NULL:
        return NULL
    offsets = <uint32_t*>batch.body
    offsets[0] = 0
    offsets[1] = 8
    memcpy(batch.body + 8, b"ql-drop!", 8)
    batch.kind = KIND_BLANK
    batch.count = 1
    batch.body_bytes = LAST_WORD_BODY_BYTES
    batch.body_crc = crc32c(0, batch.body, batch.body_bytes)
    return batch
