"""The invariants of a simulated Paxos group; see ledger_slots.pxd."""

from quorumlog._core.base.checks cimport check
from quorumlog._core.base.types cimport NODES_MAX, index_t, node_t, term_t, wsn_t
from quorumlog._core.engine.protocol cimport ROLE_LEADER
from quorumlog._core.simulation.ledger cimport (
    content_of, ledger_committed_last, ledger_fail)
from quorumlog._core.simulation.ledger_committed cimport committed_slot
from quorumlog._core.simulation.slot_account cimport Accepted, Choice, SlotAccount, Vote
from quorumlog._core.storage.batch cimport KIND_BLANK, KIND_CHOSEN, KIND_ENTRIES

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memset


cdef SlotLedger* slots_open() noexcept nogil:
    cdef SlotLedger* slots = <SlotLedger*>calloc(1, sizeof(SlotLedger))
    cdef uint32_t i
    check(slots != NULL, b"Q-LEDGER-20 there is memory for a ledger of slots")
    slots.vote_capacity = 1024
    slots.votes = <Vote*>calloc(slots.vote_capacity, sizeof(Vote))
    check(slots.votes != NULL, b"Q-LEDGER-21 there is memory for votes")
    for i in range(NODES_MAX):
        slots.accounts[i].head = 1
    return slots


cdef void slots_close(SlotLedger* slots) noexcept nogil:
    cdef uint32_t i
    if slots == NULL:
        return
    for i in range(NODES_MAX):
        free(slots.accounts[i].accepted)
        free(slots.accounts[i].before)
    free(slots.votes)
    free(slots.choices)
    free(slots)


cdef bint below(term_t round, node_t node, term_t other_round, node_t other_node) noexcept nogil:
    return round < other_round or (round == other_round and node < other_node)


# --- who accepted what ------------------------------------------------------------------

cdef Vote* vote_place(const SlotLedger* slots, index_t slot, term_t round, node_t node) noexcept nogil:
    cdef uint64_t hash = ((slot * 0x9E3779B97F4A7C15ULL) ^ (round * 0xC2B2AE3D27D4EB4FULL) ^ (node << 17))
    cdef uint32_t place = <uint32_t>(hash >> 20) & (slots.vote_capacity - 1)
    cdef Vote* vote
    while True:
        vote = &slots.votes[place]
        if vote.slot == 0 or (vote.slot == slot and vote.round == round and vote.node == node):
            return vote
        place = (place + 1) & (slots.vote_capacity - 1)


cdef void grow_votes(SlotLedger* slots) noexcept nogil:
    cdef Vote* old = slots.votes
    cdef uint32_t capacity = slots.vote_capacity
    cdef uint32_t i
    slots.vote_capacity = 2 * capacity
    slots.votes = <Vote*>calloc(slots.vote_capacity, sizeof(Vote))
    check(slots.votes != NULL, b"Q-LEDGER-22 there is memory for votes")
    for i in range(capacity):
        if old[i].slot != 0:
            vote_place(slots, old[i].slot, old[i].round, old[i].node)[0] = old[i]
    free(old)


cdef Choice* choice_of(SlotLedger* slots, index_t slot) noexcept nogil:
    cdef uint64_t capacity = 1024 if slots.choice_capacity == 0 else slots.choice_capacity
    while capacity <= slot:
        capacity *= 2
    if capacity != slots.choice_capacity:
        slots.choices = <Choice*>realloc(slots.choices, capacity * sizeof(Choice))
        check(slots.choices != NULL, b"Q-LEDGER-23 there is memory for what is chosen")
        memset(&slots.choices[slots.choice_capacity], 0, (capacity - slots.choice_capacity) * sizeof(Choice))
        slots.choice_capacity = capacity
    return &slots.choices[slot]


cdef void propose(Ledger* ledger, uint32_t node, const Accepted* entry) noexcept nogil:
    """A value in a ballot, seen for the first time: P2b, "if a proposal with value v is chosen, then every
    higher-numbered proposal issued by any proposer has value v"."""
    cdef SlotLedger* slots = ledger.slots
    cdef Vote* vote = vote_place(slots, entry.slot, entry.round, entry.node)
    cdef const Choice* choice = choice_of(slots, entry.slot)
    if vote.slot != 0:
        if vote.content != entry.content:
            ledger_fail(ledger, b"a ballot has two values in one slot", node, entry.slot, entry.round)
        return
    vote.slot = entry.slot
    vote.round = entry.round
    vote.node = entry.node
    vote.content = entry.content
    slots.vote_count += 1
    if choice.chosen and below(choice.round, choice.node, entry.round, entry.node):
        slots.proposed_again += 1
        if choice.content != entry.content:
            ledger_fail(ledger, b"P2b: another value was proposed where one was chosen", node, entry.slot, entry.round)
    if 2 * slots.vote_count > slots.vote_capacity:
        grow_votes(slots)


