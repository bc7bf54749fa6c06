"""See clients.pxd."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from quorumlog._core.base.bytes cimport get_u64, put_u64
from quorumlog._core.base.checks cimport check, check2
from quorumlog._core.base.crc32c cimport crc32c
from quorumlog._core.base.mutants cimport mutant
from quorumlog._core.base.status cimport ERR_CORRUPT, ERR_MEMORY, ERR_USAGE, OK
from quorumlog._core.storage.batch cimport BATCH_STAMPED, batch_offsets, batch_payload

cdef enum:
    BUCKETS = 8192
    SAVED_VERSION = 1
    SAVED_HEADER_BYTES = 24            # version, sessions, time
    SAVED_CLIENT_BYTES = 56            # id, used, lifetime, answered, answers, highest, life
    SAVED_ANSWER_BYTES = 48            # sequence, index, term, count and crc, bytes, lost


cdef int clients_open(Clients* clients, uint32_t count_max, uint64_t bytes_max) noexcept nogil:
    memset(clients, 0, sizeof(Clients))
    if count_max == 0 or count_max > CLIENTS_MAX:
        return ERR_USAGE
    clients.count_max = count_max
    clients.bytes_max = bytes_max
    clients.buckets = <Client**>calloc(BUCKETS, sizeof(Client*))
    return OK if clients.buckets != NULL else ERR_MEMORY


cdef void clients_close(Clients* clients) noexcept nogil:
    while clients.oldest != NULL:
        forget(clients, clients.oldest)
    free(clients.buckets)
    memset(clients, 0, sizeof(Clients))


cdef void clients_time(Clients* clients, uint64_t leader_time_ns) noexcept nogil:
    clients.now_ns = max(clients.now_ns, leader_time_ns)     # of two leaders one may be behind


# The table

cdef Client** bucket_of(const Clients* clients, uint64_t session) noexcept nogil:
    return &clients.buckets[(session * 0x9E3779B97F4A7C15ULL) >> 51]


cdef Client* find(const Clients* clients, uint64_t session) noexcept nogil:
    cdef Client* client = bucket_of(clients, session)[0]
    while client != NULL and client.session != session:
        client = client.in_bucket
    return client


cdef inline Answer** answer_at(Client* client, uint64_t sequence) noexcept nogil:
    return &client.answers[sequence & (CLIENT_WINDOW - 1)]


cdef inline uint64_t cost_of(const Answer* answer) noexcept nogil:
    return sizeof(Answer) + answer.bytes


cdef void unlink(Clients* clients, Client* client) noexcept nogil:
    if client.older != NULL:
        client.older.newer = client.newer
    else:
        clients.oldest = client.newer
    if client.newer != NULL:
        client.newer.older = client.older
    else:
        clients.newest = client.older


cdef void link_newest(Clients* clients, Client* client) noexcept nogil:
    client.older = clients.newest
    client.newer = NULL
    if clients.newest != NULL:
        clients.newest.newer = client
    else:
        clients.oldest = client
    clients.newest = client


cdef void drop_answer(Clients* clients, Client* client, uint64_t sequence) noexcept nogil:
    cdef Answer** place = answer_at(client, sequence)
    if place[0] != NULL:
        client.bytes -= cost_of(place[0])
        clients.bytes -= cost_of(place[0])
        free(place[0])
        place[0] = NULL


cdef void forget(Clients* clients, Client* client) noexcept nogil:
    cdef Client** place = bucket_of(clients, client.session)
    cdef uint64_t sequence
    for sequence in range(CLIENT_WINDOW):
        drop_answer(clients, client, sequence)
    while place[0] != client:
        place = &place[0].in_bucket
    place[0] = client.in_bucket
    unlink(clients, client)
    clients.count -= 1
    clients.bytes -= sizeof(Client)
    free(client)


cdef Client* add(Clients* clients, uint64_t session, uint64_t lifetime_ns) noexcept nogil:
    cdef Client** bucket = bucket_of(clients, session)
    cdef Client* client = <Client*>calloc(1, sizeof(Client))
    check(client != NULL, b"Q-CLIENTS-01 there is memory for a session")
    client.session = session
    client.lifetime_ns = lifetime_ns
    client.life = 1
    client.in_bucket = bucket[0]
    bucket[0] = client
    link_newest(clients, client)
    clients.count += 1
    clients.bytes += sizeof(Client)
    return client


cdef bint expired(const Clients* clients, const Client* client) noexcept nogil:
    return clients.now_ns - client.used_ns > client.lifetime_ns and not mutant(b"client-never-expires")


cdef Client* known(Clients* clients, uint64_t session) noexcept nogil:
    """A session that is not forgotten; used now, so it is the newest."""
    cdef Client* client = find(clients, session)
    if client == NULL:
        return NULL
    if expired(clients, client):
        forget(clients, client)
        return NULL
    client.used_ns = clients.now_ns
    unlink(clients, client)
    link_newest(clients, client)
    return client


# One batch

cdef bint stamp_of(const Batch* batch, Stamp* stamp) noexcept nogil:
    cdef const uint32_t* offsets = batch_offsets(batch)
    if not batch.flags & BATCH_STAMPED or batch.count == 0 \
            or offsets[batch.count] - offsets[batch.count - 1] != STAMP_BYTES:
        return False
    memcpy(stamp, batch_payload(batch) + offsets[batch.count - 1], STAMP_BYTES)
    if stamp.kind == STAMP_COMMAND:
        return batch.count > 1 and stamp.sequence != 0 and stamp.answered < stamp.sequence
    return batch.count == 1 and STAMP_OPEN <= stamp.kind <= STAMP_RESUME


cdef uint32_t command_crc(const Batch* batch) noexcept nogil:
    """Of what was proposed, without the stamp, whose `answered` differs from one attempt to the next."""
    cdef const uint32_t* offsets = batch_offsets(batch)
    cdef uint32_t crc = crc32c(0, <const uint8_t*>offsets, 4 * batch.count)
    return crc32c(crc, batch_payload(batch), offsets[batch.count - 1])


cdef void client_answered(Clients* clients, Client* client, uint64_t answered) noexcept nogil:
    cdef uint64_t sequence
    if answered <= client.answered:
        return
    for sequence in range(client.answered + 1, min(answered, client.answered + CLIENT_WINDOW) + 1):
        drop_answer(clients, client, sequence)
    client.answered = answered


cdef int admit_open(Clients* clients, const Batch* batch) noexcept nogil:
    while clients.oldest != NULL and expired(clients, clients.oldest):
        forget(clients, clients.oldest)
    while clients.count >= clients.count_max:
        forget(clients, clients.oldest)
    add(clients, batch.first, clients.stamp.number).used_ns = clients.now_ns
    return CLIENT_DONE


cdef int admit_known(Clients* clients, const Batch* batch) noexcept nogil:
    """A command, or the question whether it was applied, of a session that is there."""
    cdef Client* client = clients.at
    cdef const Stamp* stamp = &clients.stamp
    cdef bint command = stamp.kind == STAMP_COMMAND
    if stamp.sequence <= client.answered:
        return CLIENT_EXPIRED
    if stamp.sequence > client.answered + CLIENT_WINDOW:
        return CLIENT_FULL
    clients.answer = answer_at(client, stamp.sequence)[0]
    if mutant(b"client-applies-again"):
        clients.answer = NULL
    if clients.answer == NULL:
        if command and stamp.number != client.life and not mutant(b"client-life-not-fenced"):
            return CLIENT_SETTLED
        if command:
            return CLIENT_FULL if client.bytes >= CLIENT_BYTES_MAX else CLIENT_APPLY
        keep_answer(clients, 0, 0, 0, 0)
        return CLIENT_DONE
    if clients.answer.index == 0:
        return CLIENT_SETTLED if command else CLIENT_DONE
    if command and clients.answer.crc != command_crc(batch) and not mutant(b"client-sequence-for-another"):
        return CLIENT_OTHER
    return CLIENT_REPEATED


cdef int clients_admit(Clients* clients, const Batch* batch) noexcept nogil:
    clients.at = NULL
    clients.answer = NULL
    if not stamp_of(batch, &clients.stamp):
        return CLIENT_NONSENSE
    if clients.stamp.kind == STAMP_OPEN:
        return admit_open(clients, batch)
    clients.at = known(clients, clients.stamp.session)
    if clients.at == NULL:
        return CLIENT_EXPIRED
    if clients.stamp.kind == STAMP_RESUME:
        clients.at.life += 1
        return CLIENT_DONE
    if clients.stamp.kind == STAMP_CLOSE:
        forget(clients, clients.at)
        clients.at = NULL
        return CLIENT_DONE
    client_answered(clients, clients.at, clients.stamp.answered)
    return admit_known(clients, batch)


cdef Answer* keep_answer(Clients* clients, index_t index, term_t term, uint32_t count,
                         uint64_t bytes) noexcept nogil:
    cdef Answer** place = answer_at(clients.at, clients.stamp.sequence)
    cdef Answer* answer = <Answer*>calloc(1, sizeof(Answer) + bytes)
    check(answer != NULL, b"Q-CLIENTS-02 there is memory for an answer")
    check2(place[0] == NULL or mutant(b"client-applies-again"), b"Q-CLIENTS-03 a command is answered once",
           clients.at.session, clients.stamp.sequence)
    answer.index = index
    answer.term = term
    answer.count = count
    answer.bytes = <uint32_t>bytes
    place[0] = answer
    clients.at.highest = max(clients.at.highest, clients.stamp.sequence)
    clients.at.bytes += cost_of(answer)
    clients.bytes += cost_of(answer)
    # The one at hand is the newest, and never goes: alone it stays within its own bound.
    while clients.bytes > clients.bytes_max and clients.oldest != clients.at:
        forget(clients, clients.oldest)
    return answer


cdef void clients_remember(Clients* clients, const Batch* batch, const uint8_t* result, uint64_t bytes) noexcept nogil:
    cdef bint lost = bytes > ANSWER_BYTES_MAX
    cdef Answer* answer = keep_answer(clients, batch.first, batch.term, batch.count - 1, 0 if lost else bytes)
    answer.crc = command_crc(batch)
    answer.lost = lost
    if answer.bytes != 0:
        memcpy(answer.result, result, answer.bytes)


# As bytes

cdef uint64_t clients_saved_bytes(const Clients* clients) noexcept nogil:
    cdef uint64_t total = SAVED_HEADER_BYTES
    cdef const Client* client = clients.oldest
    cdef uint32_t i
    while client != NULL:
        total += SAVED_CLIENT_BYTES
        for i in range(CLIENT_WINDOW):
            if client.answers[i] != NULL:
                total += SAVED_ANSWER_BYTES + client.answers[i].bytes
        client = client.newer
    return total


cdef uint8_t* save_answer(const Answer* answer, uint64_t sequence, uint8_t* out) noexcept nogil:
    put_u64(out, sequence)
    put_u64(out + 8, answer.index)
    put_u64(out + 16, answer.term)
    put_u64(out + 24, answer.count | (<uint64_t>answer.crc << 32))
    put_u64(out + 32, answer.bytes)
    put_u64(out + 40, answer.lost)
    memcpy(out + SAVED_ANSWER_BYTES, answer.result, answer.bytes)
    return out + SAVED_ANSWER_BYTES + answer.bytes


cdef uint8_t* save_client(const Client* client, uint8_t* out) noexcept nogil:
    cdef uint8_t* at = out + SAVED_CLIENT_BYTES
    cdef uint64_t answers = 0
    cdef uint64_t sequence
    for sequence in range(client.answered + 1, client.answered + CLIENT_WINDOW + 1):
        if client.answers[sequence & (CLIENT_WINDOW - 1)] != NULL:
            at = save_answer(client.answers[sequence & (CLIENT_WINDOW - 1)], sequence, at)
            answers += 1
    put_u64(out, client.session)
    put_u64(out + 8, client.used_ns)
    put_u64(out + 16, client.lifetime_ns)
    put_u64(out + 24, client.answered)
    put_u64(out + 32, answers)
    put_u64(out + 40, client.highest)
    put_u64(out + 48, client.life)
    return at


cdef void clients_save(const Clients* clients, uint8_t* out) noexcept nogil:
    cdef const Client* client = clients.oldest
    cdef uint8_t* at = out + SAVED_HEADER_BYTES
    put_u64(out, SAVED_VERSION)
    put_u64(out + 8, clients.count)
    put_u64(out + 16, clients.now_ns)
    while client != NULL:
        at = save_client(client, at)
        client = client.newer
    check2(<uint64_t>(at - out) == clients_saved_bytes(clients), b"Q-CLIENTS-04 a table is saved whole",
           <uint64_t>(at - out), clients.count)


cdef const uint8_t* load_answer(Clients* clients, const uint8_t* at, const uint8_t* end) noexcept nogil:
    """Behind it; NULL: it doesn't make sense."""
    cdef uint64_t size
    cdef Answer* answer
    if <uint64_t>(end - at) < SAVED_ANSWER_BYTES:
        return NULL
    size = get_u64(at + 32)
    clients.stamp.sequence = get_u64(at)
    if size > ANSWER_BYTES_MAX or <uint64_t>(end - at) - SAVED_ANSWER_BYTES < size \
            or clients.stamp.sequence - clients.at.answered - 1 >= CLIENT_WINDOW \
            or answer_at(clients.at, clients.stamp.sequence)[0] != NULL:
        return NULL
    answer = keep_answer(clients, get_u64(at + 8), get_u64(at + 16), <uint32_t>get_u64(at + 24), size)
    answer.crc = <uint32_t>(get_u64(at + 24) >> 32)
    answer.lost = get_u64(at + 40) != 0
    memcpy(answer.result, at + SAVED_ANSWER_BYTES, size)
    return at + SAVED_ANSWER_BYTES + size


