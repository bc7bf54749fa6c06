"""The ledger's account of a node's return; see ledger_back.pxd."""

from quorumlog._core.base.checks cimport check
from quorumlog._core.simulation.ledger cimport (
    NEVER_MENDED, Account, Issued, Kept, check_vote, content_of, keep, kept_at, kept_of, ledger_fail, ledger_issued,
    ledger_kept,
)
from quorumlog._core.simulation.ledger_slots cimport slots_back, slots_back_end, slots_found
from quorumlog._core.storage.batch cimport batch_last

from libc.stdlib cimport free, realloc
from libc.string cimport memset


# --- what was lost ----------------------------------------------------------------------

cdef void owe(Account* account, const Kept* entry) noexcept nogil:
    if account.owed_count == account.owed_capacity:
        account.owed_capacity = 2 * account.owed_capacity + 64
        account.owed = <Kept*>realloc(account.owed, account.owed_capacity * sizeof(Kept))
        check(account.owed != NULL, b"Q-LBACK-01 there is memory for what a node lost")
    account.owed[account.owed_count] = entry[0]
    account.owed_count += 1


cdef void forget_life(Account* account) noexcept nogil:
    account.term = 0
    account.role = 0
    account.commit = 0
    account.truncated = False
    account.vote_wsn = 0
    memset(account.applied_sequence, 0, sizeof(account.applied_sequence))


cdef void ledger_wiped(Ledger* ledger, uint32_t node) noexcept nogil:
    cdef Account* account = &ledger.accounts[node]
    cdef uint32_t i
    ledger_refused(ledger, node)
    for i in range(account.kept_count):
        if account.kept[i].wsn <= account.flushed:
            owe(account, &account.kept[i])
    forget_life(account)
    account.kept_count = 0
    account.head = 1
    account.flushed = 0                # another log, with numbers of its own
    account.listening = True
    account.unproved_last = 0
    account.unproved_term = 0
    account.vote_term = 0
    account.vote = 0
    account.promised_term = 0
    account.promised_vote = 0


cdef void ledger_bad(Ledger* ledger, uint32_t node, index_t index) noexcept nogil:
    cdef Kept* entry = ledger_kept(ledger, node, index)
    if not ledger.accounts[node].damaged:
        ledger_fail(ledger, b"an intact batch is called bad", node, index, 0)
    elif entry != NULL:
        entry.mended = NEVER_MENDED


cdef void ledger_mended(Ledger* ledger, uint32_t node, const Batch* batch, wsn_t wsn) noexcept nogil:
    cdef Kept* entry = ledger_kept(ledger, node, batch.first)
    if entry == NULL or entry.first != batch.first or entry.last != batch_last(batch) \
            or entry.term != batch.term or entry.content != content_of(batch):
        ledger_fail(ledger, b"a repair writes another batch than the log had", node, batch.first, batch.term)
    elif entry.mended != 0:
        entry.mended = wsn


# --- coming back ------------------------------------------------------------------------

cdef void ledger_back(Ledger* ledger, uint32_t node, term_t term, node_t vote, index_t first,
                      bint listening) noexcept nogil:
    cdef Account* account = &ledger.accounts[node]
    forget_life(account)
    if ledger.slots != NULL:
        slots_back(ledger, node, first)
        return
    if listening:
        # It may have forgotten, and says so: until it is admitted nothing that it said before binds anybody.
        account.promised_term = min(account.promised_term, term)
        account.promised_vote = 0
    else:
        check_vote(ledger, node, term, vote)
    if first > account.head:
        ledger_fail(ledger, b"recovery lost the head of a log", node, first, account.head)
    if account.before == NULL:
        account.before = account.kept
        account.before_count = account.kept_count
    else:
        free(account.kept)             # a start that was cut short
    account.kept = NULL
    account.kept_count = 0
    account.kept_capacity = 0
    account.head = first
    account.listening = listening
    account.vote_term = term
    account.vote = vote


cdef void ledger_found(Ledger* ledger, uint32_t node, const Batch* batch) noexcept nogil:
    cdef Kept entry
    if ledger.slots != NULL:
        slots_found(ledger, node, batch)
        return
    entry = kept_of(batch, 0)
    if ledger_issued(ledger, batch.first, batch.term) == NULL:
        ledger_fail(ledger, b"recovery found what nobody issued", node, batch.first, batch.term)
    keep(ledger, node, &entry)


cdef index_t ledger_found_bad(Ledger* ledger, uint32_t node, index_t first, term_t term) noexcept nogil:
    cdef const Issued* issued = ledger_issued(ledger, first, term)
    cdef Kept entry
    if not ledger.accounts[node].damaged:
        ledger_fail(ledger, b"recovery takes a power cut for corruption", node, first, term)
    if issued == NULL:
        ledger_fail(ledger, b"recovery names a bad batch that nobody issued", node, first, term)
        return first
    entry.first = first
    entry.last = issued.last
    entry.term = term
    entry.content = issued.content
    entry.wsn = 0
    entry.mended = NEVER_MENDED
    keep(ledger, node, &entry)
    return issued.last


cdef void ledger_back_end(Ledger* ledger, uint32_t node, index_t unproved_last, term_t unproved_term) noexcept nogil:
    """Acknowledged is within recovered: what was flushed is there, or known to be lost."""
    cdef Account* account = &ledger.accounts[node]
    cdef const Kept* now
    cdef uint32_t i
    if ledger.slots != NULL:
        slots_back_end(ledger, node)
        return
    for i in range(account.before_count):
        if account.before[i].wsn > account.flushed or account.before[i].first < account.head:
            continue
        now = kept_at(account.kept, account.kept_count, account.before[i].first)
        if now != NULL and now.term == account.before[i].term:
            continue
        if not account.damaged or (account.before[i].last > unproved_last and not account.listening):
            ledger_fail(ledger, b"recovery lost a flushed batch", node, account.before[i].first,
                        account.before[i].term)
            return
        owe(account, &account.before[i])
    if account.damaged:
        # Else all that it had acknowledged is there, and its votes need no excuse.
        account.unproved_last = unproved_last
        account.unproved_term = unproved_term if unproved_last != 0 else 0
        # Its newest numbers may be lost with the little that had them; all that is kept was found just now.
        account.flushed = 0
    free(account.before)
    account.before = NULL
    account.before_count = 0


cdef void ledger_refused(Ledger* ledger, uint32_t node) noexcept nogil:
    """What it had acknowledged counts as it was: the rest of its disk is intact."""
    cdef Account* account = &ledger.accounts[node]
    if account.before == NULL:
        return
    free(account.kept)
    account.kept = account.before
    account.kept_count = account.before_count
    account.kept_capacity = account.before_count
    account.before = NULL
    account.before_count = 0
