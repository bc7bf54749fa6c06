"""What is known to be chosen; see paxos_learner.pxd."""

from libc.stdint cimport uint32_t, uint64_t

from quorumlog._core.base.checks cimport check2
from quorumlog._core.base.mutants cimport mutant
from quorumlog._core.base.status cimport OK
from quorumlog._core.base.types cimport index_t, node_t
from quorumlog._core.engine.log cimport log_batch
from quorumlog._core.engine.message cimport MESSAGE_BATCHES_MAX
from quorumlog._core.engine.outbox cimport outbox_attach, outbox_fetch, outbox_has_room
from quorumlog._core.protocols.paxos_records cimport paxos_message
from quorumlog._core.protocols.paxos_state cimport PAXOS_LEARN, PAXOS_TAUGHT, LearnFields, Slot, number_max
from quorumlog._core.protocols.paxos_window cimport (
    same_value, window_accept, window_advance, window_at, window_covers, window_holds)
from quorumlog._core.storage.batch cimport IDENTITY_BYTES, KIND_BLANK, KIND_ENTRIES, Batch

cdef enum:
    TAUGHT_BYTES_MAX = 1 << 20     # of one answer; one batch may exceed it


cdef void learner_heard(Paxos* paxos, Outbox* out, index_t chosen) noexcept nogil:
    paxos.chosen_heard = max(paxos.chosen_heard, chosen)
    # One value per ballot and slot: what was accepted in the leader's ballot is what it calls chosen.  A value of
    # an earlier ballot may be another one.
    while paxos.chosen < chosen and (
            window_holds(paxos, paxos.chosen + 1, paxos.promised_round, paxos.promised_node)
            or (mutant(b"paxos-learns-any-ballot") and window_covers(paxos, paxos.chosen + 1)
                and window_at(paxos, paxos.chosen + 1).batch != NULL)):
        paxos.chosen += 1
    window_advance(paxos, out)
    if paxos.chosen < chosen and paxos.leader != 0:
        learner_ask(paxos, out, paxos.leader)


cdef void learner_ask(Paxos* paxos, Outbox* out, node_t node) noexcept nogil:
    if node == paxos.self or (paxos.teacher == node and paxos.now_ns < paxos.taught_by_ns):
        return
    if paxos.chosen >= paxos.log.last + paxos.window_slots:
        return                         # it couldn't take more before these are durable
    paxos.teacher = node
    paxos.taught_by_ns = paxos.now_ns + 2 * paxos.heartbeat_ns
    (<LearnFields*>paxos_message(paxos, out, PAXOS_LEARN, node).fields).first = paxos.chosen + 1


cdef void learner_go_on(Paxos* paxos, Outbox* out) noexcept nogil:
    if paxos.chosen < paxos.chosen_heard and paxos.leader != 0:
        learner_ask(paxos, out, paxos.leader)


# Teaching

cdef Message* taught_message(Paxos* paxos, Outbox* out, node_t node, index_t first) noexcept nogil:
    cdef Message* message = paxos_message(paxos, out, PAXOS_TAUGHT, node)
    cdef LearnFields* fields = <LearnFields*>message.fields
    fields.first = first
    fields.chosen = paxos.log.last
    fields.head = paxos.log.first
    return message


cdef bint learner_on_ask(Paxos* paxos, Outbox* out, const Message* message) noexcept nogil:
    cdef index_t first = (<const LearnFields*>message.fields).first
    cdef Message* reply
    cdef Batch* batch
    cdef uint64_t bytes = 0
    if first == 0 or first > number_max():
        return False
    if first > paxos.log.last or first < paxos.log.first:
        taught_message(paxos, out, message.sender, first)      # nothing to teach, or it needs a snapshot
        return True
    if log_batch(paxos.log, first) == NULL:
        outbox_fetch(out, message.sender, first, TAUGHT_BYTES_MAX)
        return True
    if not outbox_has_room(out, MESSAGE_BATCHES_MAX):
        return True                    # it asks again
    reply = taught_message(paxos, out, message.sender, first)
    while first <= paxos.log.last and reply.batch_count < MESSAGE_BATCHES_MAX:
        batch = log_batch(paxos.log, first)
        bytes += IDENTITY_BYTES + batch.body_bytes
        if reply.batch_count > 0 and bytes > TAUGHT_BYTES_MAX:
            break
        outbox_attach(out, reply, batch)
        first += 1
    return True


cdef void learner_on_fetched(Paxos* paxos, Outbox* out, const Event* event) noexcept nogil:
    cdef Message* reply
    cdef uint32_t i
    cdef uint64_t bytes = 0
    if event.status != OK or event.batch_count == 0:
        return                         # it asks again, this node or another
    if not outbox_has_room(out, MESSAGE_BATCHES_MAX):
        return
    reply = taught_message(paxos, out, event.peer, event.batches[0].first)
    for i in range(event.batch_count):
        bytes += IDENTITY_BYTES + event.batches[i].body_bytes
        if reply.batch_count == MESSAGE_BATCHES_MAX or (i > 0 and bytes > TAUGHT_BYTES_MAX) \
                or event.batches[i].first != event.batches[0].first + i or event.batches[i].first > paxos.log.last:
            break
        outbox_attach(out, reply, event.batches[i])


# Being taught

cdef bint is_value(const Paxos* paxos, const Batch* batch) noexcept nogil:
    return (batch.slot != 0 and batch.group == paxos.group and batch.term > 0 and batch.ballot_node != 0
            and (batch.kind == KIND_ENTRIES or batch.kind == KIND_BLANK))


cdef bint learn(Paxos* paxos, Outbox* out, Batch* batch) noexcept nogil:
    """The next slot's chosen value.  False: it contradicts what is known."""
    cdef Slot* at = window_at(paxos, batch.first)
    if at.batch == NULL or not same_value(at.batch, batch):
        if at.proposed:
            return False               # of two chosen values one is a lie
        window_accept(paxos, out, batch)
    paxos.chosen = batch.first
    return True


cdef bint learner_on_taught(Paxos* paxos, Outbox* out, const Message* message) noexcept nogil:
    cdef const LearnFields* fields = <const LearnFields*>message.fields
    cdef Batch* batch
    cdef uint32_t i
    cdef index_t before = paxos.chosen
    if fields.first > number_max() or fields.chosen > number_max():
        return False
    for i in range(message.batch_count):
        batch = message.batches[i]
        if batch.first != fields.first + i or batch.first > fields.chosen or not is_value(paxos, batch):
            return False
        if batch.first <= paxos.chosen:
            continue
        if batch.first != paxos.chosen + 1 or batch.first > paxos.log.last + paxos.window_slots:
            break                      # more when these are durable
        if not learn(paxos, out, batch):
            return False
    check2(paxos.chosen >= before, b"Q-PAXOS-20 what is chosen stays so", paxos.chosen, before)
    if message.sender == paxos.teacher and paxos.chosen > before:
        paxos.teacher = 0              # else the next question waits its time
    # What was accepted in the leader's ballot may join up with what was just learnt.
    learner_heard(paxos, out, max(paxos.chosen_heard, paxos.chosen))
    if paxos.chosen > before and paxos.chosen < fields.chosen:
        learner_ask(paxos, out, message.sender)
    return True
