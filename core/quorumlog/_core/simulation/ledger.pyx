"""The invariants of the simulated cluster; see ledger.pxd."""

from quorumlog._core.base.checks cimport check
from quorumlog._core.base.status cimport OK
from quorumlog._core.base.types cimport index_t, node_t, term_t, wsn_t
from quorumlog._core.engine.log cimport GroupLog, log_term
from quorumlog._core.engine.protocol cimport (
    ROLE_CANDIDATE, ROLE_FOLLOWER, ROLE_LEADER, ROLE_LEARNER, ROLE_PRE_CANDIDATE, GroupStatus)
from quorumlog._core.simulation.ledger_clients cimport ledger_forget_clients
from quorumlog._core.simulation.ledger_committed cimport committed_at, new_committed
from quorumlog._core.simulation.ledger_slots cimport (
    slots_close, slots_compacted, slots_flushed, slots_open, slots_stepped, slots_wrote)
from quorumlog._core.storage.batch cimport (
    KIND_BLANK, KIND_COMPACT, KIND_ENTRIES, KIND_MEMBERSHIP, KIND_TRUNCATE, Batch, batch_last,
)

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memmove, memset


# --- small things -----------------------------------------------------------------------

cdef uint64_t mix(uint64_t hash, uint64_t value) noexcept nogil:
    hash = (hash ^ value) * 0x9E3779B97F4A7C15ULL
    return hash ^ (hash >> 29)


cdef uint64_t applied_step(uint64_t hash, uint64_t session, uint64_t sequence,
                           uint64_t body_crc) noexcept nogil:
    return mix(mix(mix(hash, session + 1), sequence + 1), body_crc + 1)


cdef uint64_t content_of(const Batch* batch) noexcept nogil:
    """Of all that decides what applying it does."""
    return applied_step(applied_step(batch.kind, batch.session, batch.sequence, batch.body_crc),
                        batch.flags, batch.leader_time_ns, batch.count)


cdef void ledger_fail(Ledger* ledger, const char* sentence, uint32_t node, uint64_t a,
                      uint64_t b) noexcept nogil:
    if ledger.failure[0] == 0:
        snprintf(ledger.failure, FAILURE_BYTES, b"%s (node %u; %llu, %llu)", sentence, node + 1,
                 <unsigned long long>a, <unsigned long long>b)


cdef Ledger* ledger_open(uint32_t node_count, bint slots) noexcept nogil:
    cdef Ledger* ledger = <Ledger*>calloc(1, sizeof(Ledger))
    cdef uint32_t i
    check(ledger != NULL, b"Q-LEDGER-01 there is memory for the ledger")
    ledger.node_count = node_count
    ledger.leader_of_term = <uint32_t*>calloc(TERMS_MAX, sizeof(uint32_t))
    ledger.issued_capacity = 1024
    ledger.issued = <Issued*>calloc(ledger.issued_capacity, sizeof(Issued))
    check(ledger.leader_of_term != NULL and ledger.issued != NULL,
          b"Q-LEDGER-02 there is memory for the ledger")
    for i in range(node_count):
        ledger.accounts[i].head = 1
    if slots:
        ledger.slots = slots_open()
    return ledger


cdef void ledger_close(Ledger* ledger) noexcept nogil:
    cdef uint32_t i
    for i in range(ledger.node_count):
        free(ledger.accounts[i].kept)
        free(ledger.accounts[i].before)
        free(ledger.accounts[i].owed)
    slots_close(ledger.slots)
    free(ledger.leader_of_term)
    free(ledger.issued)
    free(ledger.committed)
    ledger_forget_clients(ledger)
    free(ledger)


cdef index_t ledger_committed_last(const Ledger* ledger) noexcept nogil:
    return ledger.committed[ledger.committed_count - 1].last if ledger.committed_count != 0 else 0


cdef index_t kept_last(const Account* account) noexcept nogil:
    return account.kept[account.kept_count - 1].last if account.kept_count != 0 else account.head - 1


