"""See twophase_participant.pxd."""

from quorumlog._core.base.checks cimport check2
from quorumlog._core.base.mutants cimport mutant
from quorumlog._core.base.status cimport OK
from quorumlog._core.base.types cimport wsn_t
from quorumlog._core.engine.decisions cimport VERDICT_ABORT, VERDICT_COMMIT
from quorumlog._core.engine.transactions cimport (
    BRANCH_ASKED, BRANCH_ASKED_ONE_PHASE, BRANCH_COMMITTED, BRANCH_FREE, BRANCH_PREPARED, BRANCH_READ_ONLY,
    BRANCH_ROLLED_BACK, DO_ALARM, DO_RESOURCE_COMMIT, DO_RESOURCE_PREPARE, DO_RESOURCE_ROLLBACK, DO_SEND, DO_WRITE,
    EFFECTS_MAX, NEVER_NS, PARTICIPANT_TIME, RESOURCE_VOTED, RESTORED, TELL_ACK, TELL_INQUIRY, TELL_VOTE, TOLD_COMMIT,
    TOLD_COMMIT_ONE_PHASE, TOLD_PREPARE, TOLD_ROLLBACK, VOTE_NO, VOTE_READ_ONLY, VOTE_YES, Effect, Effects,
    ParticipantOptions, ParticipantStatus, TransactionEvent, effect_add, effects_have_room,
)
from quorumlog._core.engine.txids cimport (
    TXID_NOWHERE, Txid, txid_before, txids_close, txids_drop, txids_find, txids_open, txids_put)

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

cdef enum:
    NONE = 0xFFFFFFFF
    ROOM_OF_ONE = 4


# --- the table --------------------------------------------------------------------------------

cdef void* participant_open(const ParticipantOptions* options) noexcept nogil:
    cdef Participant* p
    cdef uint32_t i
    if options.branches_max == 0 or options.branches_max > 1 << 20 or options.inquire_ns == 0:
        return NULL
    p = <Participant*>calloc(1, sizeof(Participant))
    if p == NULL:
        return NULL
    p.options = options[0]
    p.table = <Branch*>calloc(options.branches_max, sizeof(Branch))
    if p.table == NULL or txids_open(&p.index, options.branches_max) != OK:
        participant_close(p)
        return NULL
    for i in range(options.branches_max):
        p.table[i].next = i + 1
    p.table[options.branches_max - 1].next = NONE
    return p


cdef void participant_close(void* state) noexcept nogil:
    cdef Participant* p = <Participant*>state
    txids_close(&p.index)
    free(p.table)
    free(p)


cdef Branch* find(const Participant* p, const Txid* txid) noexcept nogil:
    cdef uint32_t place = txids_find(&p.index, txid)
    return &p.table[place] if place != TXID_NOWHERE else NULL


cdef Branch* enter(Participant* p, const TransactionEvent* event, uint8_t state) noexcept nogil:
    """NULL: no room."""
    cdef uint32_t place = p.free_first
    cdef Branch* b
    if place == NONE:
        return NULL
    b = &p.table[place]
    p.free_first = b.next
    memset(b, 0, sizeof(Branch))
    b.txid = event.txid
    b.state = state
    b.coordinator = event.sender
    txids_put(&p.index, &event.txid, place)
    return b


cdef void forget(Participant* p, Branch* b) noexcept nogil:
    txids_drop(&p.index, &b.txid)
    b.state = BRANCH_FREE
    b.next = p.free_first
    p.free_first = <uint32_t>(b - p.table)


cdef inline bint is_tombstone(const Branch* b) noexcept nogil:
    return b.state >= BRANCH_COMMITTED


# --- what coordinators say of themselves ------------------------------------------------------

cdef HeardCoordinator* heard_of(Participant* p, uint64_t id) noexcept nogil:
    """NULL: too many coordinators to know another."""
    cdef uint32_t i
    for i in range(p.heard_count):
        if p.heard[i].id == id:
            return &p.heard[i]
    if p.heard_count == HEARD_COORDINATORS_MAX:
        return NULL
    p.heard_count += 1
    memset(&p.heard[p.heard_count - 1], 0, sizeof(HeardCoordinator))
    p.heard[p.heard_count - 1].id = id
    return &p.heard[p.heard_count - 1]


