"""What a user's test of a state machine holds in its hands; see the package."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any, Generic, TypeVar

from quorumlog.errors import UsageError
from quorumlog.machine import StateMachine

__all__ = ["Result", "Simulation", "SimulationFailed", "simulate"]

Machine = TypeVar("Machine", bound=StateMachine)
SEED_VARIABLE = "QUORUMLOG_SEED"
ELECTION_TIMEOUT_MS = 1000


class SimulationFailed(AssertionError):
    """A run in which something did not hold; the text says what, and how to repeat it."""


@dataclass(frozen=True)
class Result(Generic[Machine]):
    """A run that held.

    `machines` are those of the nodes that were alive in the end, by node from 1; `commands` how many batches
    were acknowledged; `faults` how often each kind of fault came; `event_hash` is equal for equal runs.
    """

    machines: Mapping[int, Machine]
    commands: int
    faults: Mapping[str, int]
    event_hash: int


@dataclass(frozen=True)
class Simulation:
    """One seed's simulated cluster."""

    seed: int
    again: str = ""

    def run(
        self,
        machine: Callable[[], Machine],
        commands: Callable[[Random], Iterable[bytes]],
        *,
        check: Callable[[Machine], None] | None = None,
        nodes: int = 0,
        profile: str = "swarm",
        seconds: int = 15,
    ) -> Result[Machine]:
        """Runs a cluster of these machines through `seconds` of faults and ten calm ones.

        Args:
            machine: makes a machine, such as its class; called for each node and after every crash, from
                which a machine comes back by applying the log from its beginning.
            commands: draws the commands of one batch with the generator it is given, which is the only
                randomness it may use: the same batch is asked for again when a client retries.
            check: looks at a machine after every batch, and raises if something is wrong.
            nodes: 1 to 7; 0 lets the seed decide.
            profile: `swarm` (each kind of fault off, rare or hot), `hot` (all of them) or `quiet` (none).
            seconds: virtual ones; a second takes some milliseconds.

        Raises:
            SimulationFailed: an invariant, the machine or the check failed; caused by what they raised.
            UsageError: the arguments make no sense.
        """
        if not 0 <= nodes <= 7 or not 1 <= seconds <= 3600 or profile not in ("swarm", "hot", "quiet"):
            raise UsageError("nodes is 0 to 7, seconds 1 to 3600, profile swarm, hot or quiet")
        from quorumlog._core.bridge.testing_machine import Machines
        from quorumlog._core.bridge.testing_simulation import run

        def command_of(session: int, sequence: int) -> Iterable[bytes]:
            return commands(Random(f"{self.seed} {session} {sequence}"))

        machines = Machines(machine, command_of, check)
        told = run(
            self.seed, profile=profile, nodes=nodes, machines=machines, safety_ms=seconds * 1000,
            healed_ms=30 * ELECTION_TIMEOUT_MS,
        )
        if told["failure"] or machines.error is not None:
            words = told["failure"] or "a batch of commands could not be made"
            if machines.error is not None:
                words = f"{words}: {machines.error!r}"
            raise SimulationFailed(f"seed {self.seed}: {words}{self.again}") from machines.error
        alive = {number + 1: host for number, host in enumerate(told["hosts"]) if host["up"]}
        return Result(
            {number: machines.live[number] for number in alive}, told["acked"], told["faults"], told["hash"]
        )


def simulate(seeds: int = 100, *, first: int = 0) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Calls a test once for each seed, with a `Simulation` as its first argument.

    Works with pytest and without; fixtures come by name, behind the simulation.  The environment variable
    QUORUMLOG_SEED chooses one seed, as the message of a failure says.

    Args:
        seeds: how many, from `first` on.
    """
    if seeds < 1 or first < 0:
        raise UsageError("at least one seed, from 0 on")

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        def run_all(*arguments: Any, **named: Any) -> None:
            chosen = os.environ.get(SEED_VARIABLE)
            for seed in [int(chosen)] if chosen else range(first, first + seeds):
                again = f"\nagain: {SEED_VARIABLE}={seed} pytest -k {test.__name__}  (of {test.__module__})"
                test(*arguments, Simulation(seed, again), **named)

        functools.update_wrapper(run_all, test)
        # Or pytest would look for a fixture named like the first parameter.
        del run_all.__dict__["__wrapped__"]
        run_all.__dict__["__signature__"] = _without_simulation(test)
        return run_all

    return decorate


def _without_simulation(test: Callable[..., None]) -> Any:
    """The test's signature for pytest: its fixtures, without the parameter that is filled in here."""
    import inspect

    signature = inspect.signature(test)
    parameters = list(signature.parameters.values())
    position = 1 if parameters and parameters[0].name == "self" else 0
    if len(parameters) <= position:
        raise UsageError(f"{test.__name__} takes the simulation as its first argument")
    del parameters[position]
    return signature.replace(parameters=parameters)