cdef const Kept* kept_at(const Kept* kept, uint32_t count, index_t index) noexcept nogil:
    """The batch that holds `index`, or NULL."""
    cdef uint32_t low = 0
    cdef uint32_t high = count
    cdef uint32_t middle
    while low < high:
        middle = (low + high) // 2
        if kept[middle].last < index:
            low = middle + 1
        else:
            high = middle
    return &kept[low] if low < count and kept[low].first <= index else NULL


cdef Kept* ledger_kept(const Ledger* ledger, uint32_t node, index_t index) noexcept nogil:
    return <Kept*>kept_at(ledger.accounts[node].kept, ledger.accounts[node].kept_count, index)


cdef bint ledger_intact(const Ledger* ledger, uint32_t node, const Kept* entry) noexcept nogil:
    cdef wsn_t flushed = ledger.accounts[node].flushed
    return entry.wsn <= flushed and entry.mended <= flushed


# --- what is written --------------------------------------------------------------------

cdef Issued* issued_place(const Ledger* ledger, index_t first, term_t term) noexcept nogil:
    cdef uint32_t place = <uint32_t>mix(mix(0, first), term) & (ledger.issued_capacity - 1)
    while ledger.issued[place].first != 0 and (ledger.issued[place].first != first
                                               or ledger.issued[place].term != term):
        place = (place + 1) & (ledger.issued_capacity - 1)
    return &ledger.issued[place]


cdef void issued_grow(Ledger* ledger) noexcept nogil:
    cdef Issued* old = ledger.issued
    cdef uint32_t capacity = ledger.issued_capacity
    cdef uint32_t i
    ledger.issued_capacity = 2 * capacity
    ledger.issued = <Issued*>calloc(ledger.issued_capacity, sizeof(Issued))
    check(ledger.issued != NULL, b"Q-LEDGER-04 there is memory for what was issued")
    for i in range(capacity):
        if old[i].first != 0:
            issued_place(ledger, old[i].first, old[i].term)[0] = old[i]
    free(old)


cdef void match_logs(Ledger* ledger, uint32_t node, const Kept* entry, const Kept* before) noexcept nogil:
    """Log matching, by induction: same index and term mean same content and same predecessor."""
    cdef Issued* issued = issued_place(ledger, entry.first, entry.term)
    if issued.first == 0:
        issued.first = entry.first
        issued.term = entry.term
        issued.last = entry.last
        issued.content = entry.content
        if before != NULL:
            issued.before_first = before.first
            issued.before_term = before.term
        ledger.issued_count += 1
        if 2 * ledger.issued_count > ledger.issued_capacity:
            issued_grow(ledger)
        return
    if issued.last != entry.last or issued.content != entry.content:
        ledger_fail(ledger, b"log matching: the same index and term hold different batches", node,
                    entry.first,
                    entry.term)
    if before == NULL:
        return                     # compacted: not known
    if issued.before_first == 0:
        issued.before_first = before.first
        issued.before_term = before.term
    elif issued.before_first != before.first or issued.before_term != before.term:
        ledger_fail(ledger, b"log matching: equal batches have different predecessors", node, entry.first,
                    entry.term)


cdef Kept kept_of(const Batch* batch, wsn_t wsn) noexcept nogil:
    cdef Kept entry
    entry.first = batch.first
    entry.last = batch_last(batch)
    entry.term = batch.term
    entry.content = content_of(batch)
    entry.wsn = wsn
    entry.mended = 0
    return entry


cdef const Issued* ledger_issued(const Ledger* ledger, index_t first, term_t term) noexcept nogil:
    cdef const Issued* issued = issued_place(ledger, first, term)
    return issued if issued.first != 0 else NULL


cdef void keep(Ledger* ledger, uint32_t node, const Kept* entry) noexcept nogil:
    cdef Account* account = &ledger.accounts[node]
    if entry.first != kept_last(account) + 1 and account.kept_count != 0:
        ledger_fail(ledger, b"a batch does not continue its log", node, entry.first, kept_last(account))
        return
    if account.kept_count == account.kept_capacity:
        account.kept_capacity = 2 * account.kept_capacity + 64
        account.kept = <Kept*>realloc(account.kept, account.kept_capacity * sizeof(Kept))
        check(account.kept != NULL, b"Q-LEDGER-05 there is memory for a node's log")
    account.kept[account.kept_count] = entry[0]
    match_logs(ledger, node, entry, &account.kept[account.kept_count - 1] if account.kept_count != 0 else NULL)
    account.kept_count += 1