cdef uint32_t bits(uint32_t set) noexcept nogil:
    cdef uint32_t count = 0
    while set:
        set &= set - 1
        count += 1
    return count


cdef void accept_durably(Ledger* ledger, uint32_t node, const Accepted* entry) noexcept nogil:
    cdef SlotLedger* slots = ledger.slots
    cdef Vote* vote = vote_place(slots, entry.slot, entry.round, entry.node)
    cdef Choice* choice
    vote.durable |= <uint32_t>1 << node
    if 2 * bits(vote.durable) <= ledger.node_count:
        return
    choice = choice_of(slots, entry.slot)
    if choice.chosen:
        if choice.content != entry.content:
            ledger_fail(ledger, b"two values are chosen in one slot", node, entry.slot, entry.round)
        if below(vote.round, vote.node, choice.round, choice.node):
            choice.round = vote.round
            choice.node = vote.node
        return
    choice.chosen = True
    choice.round = vote.round
    choice.node = vote.node
    choice.content = vote.content


cdef const Accepted* newest(const Accepted* accepted, uint32_t count, index_t slot) noexcept nogil:
    """The newest record of a slot, or NULL."""
    while count > 0:
        count -= 1
        if accepted[count].slot == slot:
            return &accepted[count]
    return NULL


cdef void add(Ledger* ledger, uint32_t node, const Batch* batch, wsn_t wsn) noexcept nogil:
    cdef SlotAccount* account = &ledger.slots.accounts[node]
    cdef Accepted* entry
    if account.accepted_count == account.accepted_capacity:
        account.accepted_capacity = 2 * account.accepted_capacity + 64
        account.accepted = <Accepted*>realloc(account.accepted, account.accepted_capacity * sizeof(Accepted))
        check(account.accepted != NULL, b"Q-LEDGER-24 there is memory for a node's accepts")
    entry = &account.accepted[account.accepted_count]
    entry.slot = batch.first
    entry.round = batch.term
    entry.node = batch.ballot_node
    entry.content = content_of(batch)
    entry.wsn = wsn
    account.accepted_count += 1
    propose(ledger, node, entry)


cdef void slots_wrote(Ledger* ledger, uint32_t node, const Batch* batch, wsn_t wsn) noexcept nogil:
    cdef SlotAccount* account = &ledger.slots.accounts[node]
    cdef const Choice* choice
    if batch.kind == KIND_CHOSEN:
        account.mark_written = batch.first - 1
        account.mark_wsn = wsn
    if batch.kind != KIND_ENTRIES and batch.kind != KIND_BLANK:
        return
    if not batch.slot:
        ledger_fail(ledger, b"a record of a Paxos group has no slot", node, batch.first, batch.term)
        return
    choice = choice_of(ledger.slots, batch.first)
    # P1a; a chosen value may be written down in whatever ballot it comes.
    if below(batch.term, batch.ballot_node, account.round, account.node) \
            and not (choice.chosen and choice.content == content_of(batch)):
        ledger_fail(ledger, b"P1a: accepted below the promise", node, batch.first, batch.term)
    add(ledger, node, batch, wsn)


cdef void slots_flushed(Ledger* ledger, uint32_t node, wsn_t wsn) noexcept nogil:
    cdef SlotAccount* account = &ledger.slots.accounts[node]
    while account.durable_count < account.accepted_count \
            and account.accepted[account.durable_count].wsn <= wsn:
        accept_durably(ledger, node, &account.accepted[account.durable_count])
        account.durable_count += 1
    if account.mark_wsn != 0 and account.mark_wsn <= wsn:
        account.marked = max(account.marked, account.mark_written)
    promise(account, wsn)


# --- promises ---------------------------------------------------------------------------

cdef void promise(SlotAccount* account, wsn_t flushed) noexcept nogil:
    """It binds for ever once it can have been spoken of."""
    if account.promise_wsn <= flushed and below(account.said_round, account.said_node, account.round, account.node):
        account.said_round = account.round
        account.said_node = account.node


