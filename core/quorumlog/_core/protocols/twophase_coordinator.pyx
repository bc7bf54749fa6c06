"""See twophase_coordinator.pxd."""

from quorumlog._core.base.checks cimport check, check2
from quorumlog._core.base.mutants cimport mutant
from quorumlog._core.base.status cimport OK
from quorumlog._core.engine.decisions cimport (
    BRANCHES_MAX, VERDICT_ABORT, VERDICT_COMMIT, VERDICT_FORGOTTEN, VERDICT_FULL, VERDICT_IN_DOUBT, VERDICT_LIVE,
    VERDICT_UNKNOWN, Decisions, decisions_presume,
)
from quorumlog._core.engine.quorum cimport (
    RULE_ALL, RULE_MAJORITY, TALLY_LOST, TALLY_WON, Rule, rule_tally,
)
from quorumlog._core.engine.transactions cimport (
    ASKED_ABORT, ASKED_BEGIN, ASKED_COMMIT, ASKED_ENLIST, BRANCH_NONE, DO_BEGIN, DO_COMMIT, DO_COMMIT_ONE_PHASE,
    DO_DECIDE, DO_END, DO_PREPARE, DO_REPORT, DO_ROLLBACK, DO_SETTLE, EFFECTS_MAX, HEARD_ACK, HEARD_DECISION,
    HEARD_FAILURE, HEARD_INQUIRY, HEARD_TIME, HEARD_UNFINISHED, HEARD_VOTE, NEVER_NS, REASON_ASKED, REASON_FENCED,
    REASON_FULL, REASON_NONE, REASON_TIME, REASON_VOTE, VOTE_NO, VOTE_READ_ONLY, VOTE_UNKNOWN, VOTE_YES,
    CoordinatorOptions, CoordinatorStatus, Effect, Effects, TransactionEvent, effect_add, effects_have_room,
)
from quorumlog._core.engine.txids cimport (
    TXID_NOWHERE, Txid, txids_close, txids_drop, txids_find, txids_open, txids_put)
from quorumlog._core.protocols.twophase_timers cimport timers_first, timers_set

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

cdef enum:
    NONE = 0xFFFFFFFF
    WINDOW_FACTOR = 4                  # numbers between the oldest in hand and the next
    WINDOW_MIN = 64
    ROOM_OF_ONE = 2 * BRANCHES_MAX + 4     # effects that one transaction's step can have


cdef inline uint32_t everyone(const Transaction* t) noexcept nogil:
    return (<uint32_t>1 << t.branch_count) - 1


# --- the table --------------------------------------------------------------------------------

