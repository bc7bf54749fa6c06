"""A user's state machines inside the simulated cluster: one for each node, made anew after every crash."""

from quorumlog._core.simulation.world_state cimport MachineTable


cdef class Machines:
    cdef object factory
    cdef object command
    cdef object look
    cdef readonly dict live        # node (from 1): its machine, as of its last start
    cdef readonly object error     # what a machine or `look` raised
    cdef dict drawn                # (session, sequence): the payloads of that batch
    cdef MachineTable functions
    cdef void note(self, object error) noexcept
    cdef const MachineTable* table(self) except NULL
