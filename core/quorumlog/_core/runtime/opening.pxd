"""The opening of a connection: hellos, then proofs (docs/format.md 8.1).

A pure state machine over two fixed-size pieces each way.  It owns no memory but
its own few hundred bytes, so a stranger costs no more than that.  What the
other side says of itself may be believed once `step` is OPENING_PROVED, and
not before: `peer` and `incarnation` are claims until then.
"""

from quorumlog._core.base.types cimport node_t

from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef enum:
    HELLO_MAGIC = 0x49484C51           # "QLHI"
    PROOF_MAGIC = 0x46504C51           # "QLPF"
    WIRE_VERSION = 1
    HELLO_BYTES = 128
    PROOF_BYTES = 48
    NONCE_BYTES = 16
    TOKEN_BYTES = 32
    CLUSTER_BYTES = 16

cdef enum OpeningRole:
    ROLE_DIALER = 1
    ROLE_ACCEPTOR = 2

cdef enum OpeningStep:
    OPENING_HELLO = 1                  # waits for the other's hello
    OPENING_PROOF = 2                  # waits for the other's proof
    OPENING_PROVED = 3                 # the other side holds the token

# Who we are, for all openings of a node.
cdef struct OpeningSelf:
    node_t node
    uint64_t incarnation
    uint8_t cluster[CLUSTER_BYTES]
    uint8_t token[TOKEN_BYTES]

cdef struct Opening:
    uint8_t role                       # ours
    uint8_t step
    node_t peer
    uint64_t incarnation               # the peer's
    uint64_t epoch                     # the dialer's, of this connection
    uint32_t inbox_bytes
    uint32_t outbox_bytes              # to be sent as it is, whenever not 0
    uint8_t inbox[HELLO_BYTES]
    uint8_t outbox[HELLO_BYTES]
    uint8_t hellos[2 * HELLO_BYTES]    # the dialer's, then the acceptor's


# As dialer of `peer`: its hello lies in the outbox.
cdef void opening_dial(Opening* opening, const OpeningSelf* self, node_t peer, uint64_t epoch,
                       const uint8_t* nonce) noexcept nogil
# As acceptor, of whoever comes.
cdef void opening_accept(Opening* opening, const OpeningSelf* self, const uint8_t* nonce) noexcept nogil
# How many bytes may be read now: never beyond the piece that is awaited.
cdef uint32_t opening_missing(const Opening* opening) noexcept nogil
# `inbox_bytes` has grown: OK (a step may have been made and the outbox filled), or ERR_PEER.
cdef int opening_step(Opening* opening, const OpeningSelf* self) noexcept nogil