cdef void truncate(Ledger* ledger, uint32_t node, index_t first) noexcept nogil:
    cdef Account* account = &ledger.accounts[node]
    cdef const Kept* entry
    cdef const Committed* committed
    cdef uint32_t count = account.kept_count
    while account.kept_count != 0 and account.kept[account.kept_count - 1].last >= first:
        entry = &account.kept[account.kept_count - 1]
        committed = committed_at(ledger, entry.first)
        if entry.first < first:
            ledger_fail(ledger, b"a truncation splits a batch", node, first, entry.first)
        # (What a durable snapshot here holds may go with the rest of a log that it takes the place of.)
        if committed != NULL and committed.term == entry.term and entry.last > account.snapshot:
            ledger_fail(ledger, b"a committed batch was truncated", node, entry.first, entry.term)
        account.kept_count -= 1
        account.truncated = True
        ledger.truncations += 1
    if count >= account.kept_count + 3:
        ledger.truncations_long += 1


cdef void ledger_wrote(Ledger* ledger, uint32_t node, const Batch* batch, wsn_t wsn) noexcept nogil:
    cdef Kept entry
    if ledger.slots != NULL:
        slots_wrote(ledger, node, batch, wsn)
    elif batch.kind == KIND_ENTRIES or batch.kind == KIND_BLANK or batch.kind == KIND_MEMBERSHIP:
        entry = kept_of(batch, wsn)
        keep(ledger, node, &entry)
    elif batch.kind == KIND_TRUNCATE:
        truncate(ledger, node, batch.first)
    elif batch.kind == KIND_COMPACT:
        ledger_compacted(ledger, node, batch.first, batch.term)


cdef void ledger_compacted(Ledger* ledger, uint32_t node, index_t first, term_t term) noexcept nogil:
    cdef Account* account = &ledger.accounts[node]
    cdef const Committed* committed = committed_at(ledger, first - 1)
    cdef uint32_t drop = 0
    if ledger.slots != NULL:
        slots_compacted(ledger, node, first)
        return
    if committed == NULL or committed.last != first - 1:
        ledger_fail(ledger, b"what is not committed was compacted", node, first, account.commit)
    elif committed.term != term:
        ledger_fail(ledger, b"a compaction names another term than the last entry before it has", node, first, term)
    elif account.snapshot < first - 1:
        ledger_fail(ledger, b"the head of a log goes before a snapshot of it is durable", node, first, account.snapshot)
    while drop < account.kept_count and account.kept[drop].last < first:
        drop += 1
    if drop != 0:
        memmove(account.kept, &account.kept[drop], (account.kept_count - drop) * sizeof(Kept))
        account.kept_count -= drop
    account.head = max(account.head, first)


cdef void ledger_snapshot(Ledger* ledger, uint32_t node, index_t index, term_t term) noexcept nogil:
    cdef const Committed* committed = committed_at(ledger, index)
    if committed == NULL or committed.last != index or committed.term != term:
        ledger_fail(ledger, b"a snapshot holds what is not committed", node, index, term)
    ledger.accounts[node].snapshot = index


# --- what is promised -------------------------------------------------------------------

cdef void promise(Account* account) noexcept nogil:
    """The vote is public once all that was written by then is flushed."""
    if account.vote_wsn > account.flushed or account.vote_term < account.promised_term:
        return
    account.promised_term = account.vote_term
    account.promised_vote = account.vote


cdef void ledger_flushed(Ledger* ledger, uint32_t node, wsn_t wsn) noexcept nogil:
    cdef Account* account = &ledger.accounts[node]
    if wsn < account.flushed:
        ledger_fail(ledger, b"flushed moved back", node, wsn, account.flushed)
    account.flushed = wsn
    if ledger.slots != NULL:
        slots_flushed(ledger, node, wsn)
        return
    promise(account)


