from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from servers import MariaDB, PostgreSQL, postgresql_tools, running

WANTED = os.environ.get("QUORUMLOG_DATABASES") == "1"


@pytest.fixture(scope="session")
def server_directory() -> Iterator[Path]:
    """Short, for socket paths, and passable for the servers' user."""
    if not WANTED:
        pytest.skip("real servers are for `make databases`")
    made = Path(tempfile.mkdtemp(prefix="ql-"))
    os.chmod(made, 0o711)
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture(scope="session")
def postgresql(server_directory: Path) -> Iterator[PostgreSQL]:
    """One server with two databases, bank_a and bank_b."""
    tools = postgresql_tools()
    if tools is None:
        pytest.skip("PostgreSQL is not installed (apt install postgresql)")
    pytest.importorskip("psycopg")
    server = PostgreSQL(server_directory, tools)
    with running(server):
        for name in ("bank_a", "bank_b"):
            with server.connect(autocommit=True) as connection:
                connection.execute(f"CREATE DATABASE {name}")
            with server.connect(name) as connection:
                connection.execute("CREATE TABLE account (id int PRIMARY KEY, balance bigint NOT NULL)")
        yield server


@pytest.fixture(scope="session")
def mariadb(server_directory: Path) -> Iterator[MariaDB]:
    """One server with the database bank_m."""
    if shutil.which("mariadb-install-db") is None:
        pytest.skip("MariaDB is not installed (apt install mariadb-server)")
    pytest.importorskip("pymysql")
    server = MariaDB(server_directory)
    with running(server):
        connection = server.connect()
        with connection.cursor() as cursor:
            cursor.execute("CREATE DATABASE bank_m")
            cursor.execute("CREATE TABLE bank_m.account (id int PRIMARY KEY, balance bigint NOT NULL)")
        connection.close()
        yield server
