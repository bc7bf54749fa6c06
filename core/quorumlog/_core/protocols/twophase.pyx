"""The table of two-phase commit; see twophase.pxd."""

from quorumlog._core.engine.transactions cimport TransactionProtocol
from quorumlog._core.protocols.twophase_coordinator cimport (
    coordinator_close, coordinator_open, coordinator_renew, coordinator_status, coordinator_step)
from quorumlog._core.protocols.twophase_participant cimport (
    participant_close, participant_open, participant_state_of, participant_status, participant_step)

cdef TransactionProtocol TABLE

TABLE.coordinator_open = coordinator_open
TABLE.coordinator_step = coordinator_step
TABLE.coordinator_renew = coordinator_renew
TABLE.coordinator_status = coordinator_status
TABLE.coordinator_close = coordinator_close
TABLE.participant_open = participant_open
TABLE.participant_step = participant_step
TABLE.participant_state_of = participant_state_of
TABLE.participant_status = participant_status
TABLE.participant_close = participant_close


cdef const TransactionProtocol* twophase_protocol() noexcept nogil:
    return &TABLE
