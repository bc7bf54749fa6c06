"""`quorumlog init`: a data directory.  `quorumlog node`: one node as a process."""

from __future__ import annotations

import os
import secrets
import signal
import threading
import uuid
from pathlib import Path

import click

import quorumlog as ql
from quorumlog._core.bridge.directory import identity_of
from quorumlog._core.bridge.directory import readmit as readmit_in
from quorumlog.cli.config import BadConfig, NodeConfig, read_config
from quorumlog.names import id_of
from quorumlog.node import check_readmission

TOKEN_BYTES = 32
HAND_OVER_SECONDS = 2.0


@click.command()
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--name", required=True, help="The node's name, unlike any other in the cluster.")
@click.option("--cluster", type=click.UUID, help="The cluster's uuid; a new one is made without it.")
@click.option(
    "--token-file",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="The secret all nodes share, in hex; made (0600) if the file is not there.",
)
@click.option("--rejoin", is_flag=True, help="For a node that lost its directory; see `quorumlog readmit`.")
def init(directory: Path, name: str, cluster: uuid.UUID | None, token_file: Path, rejoin: bool) -> None:
    """Make the data directory DIRECTORY: cluster, name and incarnation, once.

    The first node's command says the cluster's uuid; give it and the same token file to the others.
    """
    if cluster is None and token_file.exists():
        raise click.UsageError(
            f"{token_file} is there already, so this seems to be a further node of a cluster:"
            " say which with --cluster UUID, or name another token file for a new cluster"
        )
    if rejoin and cluster is None:
        raise click.UsageError("--rejoin is for a node of a cluster that there is: say which with --cluster UUID")
    made = cluster or uuid.uuid4()
    token = _token(token_file)
    try:
        incarnation = ql.Node.create(directory, name, cluster=made, token=token, rejoin=rejoin)
    except ql.QuorumlogError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"made {directory}: node {name} of cluster {made}")
    if rejoin:
        click.echo(f"on every other node: quorumlog readmit DIR --name {name} --incarnation {incarnation}")
    if cluster is None:
        rest = f"--cluster {made} --token-file {token_file}"
        click.echo(f"other nodes: quorumlog init DIR --name NAME {rest}")


def _token(path: Path) -> bytes:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        try:
            token = bytes.fromhex(path.read_text().strip())
        except (OSError, ValueError) as error:
            raise click.ClickException(f"{path} does not hold a token in hex: {error}") from error
        if not 16 <= len(token) <= TOKEN_BYTES:
            raise click.ClickException(f"{path} holds {len(token)} bytes; a token has 16 to 32") from None
        return token
    except OSError as error:
        raise click.ClickException(f"{path}: {error.strerror}") from error
    token = secrets.token_bytes(TOKEN_BYTES)
    with os.fdopen(descriptor, "w") as file:
        file.write(token.hex() + "\n")
    return token


@click.command()
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--name", required=True, help="The node that lost its directory.")
@click.option("--incarnation", type=int, required=True, help="Of its new one: `quorumlog init --rejoin` says it.")
def readmit(directory: Path, name: str, incarnation: int) -> None:
    """Let a node that lost its directory come back: on DIRECTORY of each other node, while that is stopped.

    The former directory must be gone for good.  A running node is told by `Node.readmit` instead.
    """
    try:
        check_readmission(incarnation)
        identity = identity_of(str(directory))
        if identity is None or identity[0] == name:
            raise ql.UsageError(f"{directory} is not the data directory of another node")
        readmit_in(str(directory), id_of(name), incarnation)
    except ql.QuorumlogError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{identity[0]} takes incarnation {incarnation} for {name} from now on")


@click.command()
@click.option("--config", type=click.Path(dir_okay=False, path_type=Path), required=True, help="A TOML file.")
def node(config: Path) -> None:
    """Run one node until SIGTERM or Ctrl-C."""
    try:
        settings = read_config(config)
    except BadConfig as error:
        raise click.ClickException(str(error)) from error
    leave = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: leave.set())
    try:
        _run(settings, leave)
    except ql.QuorumlogError as error:
        raise click.ClickException(str(error)) from error


def _run(settings: NodeConfig, leave: threading.Event) -> None:
    with ql.Node.open(
        settings.directory, listen=settings.listen, peers=settings.peers, options=settings.options
    ) as opened:
        for group in settings.groups:
            machine = None if group.machine is None else group.machine()
            opened.raft(group.name, machine, options=group.options)
        names = ", ".join(group.name for group in settings.groups)
        click.echo(f"{opened.name} listens on {opened.address}; groups: {names}; pid {os.getpid()}")
        leave.wait()
        name = opened.name
        opened.close(hand_over=HAND_OVER_SECONDS)
    click.echo(f"{name} is closed")
