"""Hellos and proofs: written, checked, and nothing believed before the proof.

The proof is HMAC-SHA256(token, role of the prover | dialer's hello | acceptor's
hello).  Both hellos hold a fresh nonce, so that no proof is good for a second
connection; the role keeps one side's proof from being reflected as the other's.
"""

from quorumlog._core.base.bytes cimport (
    Reader, Writer, get_u32, put_u32, read_bytes, read_u16, read_u32, read_u64, reader_left, reader_open,
    write_bytes, write_u16, write_u32, write_u64, write_zeros, writer_open,
)
from quorumlog._core.base.checks cimport check
from quorumlog._core.base.crc32c cimport crc32c
from quorumlog._core.base.sha256 cimport (
    SHA256_BYTES, HmacSha256, hmac_add, hmac_finish, hmac_open, same_bytes,
)
from quorumlog._core.base.status cimport ERR_PEER, OK
from quorumlog._core.base.types cimport node_t

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

cdef enum:
    HELLO_CRC_AT = 124
    HELLO_RESERVED_BYTES = 44
    NONCE_AT = 64
    PROOF_MAC_AT = 8
    PROOF_RESERVED_AT = 40


cdef uint8_t* hello_of(Opening* opening, uint8_t role) noexcept nogil:
    return &opening.hellos[0 if role == ROLE_DIALER else HELLO_BYTES]


cdef void hello_write(Opening* opening, const OpeningSelf* self, const uint8_t* nonce) noexcept nogil:
    cdef uint8_t* out = hello_of(opening, opening.role)
    cdef Writer w
    writer_open(&w, out, HELLO_BYTES)
    write_u32(&w, HELLO_MAGIC)
    write_u16(&w, WIRE_VERSION)
    write_u16(&w, opening.role)
    write_u64(&w, 0)                   # features
    write_bytes(&w, self.cluster, CLUSTER_BYTES)
    write_u64(&w, self.node)
    write_u64(&w, opening.peer)
    write_u64(&w, self.incarnation)
    write_u64(&w, opening.epoch)
    check(w.position == NONCE_AT, b"Q-OPENING-01 a hello's nonce lies elsewhere than documented")
    write_bytes(&w, nonce, NONCE_BYTES)
    write_zeros(&w, HELLO_RESERVED_BYTES)
    write_u32(&w, crc32c(0, out, HELLO_CRC_AT))
    check(not w.failed and w.position == HELLO_BYTES,
          b"Q-OPENING-02 a hello has another size than documented")


cdef void outbox_hello(Opening* opening) noexcept nogil:
    check(opening.outbox_bytes == 0, b"Q-OPENING-03 a piece is written before the one before it was sent")
    memcpy(opening.outbox, hello_of(opening, opening.role), HELLO_BYTES)
    opening.outbox_bytes = HELLO_BYTES


cdef void opening_dial(Opening* opening, const OpeningSelf* self, node_t peer, uint64_t epoch,
                       const uint8_t* nonce) noexcept nogil:
    memset(opening, 0, sizeof(Opening))
    opening.role = ROLE_DIALER
    opening.step = OPENING_HELLO
    opening.peer = peer
    opening.epoch = epoch
    hello_write(opening, self, nonce)
    outbox_hello(opening)


cdef void opening_accept(Opening* opening, const OpeningSelf* self, const uint8_t* nonce) noexcept nogil:
    memset(opening, 0, sizeof(Opening))
    opening.role = ROLE_ACCEPTOR
    opening.step = OPENING_HELLO
    # The rest of our hello is an answer: it waits for the dialer's.
    memcpy(hello_of(opening, ROLE_ACCEPTOR) + NONCE_AT, nonce, NONCE_BYTES)


cdef uint32_t piece_bytes(const Opening* opening) noexcept nogil:
    if opening.step == OPENING_HELLO:
        return HELLO_BYTES
    return PROOF_BYTES if opening.step == OPENING_PROOF else 0


cdef uint32_t opening_missing(const Opening* opening) noexcept nogil:
    return piece_bytes(opening) - opening.inbox_bytes


cdef bint all_zero(const uint8_t* data, uint32_t count) noexcept nogil:
    cdef uint8_t seen = 0
    cdef uint32_t i
    for i in range(count):
        seen |= data[i]
    return seen == 0


