import os

def create(
    path: str | os.PathLike[str],
    name: bytes,
    node: int,
    cluster: bytes,
    token: bytes,
    incarnation: int,
) -> None: ...
def readmit(path: str, node: int, incarnation: int) -> None: ...
def identity_of(path: str | os.PathLike[str]) -> tuple[str, int, bytes, int] | None: ...
