"""Put your own state machine through the simulation: crashes, power cuts, partitions, repeated commands.

    from quorumlog.testing import simulate

    @simulate(seeds=200)
    def test_ledger(simulation):
        result = simulation.run(Ledger, commands=lambda random: [b"deposit %d" % random.randrange(100)])
        assert all(machine.total >= 0 for machine in result.machines.values())

The cluster is the compiled one: the same Raft, the same log, over a virtual network, disk and
clock, all drawn from the seed.  A machine fails when it raises, when replicas that applied the
same commands answer differently (so it is not deterministic), or when a check of yours does.
"""

from quorumlog.testing.simulated import Result, Simulation, SimulationFailed, simulate

__all__ = ["Result", "Simulation", "SimulationFailed", "simulate"]