cdef void forget_finished(Participant* p, const HeardCoordinator* heard) noexcept nogil:
    """No message about what lies below can matter any more."""
    cdef uint32_t i
    cdef Branch* b
    for i in range(p.options.branches_max):
        b = &p.table[i]
        if is_tombstone(b) and b.txid.coordinator == heard.id \
                and txid_before(&b.txid, heard.low_incarnation, heard.low_number):
            forget(p, b)


cdef HeardCoordinator* listen(Participant* p, const TransactionEvent* event) noexcept nogil:
    cdef HeardCoordinator* heard = heard_of(p, event.txid.coordinator)
    cdef Txid low
    if heard == NULL:
        return NULL
    heard.incarnation = max(heard.incarnation, max(event.txid.incarnation, event.low_incarnation))
    low.incarnation = heard.low_incarnation
    low.number = heard.low_number
    if event.low_number != 0 and txid_before(&low, event.low_incarnation, event.low_number):
        heard.low_incarnation = event.low_incarnation
        heard.low_number = event.low_number
        # Not each time: a pass over the table has to be worth it.
        if p.index.count * 2 > p.options.branches_max or event.low_incarnation != low.incarnation:
            forget_finished(p, heard)
    return heard


# --- saying -----------------------------------------------------------------------------------

cdef Effect* send(Branch* b, const TransactionEvent* event, int message, int outcome, wsn_t after_io,
                  Effects* out) noexcept nogil:
    """To whoever asked, or, unasked, to the branch's coordinator."""
    cdef Effect* effect = effect_add(out, DO_SEND, &event.txid if b == NULL else &b.txid)
    effect.message = message
    effect.outcome = outcome
    effect.after_io = after_io
    effect.target = event.sender if event.sender != 0 or b == NULL else b.coordinator
    return effect


cdef void write(Branch* b, const TransactionEvent* event, Effects* out) noexcept nogil:
    """A record of the branch as it is now."""
    cdef Effect* effect = effect_add(out, DO_WRITE, &b.txid)
    effect.outcome = b.state
    effect.target = b.coordinator
    effect.payload = event.payload
    effect.payload_bytes = event.payload_bytes
    b.wsn = event.wsn_next


# --- events -----------------------------------------------------------------------------------

cdef void repeat_vote(Participant* p, Branch* b, const TransactionEvent* event, Effects* out) noexcept nogil:
    """A doubled PREPARE is answered as the first was; a late one finds that it is over."""
    if b.state == BRANCH_PREPARED:
        send(b, event, TELL_VOTE, VOTE_YES, b.wsn, out)
    elif b.state == BRANCH_READ_ONLY:
        send(b, event, TELL_VOTE, VOTE_READ_ONLY, 0, out)
    elif b.state == BRANCH_ROLLED_BACK:
        p.counters.refused_late += 1
        send(b, event, TELL_VOTE, VOTE_NO, b.wsn, out)
    elif b.state == BRANCH_COMMITTED and event.kind == TOLD_COMMIT_ONE_PHASE:
        send(b, event, TELL_ACK, VERDICT_COMMIT, b.wsn, out)


cdef void told_prepare(Participant* p, Branch* b, const TransactionEvent* event, Effects* out) noexcept nogil:
    cdef HeardCoordinator* heard = listen(p, event)
    cdef bint one_phase = event.kind == TOLD_COMMIT_ONE_PHASE
    cdef Effect* effect
    b = find(p, &event.txid)               # its tombstone may have gone
    if b != NULL and not (is_tombstone(b) and mutant(b"twophase-no-tombstones")):
        repeat_vote(p, b, event, out)
        return
    if b != NULL:
        forget(p, b)
    if heard == NULL or ((event.txid.incarnation < heard.incarnation
                          or txid_before(&event.txid, heard.low_incarnation, heard.low_number))
                         and not mutant(b"twophase-no-tombstones")):
        # Late: of a coordinator that is no more, or of a transaction that is over.
        p.counters.refused_late += 1
        send(NULL, event, TELL_VOTE, VOTE_NO, 0, out)
        return
    b = enter(p, event, BRANCH_ASKED_ONE_PHASE if one_phase else BRANCH_ASKED)
    if b == NULL:
        forget_finished(p, heard)
        b = enter(p, event, BRANCH_ASKED_ONE_PHASE if one_phase else BRANCH_ASKED)
    if b == NULL:
        if not one_phase:                  # whose "no" would be a decision that nothing remembers
            send(NULL, event, TELL_VOTE, VOTE_NO, 0, out)
        return
    effect = effect_add(out, DO_RESOURCE_PREPARE, &event.txid)
    effect.payload = event.payload
    effect.payload_bytes = event.payload_bytes


