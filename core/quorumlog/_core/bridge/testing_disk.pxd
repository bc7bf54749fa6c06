"""The virtual disk as a Python object, for tests; other test-facing modules open logs on it."""

from quorumlog._core.simulation.disk cimport Disk


cdef class VirtualDisk:
    cdef Disk* disk