cdef int hello_check(Opening* opening, const OpeningSelf* self) noexcept nogil:
    """Is the hello in the inbox one that we may answer?  Sets what it claims."""
    cdef Reader r
    cdef const uint8_t* cluster
    cdef const uint8_t* reserved
    cdef node_t sender, target
    cdef uint64_t epoch
    reader_open(&r, opening.inbox, HELLO_BYTES)
    if get_u32(opening.inbox + HELLO_CRC_AT) != crc32c(0, opening.inbox, HELLO_CRC_AT):
        return ERR_PEER
    if read_u32(&r) != HELLO_MAGIC or read_u16(&r) != WIRE_VERSION:
        return ERR_PEER
    # Not our own role: so that no hello of ours, sent back to us, goes further.
    if read_u16(&r) != (ROLE_ACCEPTOR if opening.role == ROLE_DIALER else ROLE_DIALER):
        return ERR_PEER
    if read_u64(&r) != 0:              # a feature that version 1 doesn't know
        return ERR_PEER
    cluster = read_bytes(&r, CLUSTER_BYTES)
    sender = read_u64(&r)
    target = read_u64(&r)
    opening.incarnation = read_u64(&r)
    epoch = read_u64(&r)
    read_bytes(&r, NONCE_BYTES)
    reserved = read_bytes(&r, HELLO_RESERVED_BYTES)
    read_u32(&r)
    check(not r.failed and reader_left(&r) == 0,
          b"Q-OPENING-04 a hello is read to another size than documented")
    if memcmp(cluster, self.cluster, CLUSTER_BYTES) != 0 or not all_zero(reserved, HELLO_RESERVED_BYTES):
        return ERR_PEER
    if target != self.node or sender == self.node or sender == 0 or opening.incarnation == 0:
        return ERR_PEER
    if opening.role == ROLE_DIALER and (sender != opening.peer or epoch != opening.epoch):
        return ERR_PEER                # another node than we dialed, or an answer to another dial
    opening.peer = sender
    opening.epoch = epoch
    return OK


cdef void proof_mac(Opening* opening, const OpeningSelf* self, uint8_t prover, uint8_t* out) noexcept nogil:
    cdef HmacSha256 mac
    hmac_open(&mac, self.token, TOKEN_BYTES)
    hmac_add(&mac, &prover, 1)
    hmac_add(&mac, opening.hellos, 2 * HELLO_BYTES)
    hmac_finish(&mac, out)


cdef void outbox_proof(Opening* opening, const OpeningSelf* self) noexcept nogil:
    check(opening.outbox_bytes == 0, b"Q-OPENING-05 a proof is written before the hello was sent")
    memset(opening.outbox, 0, PROOF_BYTES)
    put_u32(opening.outbox, PROOF_MAGIC)
    proof_mac(opening, self, opening.role, opening.outbox + PROOF_MAC_AT)
    put_u32(opening.outbox + 4, crc32c(0, opening.outbox + PROOF_MAC_AT, PROOF_BYTES - PROOF_MAC_AT))
    opening.outbox_bytes = PROOF_BYTES


cdef int proof_check(Opening* opening, const OpeningSelf* self) noexcept nogil:
    cdef uint8_t expected[SHA256_BYTES]
    cdef uint8_t other = ROLE_ACCEPTOR if opening.role == ROLE_DIALER else ROLE_DIALER
    cdef const uint8_t* proof = opening.inbox
    if get_u32(proof) != PROOF_MAGIC:
        return ERR_PEER
    if get_u32(proof + 4) != crc32c(0, proof + PROOF_MAC_AT, PROOF_BYTES - PROOF_MAC_AT):
        return ERR_PEER
    if not all_zero(proof + PROOF_RESERVED_AT, PROOF_BYTES - PROOF_RESERVED_AT):
        return ERR_PEER
    proof_mac(opening, self, other, expected)
    return OK if same_bytes(expected, proof + PROOF_MAC_AT, SHA256_BYTES) else ERR_PEER


cdef int hello_arrived(Opening* opening, const OpeningSelf* self) noexcept nogil:
    cdef uint8_t nonce[NONCE_BYTES]
    if hello_check(opening, self) != OK:
        return ERR_PEER
    if opening.role == ROLE_DIALER:
        memcpy(hello_of(opening, ROLE_ACCEPTOR), opening.inbox, HELLO_BYTES)
        outbox_proof(opening, self)
    else:
        memcpy(hello_of(opening, ROLE_DIALER), opening.inbox, HELLO_BYTES)
        memcpy(nonce, hello_of(opening, ROLE_ACCEPTOR) + NONCE_AT, NONCE_BYTES)
        hello_write(opening, self, nonce)
        outbox_hello(opening)
    opening.step = OPENING_PROOF
    return OK


cdef int opening_step(Opening* opening, const OpeningSelf* self) noexcept nogil:
    check(opening.inbox_bytes <= piece_bytes(opening), b"Q-OPENING-06 more was read than the awaited piece")
    if opening_missing(opening) != 0 or opening.step == OPENING_PROVED:
        return OK
    if opening.step == OPENING_HELLO:
        if hello_arrived(opening, self) != OK:
            return ERR_PEER
    else:
        if proof_check(opening, self) != OK:
            return ERR_PEER
        opening.step = OPENING_PROVED
        if opening.role == ROLE_ACCEPTOR:
            outbox_proof(opening, self)
    opening.inbox_bytes = 0
    return OK