cdef void slots_stepped(Ledger* ledger, uint32_t node, const GroupStatus* status, wsn_t wsn_last) noexcept nogil:
    cdef SlotAccount* account = &ledger.slots.accounts[node]
    if below(status.term, status.vote, account.round, account.node):
        ledger_fail(ledger, b"a promise moved back", node, status.term, account.round)
    if below(status.term, status.vote, account.said_round, account.said_node):
        ledger_fail(ledger, b"a promise that was spoken is forgotten", node, status.term, account.said_round)
    if status.term != account.round or status.vote != account.node:
        account.round = status.term
        account.node = status.vote
        account.promise_wsn = wsn_last
        promise(account, ledger.accounts[node].flushed)
    if status.role == ROLE_LEADER and status.vote != node + 1:
        ledger_fail(ledger, b"a leader of another's ballot", node, status.term, status.vote)
    check_commit(ledger, node, status)
    if account.commit < account.marked:
        ledger_fail(ledger, b"a durable chosen mark is forgotten", node, account.commit, account.marked)
    if account.mark_wsn != 0 and account.mark_written > account.commit:
        ledger_fail(ledger, b"slots were marked chosen that are not known to be", node, account.mark_written,
                    account.commit)


# --- what is called chosen ----------------------------------------------------------------

cdef void check_commit(Ledger* ledger, uint32_t node, const GroupStatus* status) noexcept nogil:
    cdef SlotAccount* account = &ledger.slots.accounts[node]
    cdef const Accepted* own
    cdef const Choice* choice
    cdef index_t slot
    if status.commit < account.commit:
        ledger_fail(ledger, b"what is chosen moved back", node, status.commit, account.commit)
        return
    for slot in range(max(account.commit + 1, account.head), status.commit + 1):
        choice = choice_of(ledger.slots, slot)
        own = newest(account.accepted, account.accepted_count, slot)
        if not choice.chosen:
            ledger_fail(ledger, b"called chosen, and no quorum has accepted it durably", node, slot, status.term)
            return
        if own == NULL or own.content != choice.content:
            ledger_fail(ledger, b"a node holds another value than the chosen one", node, slot, status.term)
            return
        if own.wsn > ledger.accounts[node].flushed:
            ledger_fail(ledger, b"applied before it is durable here", node, slot, own.wsn)
        if slot > ledger_committed_last(ledger):
            committed_slot(ledger, node, slot, choice.round, choice.content)
    account.commit = status.commit


# --- coming back ------------------------------------------------------------------------

cdef void slots_back(Ledger* ledger, uint32_t node, index_t first) noexcept nogil:
    cdef SlotAccount* account = &ledger.slots.accounts[node]
    if first > account.head:
        ledger_fail(ledger, b"recovery lost the head of a log", node, first, account.head)
    if account.before == NULL:
        account.before = account.accepted
        account.before_count = account.accepted_count
    else:
        free(account.accepted)         # a start that was cut short
    account.accepted = NULL
    account.accepted_count = 0
    account.accepted_capacity = 0
    account.durable_count = 0
    account.head = first
    account.commit = 0
    account.round = 0
    account.node = 0
    account.promise_wsn = 0
    account.mark_wsn = 0


cdef void slots_found(Ledger* ledger, uint32_t node, const Batch* batch) noexcept nogil:
    if vote_place(ledger.slots, batch.first, batch.term, batch.ballot_node).slot == 0:
        ledger_fail(ledger, b"recovery found what nobody proposed", node, batch.first, batch.term)
    add(ledger, node, batch, 0)


cdef void slots_back_end(Ledger* ledger, uint32_t node) noexcept nogil:
    """Said is within recovered: of each slot the newest flushed accept is there, or a later one."""
    cdef SlotAccount* account = &ledger.slots.accounts[node]
    cdef const Accepted* old
    cdef const Accepted* now
    cdef uint32_t i, k
    cdef bint later
    for i in range(account.before_count):
        old = &account.before[i]
        if old.wsn > ledger.accounts[node].flushed or old.slot < account.head:
            continue
        now = newest(account.accepted, account.accepted_count, old.slot)
        if now == NULL:
            ledger_fail(ledger, b"recovery lost a flushed accept", node, old.slot, old.round)
            return
        later = False
        for k in range(i, account.before_count):
            later |= (account.before[k].slot == now.slot and account.before[k].round == now.round
                      and account.before[k].node == now.node)
        if not later:
            ledger_fail(ledger, b"recovery went back to an earlier accept", node, old.slot, now.round)
            return
    free(account.before)
    account.before = NULL
    account.before_count = 0


cdef void slots_compacted(Ledger* ledger, uint32_t node, index_t first) noexcept nogil:
    cdef SlotAccount* account = &ledger.slots.accounts[node]
    if first > account.commit + 1:
        ledger_fail(ledger, b"what is not chosen was compacted", node, first, account.commit)
    account.head = max(account.head, first)
