"""Holds each hand-written .pyi against the compiled module beside it (mypy.stubtest).

Every bridge module that users or the Python package import needs a stub; the
`testing_*` ones serve the tests alone and may go without.
"""

import subprocess
import sys
from pathlib import Path

BRIDGE = "quorumlog/_core/bridge"


def main() -> int:
    stubs = sorted(Path("python").rglob("*.pyi"))
    public = [p for p in Path("core", BRIDGE).glob("*.pyx") if not p.stem.startswith("testing_")]
    missing = sorted({p.stem for p in public} - {p.stem for p in stubs})
    for name in missing:
        print(f"core/{BRIDGE}/{name}.pyx has no stub: write python/{BRIDGE}/{name}.pyi")
    if missing or not stubs:
        return len(missing) > 0
    modules = [".".join(p.relative_to("python").with_suffix("").parts) for p in stubs]
    return subprocess.call([
        sys.executable, "-m", "mypy.stubtest", "--concise",
        "--allowlist", ".ci/stubs-allowed.txt", "--ignore-unused-allowlist",
        *modules,
    ])


sys.exit(main())