cdef const uint8_t* load_client(Clients* clients, const uint8_t* at, const uint8_t* end) noexcept nogil:
    cdef uint64_t answers, _i
    if <uint64_t>(end - at) < SAVED_CLIENT_BYTES or find(clients, get_u64(at)) != NULL:
        return NULL
    clients.at = add(clients, get_u64(at), get_u64(at + 16))
    clients.at.used_ns = get_u64(at + 8)
    clients.at.answered = get_u64(at + 24)
    answers = get_u64(at + 32)
    clients.at.life = get_u64(at + 48)
    clients.at.highest = get_u64(at + 40)
    at += SAVED_CLIENT_BYTES
    if answers > CLIENT_WINDOW:
        return NULL
    for _i in range(answers):
        at = load_answer(clients, at, end)
        if at == NULL:
            return NULL
    return at


cdef int clients_load(Clients* clients, const uint8_t* data, uint64_t size_bytes) noexcept nogil:
    cdef const uint8_t* at = data + SAVED_HEADER_BYTES
    cdef uint64_t count, _i
    check(clients.count == 0, b"Q-CLIENTS-05 a table is loaded when it is empty")
    if size_bytes < SAVED_HEADER_BYTES or get_u64(data) != SAVED_VERSION:
        return ERR_CORRUPT
    count = get_u64(data + 8)
    if count > clients.count_max or size_bytes > 2 * CLIENTS_BYTES_MAX:
        return ERR_CORRUPT
    for _i in range(count):
        at = load_client(clients, at, data + size_bytes)
        if at == NULL:
            return ERR_CORRUPT
    clients.now_ns = get_u64(data + 16)
    return OK if at == data + size_bytes else ERR_CORRUPT