cdef void ledger_sent(Ledger* ledger, uint32_t node, term_t term) noexcept nogil:
    cdef Account* account = &ledger.accounts[node]
    if ledger.slots != NULL:
        return                         # a promise is public as soon as it is durable
    if term > account.promised_term:
        account.promised_term = term
        account.promised_vote = 0
        promise(account)


cdef void check_vote(Ledger* ledger, uint32_t node, term_t term, node_t vote) noexcept nogil:
    cdef Account* account = &ledger.accounts[node]
    if term < account.promised_term:
        ledger_fail(ledger, b"a term that was spoken of is forgotten", node, term, account.promised_term)
    if term == account.promised_term and account.promised_vote != 0 and vote != account.promised_vote:
        ledger_fail(ledger, b"a vote changed within its term", node, vote, account.promised_vote)


cdef void note_vote(Ledger* ledger, uint32_t node, const GroupStatus* status, wsn_t wsn_last) noexcept nogil:
    cdef Account* account = &ledger.accounts[node]
    check_vote(ledger, node, status.term, status.vote)
    if status.term == account.vote_term and status.vote == account.vote:
        return
    if status.term == account.vote_term and account.vote != 0:
        ledger_fail(ledger, b"a vote changed within its term", node, status.vote, account.vote)
    account.vote_term = status.term
    account.vote = status.vote
    account.vote_wsn = wsn_last
    promise(account)


# --- what is elected and committed ------------------------------------------------------

cdef void check_leader(Ledger* ledger, uint32_t node, const GroupStatus* status,
                       const GroupLog* log) noexcept nogil:
    cdef Account* account = &ledger.accounts[node]
    cdef term_t term
    cdef int64_t i
    if status.term >= TERMS_MAX:
        ledger_fail(ledger, b"terms run away", node, status.term, TERMS_MAX)
        return
    if ledger.leader_of_term[status.term] not in (0, node + 1):
        ledger_fail(ledger, b"election safety: two leaders in one term", node, status.term,
                    ledger.leader_of_term[status.term])
    ledger.leader_of_term[status.term] = node + 1
    if account.role == ROLE_LEADER and account.term == status.term:
        if account.truncated:
            ledger_fail(ledger, b"leader append-only: a leader dropped entries", node, status.term,
                        status.last)
        return
    # Leader completeness: all that was committed in earlier terms is in the log; log matching says that the
    # newest is enough to look at.
    i = <int64_t>ledger.committed_count - 1
    while i >= 0 and ledger.committed[i].seen_term >= status.term:
        i -= 1
    if i < 0 or ledger.committed[i].last < log.first:
        return
    if log_term(log, ledger.committed[i].last, &term) != OK or term != ledger.committed[i].term:
        ledger_fail(ledger, b"leader completeness: a committed batch is missing", node,
                    ledger.committed[i].last,
                    status.term)


cdef bint is_owed(const Account* account, const Kept* entry) noexcept nogil:
    cdef uint32_t i
    for i in range(account.owed_count):
        if account.owed[i].first == entry.first and account.owed[i].term == entry.term:
            return True
    return False


cdef uint32_t durable_copies(const Ledger* ledger, const Kept* entry) noexcept nogil:
    cdef const Kept* other
    cdef uint32_t i
    cdef uint32_t copies = 0
    for i in range(ledger.node_count):
        if entry.first < ledger.accounts[i].head:
            copies += 1
            continue
        other = kept_at(ledger.accounts[i].kept, ledger.accounts[i].kept_count, entry.first)
        # What has gone bad since it was acknowledged, or is known to be lost, binds its node as before.
        if (other != NULL and other.term == entry.term and other.wsn <= ledger.accounts[i].flushed) \
                or is_owed(&ledger.accounts[i], entry):
            copies += 1
    return copies


cdef bint ahead(const Kept* a, const Kept* b) noexcept nogil:
    """Is a log that ends with `a` at least as up to date as one that ends with `b` (5.4.1)?"""
    return a.term > b.term or (a.term == b.term and a.last >= b.last)


