"""Real PostgreSQL and MariaDB servers on free loopback ports, in temporary directories, as an unprivileged user."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

READY_WITHIN_S = 120.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def unprivileged() -> dict[str, Any]:
    """Arguments of Popen: both servers refuse to run as root."""
    if os.getuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def given_to_it(directory: Path) -> Path:
    directory.mkdir(mode=0o700)
    if os.getuid() == 0:
        nobody = pwd.getpwnam("nobody")
        os.chown(directory, nobody.pw_uid, nobody.pw_gid)
    return directory


def until_it_answers(connect: Any, process: subprocess.Popen[bytes]) -> None:
    end_s = time.monotonic() + READY_WITHIN_S
    while True:
        try:
            connect().close()
            return
        except Exception as error:
            if process.poll() is not None or time.monotonic() > end_s:
                raise RuntimeError(f"the server did not start: {error}") from error
            time.sleep(0.05)  # between two questions to a process that can't be waited for


class Server:
    """A server that can be killed and started again."""

    def __init__(self, command: list[str], data: Path) -> None:
        self._command = command
        self.data = data
        self.process: subprocess.Popen[bytes] | None = None

    def connect(self) -> Any:
        raise NotImplementedError

    def start(self) -> None:
        with (self.data.parent / f"{self.data.name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                self._command, stdout=log, stderr=log, cwd="/", start_new_session=True, **unprivileged()
            )
        until_it_answers(self.connect, self.process)

    def kill(self) -> None:
        """SIGKILL to all of its processes."""
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


class PostgreSQL(Server):
    def __init__(self, directory: Path, tools: Path, prepared_max: int = 64) -> None:
        self.port = free_port()
        self.tools = tools
        data = given_to_it(directory / "postgresql")
        subprocess.run(
            [tools / "initdb", "-D", data, "-U", "quorumlog", "-A", "trust", "-E", "UTF8", "--no-sync"],
            check=True, stdout=subprocess.DEVNULL, cwd="/", **unprivileged(),
        )
        settings = {
            "listen_addresses": "127.0.0.1", "port": str(self.port), "unix_socket_directories": "",
            "max_prepared_transactions": str(prepared_max), "shared_buffers": "16MB", "restart_after_crash": "off",
        }
        super().__init__(
            [str(tools / "postgres"), "-D", str(data), *(f"-c{key}={value}" for key, value in settings.items())], data
        )

    def connect(self, database: str = "postgres", **more: Any) -> Any:
        import psycopg

        return psycopg.connect(
            host="127.0.0.1", port=self.port, user="quorumlog", dbname=database, connect_timeout=30, **more
        )


class MariaDB(Server):
    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        data = given_to_it(directory / "mariadb")
        common = ["--no-defaults", f"--datadir={data}"]
        subprocess.run(
            ["mariadb-install-db", *common, "--auth-root-authentication-method=normal", "--skip-test-db"],
            check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/", **unprivileged(),
        )
        server = shutil.which("mariadbd") or "/usr/sbin/mariadbd"
        super().__init__(
            [server, *common, "--bind-address=127.0.0.1", f"--port={self.port}", f"--socket={data}/socket",
             f"--pid-file={data}/pid", "--innodb-buffer-pool-size=16M", "--skip-log-bin", "--skip-name-resolve",
             "--innodb-lock-wait-timeout=5"],
            data,
        )

    def connect(self, database: str | None = None) -> Any:
        import pymysql

        return pymysql.connect(
            unix_socket=f"{self.data}/socket", user="root", database=database, connect_timeout=30, autocommit=False
        )


def postgresql_tools() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found else None


@contextmanager
def running(server: Server) -> Iterator[Server]:
    try:
        server.start()
        yield server
    finally:
        server.kill()