cdef void* coordinator_open(const CoordinatorOptions* options, const Txid* self,
                            const Decisions* decisions) noexcept nogil:
    cdef Coordinator* c
    cdef uint32_t i
    if options.in_hand_max == 0 or options.in_hand_max > 1 << 20 or options.retry_ns == 0:
        return NULL
    c = <Coordinator*>calloc(1, sizeof(Coordinator))
    if c == NULL:
        return NULL
    c.options = options[0]
    c.decisions = decisions
    c.window = WINDOW_MIN
    while c.window < <uint64_t>WINDOW_FACTOR * options.in_hand_max:
        c.window *= 2
    c.table = <Transaction*>calloc(options.in_hand_max, sizeof(Transaction))
    c.heap = <uint32_t*>calloc(options.in_hand_max, sizeof(uint32_t))
    c.open_bits = <uint64_t*>calloc(c.window // 64, sizeof(uint64_t))
    if c.table == NULL or c.heap == NULL or c.open_bits == NULL \
            or txids_open(&c.index, options.in_hand_max) != OK:
        coordinator_close(c)
        return NULL
    for i in range(options.in_hand_max):
        c.table[i].next_free = i + 1
        c.table[i].heap_place = NOT_TIMED
    c.table[options.in_hand_max - 1].next_free = NONE
    coordinator_renew(c, self)
    return c


cdef void coordinator_close(void* state) noexcept nogil:
    cdef Coordinator* c = <Coordinator*>state
    txids_close(&c.index)
    free(c.table)
    free(c.heap)
    free(c.open_bits)
    free(c)


cdef void coordinator_renew(void* state, const Txid* self) noexcept nogil:
    cdef Coordinator* c = <Coordinator*>state
    cdef uint32_t i
    check(self.coordinator != c.self.coordinator or self.incarnation > c.self.incarnation,
          b"Q-TWOPHASE-01 incarnations rise")
    c.self = self[0]
    c.self.number = 1
    c.low = 1
    c.older = 0
    memset(c.open_bits, 0, c.window // 8)
    for i in range(c.options.in_hand_max):
        if c.table[i].state != STATE_FREE and c.table[i].txid.coordinator == self.coordinator:
            c.older += 1


cdef Transaction* find(Coordinator* c, const Txid* txid) noexcept nogil:
    cdef uint32_t place = txids_find(&c.index, txid)
    return &c.table[place] if place != TXID_NOWHERE else NULL


cdef Transaction* enter(Coordinator* c, const Txid* txid) noexcept nogil:
    """NULL: no room."""
    cdef uint32_t place = c.free_first
    cdef Transaction* t
    if place == NONE:
        return NULL
    t = &c.table[place]
    c.free_first = t.next_free
    memset(t, 0, sizeof(Transaction))
    t.txid = txid[0]
    t.heap_place = NOT_TIMED
    t.pause_ns = c.options.retry_ns
    txids_put(&c.index, txid, place)
    return t


cdef inline bint is_of_this_life(const Coordinator* c, const Txid* txid) noexcept nogil:
    return (txid.coordinator == c.self.coordinator and txid.incarnation == c.self.incarnation
            and txid.nonce == c.self.nonce)


cdef void forget(Coordinator* c, Transaction* t) noexcept nogil:
    cdef uint32_t place = <uint32_t>(t - c.table)
    timers_set(c, t, NEVER_NS)
    txids_drop(&c.index, &t.txid)
    if is_of_this_life(c, &t.txid):
        c.open_bits[(t.txid.number % c.window) // 64] &= ~(<uint64_t>1 << (t.txid.number % 64))
        while c.low < c.self.number and \
                c.open_bits[(c.low % c.window) // 64] >> (c.low % 64) & 1 == 0:
            c.low += 1
    elif t.txid.coordinator == c.self.coordinator:
        c.older -= 1
    t.state = STATE_FREE
    t.next_free = c.free_first
    c.free_first = place


# --- effects ----------------------------------------------------------------------------------

cdef Effect* effect_of(Coordinator* c, Transaction* t, int kind, Effects* out) noexcept nogil:
    cdef Effect* effect = effect_add(out, kind, &t.txid)
    effect.cookie = t.cookie
    # Of this coordinator's own; and while one of an earlier life is in hand, nothing is known to be finished.
    if c.older == 0 and t.txid.coordinator == c.self.coordinator:
        effect.low_incarnation = c.self.incarnation
        effect.low_number = c.low
    return effect


cdef void tell(Coordinator* c, Transaction* t, int kind, uint32_t branches, Effects* out) noexcept nogil:
    cdef uint32_t branch
    cdef Effect* effect
    t.in_hand |= branches
    for branch in range(t.branch_count):
        if branches >> branch & 1:
            effect = effect_of(c, t, kind, out)
            effect.branch = branch
            effect.participant = t.branches[branch]


cdef void settle(Coordinator* c, Transaction* t, int outcome, int reason, uint64_t participant,
                 Effects* out) noexcept nogil:
    """Once; what becomes of one in doubt is found out by its id."""
    cdef Effect* effect
    if t.settled:
        return
    t.settled = True
    effect = effect_of(c, t, DO_SETTLE, out)
    effect.outcome = outcome
    effect.reason = reason
    effect.participant = participant


cdef void decide(Coordinator* c, Transaction* t, Effects* out) noexcept nogil:
    """The branches that must commit are in `branch`, as a bit set."""
    t.deciding_in_hand = True
    effect_of(c, t, DO_DECIDE, out).branch = t.yes


cdef void schedule(Coordinator* c, Transaction* t) noexcept nogil:
    """When it next needs a look."""
    cdef uint64_t due_ns = NEVER_NS
    cdef bint retrying = False
    if not t.settled:
        due_ns = t.deadline_ns
    if t.state == STATE_PREPARING or t.state == STATE_ONE_PHASE:
        retrying = c.options.retransmit
    elif t.state == STATE_DECIDING:
        retrying = not t.deciding_in_hand
    elif t.state == STATE_COMMITTING or t.state == STATE_ABORTING:
        retrying = c.options.retransmit or t.owed & ~t.in_hand != 0
    if retrying and (due_ns == NEVER_NS or t.retry_at_ns < due_ns):
        due_ns = t.retry_at_ns
    timers_set(c, t, due_ns)


cdef void pause(Coordinator* c, Transaction* t) noexcept nogil:
    t.retry_at_ns = c.now_ns + t.pause_ns
    t.pause_ns = min(2 * t.pause_ns, c.options.retry_max_ns)


# --- deciding ---------------------------------------------------------------------------------

cdef void abort(Coordinator* c, Transaction* t, int reason, uint64_t participant, Effects* out) noexcept nogil:
    """Nothing is written: presumed abort.  Who may be, or become, prepared is told all the same."""
    t.state = STATE_ABORTING
    t.owed = everyone(t) & ~(t.no | t.read_only)
    c.counters.aborted += 1
    t.pause_ns = c.options.retry_ns
    pause(c, t)
    tell(c, t, DO_ROLLBACK, t.owed, out)
    settle(c, t, VERDICT_ABORT, reason, participant, out)
    if t.owed == 0:
        forget(c, t)
    else:
        schedule(c, t)


cdef void commit(Coordinator* c, Transaction* t, Effects* out) noexcept nogil:
    """The decision log has it."""
    t.state = STATE_COMMITTING
    t.owed = t.yes
    t.in_hand = 0
    c.counters.committed += 1
    t.pause_ns = c.options.retry_ns
    pause(c, t)
    tell(c, t, DO_COMMIT, t.owed, out)
    settle(c, t, VERDICT_COMMIT, REASON_NONE, 0, out)
    schedule(c, t)


cdef void finish_empty(Coordinator* c, Transaction* t, Effects* out) noexcept nogil:
    """Nobody has anything to commit."""
    c.counters.committed += 1
    settle(c, t, VERDICT_COMMIT, REASON_NONE, 0, out)
    forget(c, t)


cdef void tally(Coordinator* c, Transaction* t, uint64_t participant, Effects* out) noexcept nogil:
    """The quorum engine's rule *all*: one refusal loses, only all votes win."""
    cdef Rule rule
    cdef int won
    memset(&rule, 0, sizeof(Rule))
    rule.kind = RULE_MAJORITY if mutant(b"twophase-majority-commits") else RULE_ALL
    rule.members = everyone(t)
    won = rule_tally(&rule, t.yes | t.read_only, t.no | t.unknown)
    if won == TALLY_LOST:
        abort(c, t, REASON_VOTE, participant, out)
    elif won == TALLY_WON and t.yes == 0:
        finish_empty(c, t, out)
    elif won == TALLY_WON:
        t.state = STATE_DECIDING
        decide(c, t, out)
        if mutant(b"twophase-commit-before-decided"):
            tell(c, t, DO_COMMIT, t.yes, out)
        pause(c, t)
        schedule(c, t)
    else:
        schedule(c, t)


# --- events -----------------------------------------------------------------------------------

cdef void begin(Coordinator* c, const TransactionEvent* event, Effects* out) noexcept nogil:
    cdef Transaction* t
    cdef Txid none
    if c.free_first == NONE or c.self.number - c.low >= c.window:
        memset(&none, 0, sizeof(Txid))
        effect_add(out, DO_BEGIN, &none).cookie = event.cookie
        return
    t = enter(c, &c.self)
    t.state = STATE_ACTIVE
    t.cookie = event.cookie
    t.deadline_ns = event.deadline_ns
    c.open_bits[(c.self.number % c.window) // 64] |= <uint64_t>1 << (c.self.number % 64)
    c.self.number += 1
    c.counters.begun += 1
    effect_of(c, t, DO_BEGIN, out)
    schedule(c, t)


cdef void ask_commit(Coordinator* c, Transaction* t, Effects* out) noexcept nogil:
    if t.branch_count == 0:
        finish_empty(c, t, out)
        return
    pause(c, t)
    t.asked = everyone(t)
    if t.branch_count == 1 and c.options.one_phase:
        t.state = STATE_ONE_PHASE
        tell(c, t, DO_COMMIT_ONE_PHASE, t.asked, out)
    else:
        t.state = STATE_PREPARING
        tell(c, t, DO_PREPARE, t.asked, out)
    schedule(c, t)


cdef void presume(Coordinator* c, const Txid* txid, uint64_t participant, Effects* out) noexcept nogil:
    """Somebody holds prepared what is not in hand here: the decision log says what it means."""
    cdef int said = decisions_presume(c.decisions, txid)
    cdef Effect* effect
    if said == VERDICT_LIVE and is_of_this_life(c, txid):
        # Begun here and over; or a number that this log has not given out: it was restored from a copy.
        said = VERDICT_ABORT if txid.number < c.self.number else VERDICT_IN_DOUBT
    if said == VERDICT_COMMIT:
        effect = effect_add(out, DO_COMMIT, txid)
    elif said == VERDICT_ABORT:
        effect = effect_add(out, DO_ROLLBACK, txid)
    else:
        effect = effect_add(out, DO_REPORT, txid)
        effect.outcome = said
    effect.participant = participant


cdef uint32_t branch_of(const Transaction* t, uint64_t participant) noexcept nogil:
    """BRANCH_NONE: of whoever is no branch of it."""
    cdef uint32_t branch
    for branch in range(t.branch_count):
        if t.branches[branch] == participant:
            return branch
    return BRANCH_NONE


cdef void inquire(Coordinator* c, Transaction* t, const TransactionEvent* event, Effects* out) noexcept nogil:
    cdef uint32_t branch
    if t == NULL or mutant(b"twophase-sweep-live"):
        presume(c, &event.txid, event.participant, out)
        return
    branch = branch_of(t, event.participant)
    if t.state == STATE_COMMITTING and branch != BRANCH_NONE and t.owed >> branch & 1:
        tell(c, t, DO_COMMIT, <uint32_t>1 << branch, out)
    elif t.state == STATE_ABORTING and branch != BRANCH_NONE:
        t.owed |= <uint32_t>1 << branch
        tell(c, t, DO_ROLLBACK, <uint32_t>1 << branch, out)
    else:
        effect_add(out, DO_REPORT, &t.txid).outcome = VERDICT_LIVE


cdef void take_vote(Coordinator* c, Transaction* t, uint32_t branch, int vote, Effects* out) noexcept nogil:
    cdef uint32_t bit = <uint32_t>1 << branch
    t.in_hand &= ~bit
    if t.state == STATE_ABORTING:
        # The decision stands (A-T8): a late yes is told to roll back.
        if vote == VOTE_YES:
            c.counters.late_votes += 1
            if mutant(b"twophase-late-yes-commits"):
                t.yes |= bit
                commit(c, t, out)
                return
            t.owed |= bit
            tell(c, t, DO_ROLLBACK, bit, out)
        elif vote == VOTE_NO or vote == VOTE_READ_ONLY:
            t.owed &= ~bit
        if t.owed == 0:
            forget(c, t)
        else:
            schedule(c, t)
        return
    if t.state == STATE_ONE_PHASE:
        if vote == VOTE_NO:
            t.no |= bit
            abort(c, t, REASON_VOTE, t.branches[branch], out)
        elif vote == VOTE_READ_ONLY:
            finish_empty(c, t, out)
        elif vote == VOTE_UNKNOWN:
            settle(c, t, VERDICT_IN_DOUBT, REASON_VOTE, t.branches[branch], out)
            forget(c, t)
        return
    if t.state != STATE_PREPARING:
        return
    if vote == VOTE_YES:
        t.yes |= bit
    elif vote == VOTE_READ_ONLY:
        t.read_only |= bit
    elif vote == VOTE_NO:
        t.no |= bit
    else:
        t.unknown |= bit
    tally(c, t, t.branches[branch], out)


cdef void take_decision(Coordinator* c, Transaction* t, int verdict, Effects* out) noexcept nogil:
    """What the log says, whatever was asked of it."""
    if t.state == STATE_COMMITTING:
        check2(verdict == VERDICT_COMMIT or verdict == VERDICT_UNKNOWN,
               b"Q-TWOPHASE-02 the decision log never contradicts itself", verdict, t.txid.number)
    if t.state != STATE_DECIDING:
        return
    t.deciding_in_hand = False
    if verdict == VERDICT_COMMIT:
        commit(c, t, out)
    elif verdict == VERDICT_UNKNOWN:
        pause(c, t)
        schedule(c, t)
    elif verdict == VERDICT_FORGOTTEN:
        # Finished by another, one way or the other; whoever is still prepared asks, and is told which.
        settle(c, t, VERDICT_IN_DOUBT, REASON_FENCED, 0, out)
        forget(c, t)
    else:
        t.in_hand = 0
        abort(c, t, REASON_FULL if verdict == VERDICT_FULL else REASON_FENCED, 0, out)


cdef void take_ack(Coordinator* c, Transaction* t, uint32_t branch, Effects* out) noexcept nogil:
    cdef uint32_t bit = <uint32_t>1 << branch
    t.in_hand &= ~bit
    if t.state == STATE_ONE_PHASE:
        finish_empty(c, t, out)
        return
    if t.state != STATE_COMMITTING and t.state != STATE_ABORTING:
        return
    t.owed &= ~bit
    if t.owed != 0 and not mutant(b"twophase-end-at-first-ack"):
        schedule(c, t)
        return
    if t.state == STATE_COMMITTING:
        effect_of(c, t, DO_END, out)
    forget(c, t)


cdef void take_failure(Coordinator* c, Transaction* t, uint32_t branch) noexcept nogil:
    """It could not be told: the decision and the record stay, and it is told again (A-T9)."""
    t.in_hand &= ~(<uint32_t>1 << branch)
    pause(c, t)
    schedule(c, t)


cdef void take_unfinished(Coordinator* c, const TransactionEvent* event, Effects* out) noexcept nogil:
    cdef Transaction* t
    cdef Effect* effect
    cdef uint32_t i
    if find(c, &event.txid) != NULL:
        return
    t = enter(c, &event.txid)
    if t == NULL:
        effect = effect_add(out, DO_REPORT, &event.txid)
        effect.outcome = VERDICT_FULL
        return
    if is_of_this_life(c, &event.txid):
        c.open_bits[(t.txid.number % c.window) // 64] |= <uint64_t>1 << (t.txid.number % 64)
    elif t.txid.coordinator == c.self.coordinator:
        c.older += 1
    t.branch_count = <unsigned char>event.branch_count
    for i in range(event.branch_count):
        t.branches[i] = event.branches[i]
    t.settled = True
    t.yes = t.asked = everyone(t)
    commit(c, t, out)
    if t.owed == 0:
        effect_of(c, t, DO_END, out)
        forget(c, t)


# --- time -------------------------------------------------------------------------------------

cdef void retry(Coordinator* c, Transaction* t, Effects* out) noexcept nogil:
    cdef uint32_t again = <uint32_t>0xFFFFFFFF if c.options.retransmit else ~t.in_hand
    pause(c, t)
    c.counters.retries += 1
    if t.state == STATE_PREPARING:
        tell(c, t, DO_PREPARE, t.asked & ~(t.yes | t.read_only | t.no | t.unknown), out)
    elif t.state == STATE_ONE_PHASE:
        tell(c, t, DO_COMMIT_ONE_PHASE, t.asked, out)
    elif t.state == STATE_DECIDING:
        if not t.deciding_in_hand:
            decide(c, t, out)
    elif t.state == STATE_COMMITTING:
        tell(c, t, DO_COMMIT, t.owed & again, out)
    elif t.state == STATE_ABORTING:
        tell(c, t, DO_ROLLBACK, t.owed & again, out)
    schedule(c, t)


cdef void out_of_time(Coordinator* c, Transaction* t, Effects* out) noexcept nogil:
    """The caller waits no longer.  Only what the log was not asked about may be aborted."""
    if t.state == STATE_ACTIVE or t.state == STATE_PREPARING \
            or (t.state == STATE_DECIDING and mutant(b"twophase-time-aborts-decided")):
        abort(c, t, REASON_TIME, 0, out)
    else:
        settle(c, t, VERDICT_IN_DOUBT, REASON_TIME, 0, out)
        schedule(c, t)


cdef void take_time(Coordinator* c, Effects* out) noexcept nogil:
    cdef Transaction* t
    while effects_have_room(out, ROOM_OF_ONE):
        t = timers_first(c)
        if t == NULL or t.due_ns > c.now_ns:
            return
        if not t.settled and t.deadline_ns != NEVER_NS and t.deadline_ns <= c.now_ns:
            out_of_time(c, t, out)
        else:
            retry(c, t, out)


# --- the step ---------------------------------------------------------------------------------

cdef void step_transaction(Coordinator* c, Transaction* t, const TransactionEvent* event,
                           Effects* out) noexcept nogil:
    if event.kind == ASKED_ENLIST:
        if t.state == STATE_ACTIVE and t.branch_count < BRANCHES_MAX \
                and branch_of(t, event.participant) == BRANCH_NONE:
            t.branches[t.branch_count] = event.participant
            t.branch_count += 1
    elif event.kind == ASKED_COMMIT:
        if t.state == STATE_ACTIVE:
            ask_commit(c, t, out)
    elif event.kind == ASKED_ABORT:
        if t.state == STATE_ACTIVE or t.state == STATE_PREPARING:
            abort(c, t, REASON_ASKED, 0, out)
    elif event.kind == HEARD_DECISION:
        take_decision(c, t, event.verdict, out)
        return
    branch = branch_of(t, event.participant)
    if branch == BRANCH_NONE:
        return
    if event.kind == HEARD_VOTE:
        take_vote(c, t, branch, event.vote, out)
    elif event.kind == HEARD_ACK:
        take_ack(c, t, branch, out)
    elif event.kind == HEARD_FAILURE:
        take_failure(c, t, branch)


cdef void coordinator_step(void* state, const TransactionEvent* event, Effects* out) noexcept nogil:
    cdef Coordinator* c = <Coordinator*>state
    cdef Transaction* t = find(c, &event.txid)
    check2(effects_have_room(out, ROOM_OF_ONE), b"Q-TWOPHASE-03 effects are taken over after each step",
           out.count, EFFECTS_MAX)
    c.now_ns = max(c.now_ns, event.now_ns)
    if event.kind == ASKED_BEGIN:
        begin(c, event, out)
    elif event.kind == HEARD_INQUIRY:
        inquire(c, t, event, out)
    elif event.kind == HEARD_UNFINISHED:
        take_unfinished(c, event, out)
    elif event.kind == HEARD_TIME:
        take_time(c, out)
    elif t != NULL:
        step_transaction(c, t, event, out)
    elif event.kind == HEARD_VOTE and event.vote == VOTE_YES:
        # Of one that is over: as if it had asked.
        presume(c, &event.txid, event.participant, out)
    t = timers_first(c)
    out.deadline_ns = t.due_ns if t != NULL else <uint64_t>NEVER_NS


cdef void coordinator_status(const void* state, CoordinatorStatus* out) noexcept nogil:
    cdef const Coordinator* c = <const Coordinator*>state
    cdef uint32_t i
    cdef int at
    out[0] = c.counters
    out.in_hand = c.index.count
    for i in range(c.options.in_hand_max):
        at = c.table[i].state
        out.preparing += at == STATE_PREPARING
        out.deciding += at == STATE_DECIDING
        out.committing += at == STATE_COMMITTING
        out.aborting += at == STATE_ABORTING