cdef bint would_vote(const Ledger* ledger, const Account* account, const Kept* last) noexcept nogil:
    """For a log that ends with `last`."""
    cdef Kept end
    if account.listening:
        return False
    if account.unproved_term > last.term or (account.unproved_term == last.term
                                             and account.unproved_last > last.last):
        return False
    log_end(ledger, account, True, &end)
    return ahead(last, &end)


cdef void log_end(const Ledger* ledger, const Account* account, bint durable, Kept* end) noexcept nogil:
    """Its last batch, or the last one in its snapshot; all zeros: there is neither."""
    cdef const Committed* committed
    cdef uint32_t count = account.kept_count
    memset(end, 0, sizeof(Kept))
    while durable and count > 0 and account.kept[count - 1].wsn > account.flushed:
        count -= 1
    if count > 0:
        end[0] = account.kept[count - 1]
    elif account.head > 1:
        committed = committed_at(ledger, account.head - 1)
        end.last = account.head - 1
        end.term = committed.term if committed != NULL else 0


cdef void check_nobody_else_could_win(Ledger* ledger, uint32_t node, const Kept* entry) noexcept nogil:
    """Leader completeness beforehand (Figure 8): no node that lacks a committed batch finds a quorum of logs
    that are not ahead of its own."""
    cdef const Account* account
    cdef Kept own
    cdef const Kept* other
    cdef uint32_t k, j, votes
    for k in range(ledger.node_count):
        account = &ledger.accounts[k]
        log_end(ledger, account, False, &own)
        if own.last == 0 or entry.first < account.head or account.listening:
            continue
        other = kept_at(account.kept, account.kept_count, entry.first)
        if other != NULL and other.term == entry.term:
            continue
        votes = 0
        for j in range(ledger.node_count):
            if would_vote(ledger, &ledger.accounts[j], &own):
                votes += 1
        if 2 * votes > ledger.node_count:
            ledger_fail(ledger, b"committed, and yet a node without it could be elected", k, entry.first,
                        entry.term)


cdef void commit_new(Ledger* ledger, uint32_t node, const Kept* entry, term_t seen_term) noexcept nogil:
    cdef Committed* committed
    if entry.first != ledger_committed_last(ledger) + 1:
        ledger_fail(ledger, b"a commit leaves a hole", node, entry.first, ledger_committed_last(ledger))
        return
    if 2 * durable_copies(ledger, entry) <= ledger.node_count:
        ledger_fail(ledger, b"committed without a quorum of durable copies", node, entry.first, entry.term)
    check_nobody_else_could_win(ledger, node, entry)
    if entry.term < seen_term:
        ledger.old_term_commits += 1
    committed = new_committed(ledger)
    committed.first = entry.first
    committed.last = entry.last
    committed.term = entry.term
    committed.content = entry.content
    committed.seen_term = seen_term


cdef void check_commit(Ledger* ledger, uint32_t node, const GroupStatus* status) noexcept nogil:
    cdef Account* account = &ledger.accounts[node]
    cdef const Kept* entry
    cdef const Committed* committed
    cdef index_t index
    if status.commit < account.commit:
        ledger_fail(ledger, b"commit moved back", node, status.commit, account.commit)
        return
    if status.commit > kept_last(account):
        ledger_fail(ledger, b"commit lies behind the log", node, status.commit, kept_last(account))
        return
    index = max(account.commit + 1, account.head)
    while index <= status.commit:
        entry = kept_at(account.kept, account.kept_count, index)
        if entry == NULL or entry.last > status.commit:
            ledger_fail(ledger, b"commit lies on no batch end", node, status.commit, index)
            return
        committed = committed_at(ledger, entry.first)
        if committed == NULL:
            commit_new(ledger, node, entry, status.term)
        elif (committed.first != entry.first or committed.last != entry.last or committed.term != entry.term
              or committed.content != entry.content):
            ledger_fail(ledger, b"committed prefixes disagree", node, entry.first, entry.term)
        index = entry.last + 1
    account.commit = status.commit


