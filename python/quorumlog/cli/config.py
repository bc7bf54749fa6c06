"""The TOML file of `quorumlog node`: read, checked, and every fault said with its place."""

from __future__ import annotations

import importlib
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import quorumlog as ql


class BadConfig(ValueError):
    """The file can't be used; the text says which line or key and what would do."""


@dataclass(frozen=True)
class GroupConfig:
    name: str
    machine: Callable[[], ql.StateMachine] | None
    options: ql.RaftOptions | None


@dataclass(frozen=True)
class NodeConfig:
    directory: Path
    listen: str
    peers: dict[str, str]
    options: ql.NodeOptions | None
    groups: list[GroupConfig] = field(default_factory=list)


def read_config(path: Path) -> NodeConfig:
    """Relative paths in the file are relative to the file."""
    try:
        with path.open("rb") as file:
            table = tomllib.load(file)
    except OSError as error:
        raise BadConfig(f"{path}: {error.strerror}") from error
    except tomllib.TOMLDecodeError as error:
        raise BadConfig(f"{path}: not TOML: {error}") from error
    try:
        return _node(table, path.resolve().parent)
    except BadConfig as error:
        raise BadConfig(f"{path}: {error}") from error


def _node(table: dict[str, Any], base: Path) -> NodeConfig:
    _known(table, {"directory", "listen", "peers", "options", "groups"}, "the file")
    directory = base / _text(table, "directory")
    if not directory.is_dir():
        raise BadConfig(
            f"directory = {str(directory)!r} is not there;"
            f" make it with: quorumlog init {directory} --name NAME"
        )
    listen = _address(_text(table, "listen"), "listen")
    peers = _table(table, "peers")
    for name, address in peers.items():
        _address(address, f"peers.{name}")
    groups = [_group(name, settings, base) for name, settings in _table(table, "groups").items()]
    if not groups:
        raise BadConfig("no group: add a table [groups.NAME]")
    return NodeConfig(
        directory=directory,
        listen=listen,
        peers=peers,
        options=_options(ql.NodeOptions, _table(table, "options"), "options"),
        groups=groups,
    )


def _group(name: str, settings: Any, base: Path) -> GroupConfig:
    place = f"groups.{name}"
    if not isinstance(settings, dict):
        raise BadConfig(f"{place} must be a table")
    _known(settings, {"protocol", "machine", "options"}, place)
    protocol = settings.get("protocol", "raft")
    if protocol != "raft":
        raise BadConfig(f'{place}.protocol = {protocol!r}: only "raft" is there')
    machine = settings.get("machine")
    return GroupConfig(
        name=name,
        machine=None if machine is None else _machine(machine, f"{place}.machine"),
        options=_options(ql.RaftOptions, _table(settings, "options", place), f"{place}.options"),
    )


def _machine(text: Any, place: str) -> Callable[[], ql.StateMachine]:
    """`package.module:Class`: imported and called with no arguments when the node starts."""
    if not isinstance(text, str) or text.count(":") != 1:
        raise BadConfig(f'{place} = {text!r}: must read "package.module:Class"')
    module_name, _, class_name = text.partition(":")
    try:
        found = getattr(importlib.import_module(module_name), class_name)
    except ImportError as error:
        raise BadConfig(f"{place} = {text!r}: {error} (is it on PYTHONPATH?)") from error
    except AttributeError as error:
        raise BadConfig(f"{place} = {text!r}: {error}") from error
    if not (isinstance(found, type) and issubclass(found, ql.StateMachine)):
        raise BadConfig(f"{place} = {text!r} is not a subclass of quorumlog.StateMachine")
    return found


def _options(kind: type[Any], settings: dict[str, Any], place: str) -> Any:
    if not settings:
        return None
    _known(settings, {one.name for one in fields(kind)}, place)
    try:
        return kind(**settings)
    except (TypeError, ValueError, ql.UsageError) as error:
        raise BadConfig(f"{place}: {error}") from error


def _known(table: dict[str, Any], names: set[str], place: str) -> None:
    unknown = sorted(set(table) - names)
    if unknown:
        raise BadConfig(f"unknown key {unknown[0]!r} in {place}; known are {', '.join(sorted(names))}")


def _text(table: dict[str, Any], key: str) -> str:
    value = table.get(key)
    if not isinstance(value, str) or not value:
        raise BadConfig(f'{key} = "…" is required' if value is None else f"{key} must be a text")
    return value


def _table(table: dict[str, Any], key: str, place: str = "") -> dict[str, Any]:
    value = table.get(key, {})
    if not isinstance(value, dict):
        raise BadConfig(f"{place + '.' if place else ''}{key} must be a table")
    return value


def _address(value: Any, place: str) -> str:
    host, _, port = value.rpartition(":") if isinstance(value, str) else ("", "", "")
    if not host or not port.isdigit() or int(port) > 65535:
        raise BadConfig(f'{place} = {value!r}: must read "address:port", like "127.0.0.1:7101"')
    assert isinstance(value, str)
    return value
