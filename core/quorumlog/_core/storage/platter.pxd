"""Makes the page cache tell the truth about a segment (rule 8: recovery doesn't trust it)."""

from quorumlog._core.storage.files cimport Files

from libc.stdint cimport uint64_t

# After a failed sync the kernel calls pages clean that never reached the platter: cached reads then see
# what a direct read does not, and no later sync saves it.  Blocks that differ were never durable, so nobody
# was told of them: the platter's content is written over them and synced.  OK (also where there are no
# direct reads), ERR_IO or ERR_MEMORY; `changed` says whether any block differed.
cdef int platter_agree(Files* files, const char* directory, uint64_t id, bint* changed) noexcept nogil