cdef void resource_voted(Participant* p, Branch* b, const TransactionEvent* event, Effects* out) noexcept nogil:
    if b == NULL or (b.state != BRANCH_ASKED and b.state != BRANCH_ASKED_ONE_PHASE):
        return
    if event.vote == VOTE_READ_ONLY:
        b.state = BRANCH_READ_ONLY
        send(b, event, TELL_VOTE, VOTE_READ_ONLY, 0, out)
    elif event.vote != VOTE_YES and b.state == BRANCH_ASKED_ONE_PHASE:
        # Here "no" is the decision: a doubled request after a crash must not decide again.
        b.state = BRANCH_ROLLED_BACK
        write(b, event, out)
        send(b, event, TELL_VOTE, VOTE_NO, 0 if mutant(b"twophase-one-phase-no-before-durable") else b.wsn, out)
    elif event.vote != VOTE_YES:
        b.state = BRANCH_ROLLED_BACK
        send(b, event, TELL_VOTE, VOTE_NO, 0, out)
    elif b.state == BRANCH_ASKED_ONE_PHASE:
        b.state = BRANCH_COMMITTED
        write(b, event, out)
        effect_add(out, DO_RESOURCE_COMMIT, &b.txid)
        send(b, event, TELL_ACK, VERDICT_COMMIT, b.wsn, out)
    else:
        b.state = BRANCH_PREPARED
        b.inquire_at_ns = p.now_ns + p.options.inquire_ns
        write(b, event, out)
        # "YES" is a promise that outlives a power cut.
        send(b, event, TELL_VOTE, VOTE_YES, 0 if mutant(b"twophase-yes-before-durable") else b.wsn, out)


cdef void told_commit(Participant* p, Branch* b, const TransactionEvent* event, Effects* out) noexcept nogil:
    cdef HeardCoordinator* heard = listen(p, event)
    cdef bint over = heard != NULL and txid_before(&event.txid, heard.low_incarnation, heard.low_number)
    b = find(p, &event.txid)
    if b == NULL and over:
        # An old copy, of what has been forgotten here: its record may be younger than the last flush.
        send(NULL, event, TELL_ACK, VERDICT_COMMIT,
             0 if mutant(b"twophase-forgotten-ack-at-once") else event.wsn_next - 1, out)
    elif b == NULL or (b.state != BRANCH_PREPARED and b.state != BRANCH_COMMITTED):
        # Told to commit what was not promised, or was rolled back: somebody lost what it had written.
        p.counters.alarms += 1
        effect_add(out, DO_ALARM, &event.txid).outcome = VERDICT_COMMIT
    elif b.state == BRANCH_COMMITTED and not mutant(b"twophase-commit-twice"):
        send(b, event, TELL_ACK, VERDICT_COMMIT, b.wsn, out)
    else:
        b.state = BRANCH_COMMITTED
        write(b, event, out)
        effect_add(out, DO_RESOURCE_COMMIT, &b.txid)
        # The coordinator forgets upon this: not before it would survive.
        send(b, event, TELL_ACK, VERDICT_COMMIT, 0 if mutant(b"twophase-ack-before-durable") else b.wsn, out)


cdef void told_rollback(Participant* p, Branch* b, const TransactionEvent* event, Effects* out) noexcept nogil:
    cdef HeardCoordinator* heard = listen(p, event)
    b = find(p, &event.txid)
    if b == NULL:
        # A PREPARE may still be on its way: it must find this (A-T4).
        if heard != NULL and event.txid.incarnation >= heard.incarnation \
                and not txid_before(&event.txid, heard.low_incarnation, heard.low_number):
            enter(p, event, BRANCH_ROLLED_BACK)
        send(NULL, event, TELL_ACK, VERDICT_ABORT, 0, out)
        return
    if b.state == BRANCH_COMMITTED:
        # The answer to an old copy of this branch's own yes or inquiry: its coordinator has forgotten it.
        return
    if b.state == BRANCH_PREPARED:
        b.state = BRANCH_ROLLED_BACK
        # Need not be durable before it is said: after a crash it asks, and abort is presumed.
        write(b, event, out)
        effect_add(out, DO_RESOURCE_ROLLBACK, &b.txid)
    elif b.state == BRANCH_ASKED or b.state == BRANCH_ASKED_ONE_PHASE:
        b.state = BRANCH_ROLLED_BACK
        effect_add(out, DO_RESOURCE_ROLLBACK, &b.txid)
    send(b, event, TELL_ACK, VERDICT_ABORT, 0, out)