cdef void check_flushed(Ledger* ledger, uint32_t node, const GroupStatus* status) noexcept nogil:
    cdef Account* account = &ledger.accounts[node]
    cdef uint32_t count = account.kept_count
    cdef index_t flushed
    while count > 0 and account.kept[count - 1].wsn > account.flushed:
        count -= 1
    flushed = account.kept[count - 1].last if count > 0 else account.head - 1
    if status.flushed > flushed:
        ledger_fail(ledger, b"the own match lies above what is flushed", node, status.flushed, flushed)


cdef void check_standing(Ledger* ledger, uint32_t node, const GroupStatus* status) noexcept nogil:
    """Who may have forgotten something has no say (A-R28); who can't read what it may have acknowledged does not
    campaign (rule 10)."""
    cdef Account* account = &ledger.accounts[node]
    if status.listening and status.role != ROLE_FOLLOWER and status.role != ROLE_LEARNER:
        ledger_fail(ledger, b"a node that listens campaigns", node, status.term, status.role)
    if status.listening and status.vote != 0 and (status.term != account.vote_term or status.vote != account.vote):
        ledger_fail(ledger, b"a node that listens votes", node, status.term, status.vote)
    if status.faulty != 0 and (status.role == ROLE_CANDIDATE or status.role == ROLE_PRE_CANDIDATE):
        ledger_fail(ledger, b"a node campaigns while entries of its log are bad", node, status.term, status.faulty)
    if status.listening and not account.damaged:
        ledger_fail(ledger, b"a node that lost nothing listens", node, status.term, status.last)
    account.listening = status.listening
    if status.unproved_last == 0:
        account.unproved_last = 0
        account.unproved_term = 0


cdef void ledger_stepped(Ledger* ledger, uint32_t node, const GroupStatus* status, const GroupLog* log,
                         wsn_t wsn_last) noexcept nogil:
    cdef Account* account = &ledger.accounts[node]
    if ledger.slots != NULL:
        slots_stepped(ledger, node, status, wsn_last)
        return
    if status.term < account.term:
        ledger_fail(ledger, b"the term moved back", node, status.term, account.term)
    if status.last != kept_last(account):
        ledger_fail(ledger, b"the log and what was written differ", node, status.last, kept_last(account))
    check_standing(ledger, node, status)
    note_vote(ledger, node, status, wsn_last)
    check_flushed(ledger, node, status)
    if status.role == ROLE_LEADER:
        check_leader(ledger, node, status, log)
    check_commit(ledger, node, status)
    account.term = status.term
    account.role = status.role
    account.truncated = False


# --- what the outside sees --------------------------------------------------------------

cdef void ledger_applied(Ledger* ledger, uint32_t node, index_t last, uint64_t applied_hash) noexcept nogil:
    cdef Committed* committed = committed_at(ledger, last)
    if committed == NULL or committed.last != last:
        ledger_fail(ledger, b"something was applied that is not committed", node, last,
                    ledger_committed_last(ledger))
    elif committed.applied_hash == 0:
        committed.applied_hash = applied_hash
    elif committed.applied_hash != applied_hash:
        ledger_fail(ledger, b"state machines differ", node, last, applied_hash)


cdef void ledger_admitted(Ledger* ledger, uint32_t node, uint64_t session, uint64_t sequence,
                          bint begins) noexcept nogil:
    """Exactly once, in order: counted here without the product's table."""
    cdef Account* account = &ledger.accounts[node]
    cdef uint64_t before
    check(session < LEDGER_SESSIONS, b"Q-LEDGER-03 the simulation has few sessions")
    before = account.applied_sequence[session]
    if sequence != before + 1 and (before != 0 or not begins):
        ledger_fail(ledger, b"a session's batch was applied twice or out of order", node, session, sequence)
    account.applied_sequence[session] = sequence


cdef void ledger_restored(Ledger* ledger, uint32_t node, uint64_t session, uint64_t sequence) noexcept nogil:
    check(session < LEDGER_SESSIONS, b"Q-LEDGER-07 the simulation has few sessions")
    ledger.accounts[node].applied_sequence[session] = sequence
