"""`python -m quorumlog` and the `quorumlog` command."""

from __future__ import annotations

import sys


def main() -> int:
    """Runs the command line, or says which extra it needs."""
    try:
        import click
        import rich
    except ModuleNotFoundError as missing:
        print(
            f"quorumlog: the command line needs the package {missing.name!r}, which is not"
            " installed. It comes with the cli extra: pip install 'quorumlog[cli]'",
            file=sys.stderr,
        )
        return 2
    del click, rich
    from quorumlog.cli import run

    return run()


if __name__ == "__main__":
    sys.exit(main())