cdef void restored(Participant* p, Branch* b, const TransactionEvent* event) noexcept nogil:
    """A record of the own log: the newest of a branch counts."""
    cdef HeardCoordinator* heard = heard_of(p, event.txid.coordinator)
    if heard != NULL:
        heard.incarnation = max(heard.incarnation, event.txid.incarnation)
    if b == NULL:
        b = enter(p, event, <uint8_t>event.state)
    check2(b != NULL, b"Q-TWOPHASE-06 there is room for every branch of the own log", p.index.count,
           p.options.branches_max)
    check2(b.state != BRANCH_COMMITTED or event.state == BRANCH_COMMITTED,
           b"Q-TWOPHASE-04 a committed branch stays so", event.state, event.txid.number)
    b.state = <uint8_t>event.state
    b.inquire_at_ns = p.now_ns


cdef void ask_again(Participant* p, const TransactionEvent* event, Effects* out) noexcept nogil:
    """A prepared branch waits, and asks; it never decides (A-T3)."""
    cdef uint32_t i
    cdef Branch* b
    for i in range(p.options.branches_max):
        b = &p.table[i]
        if b.state != BRANCH_PREPARED or b.inquire_at_ns > p.now_ns:
            continue
        if not effects_have_room(out, ROOM_OF_ONE):
            return
        b.inquire_at_ns = p.now_ns + p.options.inquire_ns
        p.counters.inquiries += 1
        if mutant(b"twophase-prepared-gives-up"):
            b.state = BRANCH_ROLLED_BACK
            write(b, event, out)
            effect_add(out, DO_RESOURCE_ROLLBACK, &b.txid)
            continue
        send(b, event, TELL_INQUIRY, 0, b.wsn, out)


cdef uint64_t next_inquiry_ns(const Participant* p) noexcept nogil:
    cdef uint64_t first_ns = NEVER_NS
    cdef uint32_t i
    for i in range(p.options.branches_max):
        if p.table[i].state == BRANCH_PREPARED and (first_ns == NEVER_NS or p.table[i].inquire_at_ns < first_ns):
            first_ns = p.table[i].inquire_at_ns
    return first_ns


cdef void participant_step(void* state, const TransactionEvent* event, Effects* out) noexcept nogil:
    cdef Participant* p = <Participant*>state
    cdef Branch* b = find(p, &event.txid)
    check2(effects_have_room(out, ROOM_OF_ONE), b"Q-TWOPHASE-05 a participant's effects are taken over",
           out.count, EFFECTS_MAX)
    p.now_ns = max(p.now_ns, event.now_ns)
    if event.kind == TOLD_PREPARE or event.kind == TOLD_COMMIT_ONE_PHASE:
        told_prepare(p, b, event, out)
    elif event.kind == RESOURCE_VOTED:
        resource_voted(p, b, event, out)
        if p.inquire_first_ns == NEVER_NS:
            p.inquire_first_ns = p.now_ns + p.options.inquire_ns
    elif event.kind == TOLD_COMMIT:
        told_commit(p, b, event, out)
    elif event.kind == TOLD_ROLLBACK:
        told_rollback(p, b, event, out)
    elif event.kind == RESTORED:
        restored(p, b, event)
        p.inquire_first_ns = max(p.now_ns, 1)
    elif event.kind == PARTICIPANT_TIME:
        ask_again(p, event, out)
        p.inquire_first_ns = next_inquiry_ns(p)
    out.deadline_ns = p.inquire_first_ns


cdef int participant_state_of(const void* state, const Txid* txid) noexcept nogil:
    cdef const Branch* b = find(<const Participant*>state, txid)
    return b.state if b != NULL else BRANCH_FREE


cdef void participant_status(const void* state, ParticipantStatus* out) noexcept nogil:
    cdef const Participant* p = <const Participant*>state
    cdef uint32_t i
    out[0] = p.counters
    for i in range(p.options.branches_max):
        if p.table[i].state == BRANCH_PREPARED:
            out.prepared += 1
        elif p.table[i].state == BRANCH_ASKED or p.table[i].state == BRANCH_ASKED_ONE_PHASE:
            out.asked += 1
        elif is_tombstone(&p.table[i]):
            out.tombstones += 1
