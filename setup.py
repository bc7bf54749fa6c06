"""Builds the Cython core.  Everything declarative is in pyproject.toml.

One variable chooses the profile, `QUORUMLOG_BUILD`:

    release   (default) -O3, checks on
    debug     -O0 -g, bounds checks, annotated HTML in build/
    asan      address and undefined-behaviour sanitizers
    tsan      thread sanitizer
    coverage  line tracing, also in nogil functions (never measure speed with it)

`QUORUMLOG_CFLAGS` is appended to the compiler's flags.
"""

import contextlib
import os
import shutil
import sys
import tempfile
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
CORE = Path("core")
PROFILE = os.environ.get("QUORUMLOG_BUILD", "release")

COMMON = ["-std=c11", "-D_GNU_SOURCE", "-fvisibility=hidden", "-fno-semantic-interposition",
          "-fno-strict-aliasing", "-fstack-protector-strong", "-Wno-unused-function", "-pthread"]
PROFILES = {
    "release": (["-O3", "-g1", "-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=2"], []),
    "debug": (["-O0", "-g3", "-UNDEBUG"], []),
    "asan": (["-O1", "-g", "-fno-omit-frame-pointer", "-fsanitize=address,undefined"],
             ["-fsanitize=address,undefined"]),
    "tsan": (["-O1", "-g", "-fno-omit-frame-pointer", "-fsanitize=thread"], ["-fsanitize=thread"]),
    "coverage": (["-O0", "-g", "-DCYTHON_TRACE=1", "-DCYTHON_TRACE_NOGIL=1",
                  "-DCYTHON_USE_SYS_MONITORING=0"], []),
}
DIRECTIVES = {
    "language_level": 3,
    "boundscheck": False,
    "wraparound": False,
    "cdivision": True,
    "initializedcheck": False,
    "embedsignature": True,
    "binding": True,
    "auto_pickle": False,
}
# Below the bridge nothing may touch the GIL; this is what Cython says when an
# exception check would (cython-facts.md, Q6: 21 us a call beside a busy thread).
GIL_HINT = "will always require the GIL"


def extensions() -> list[Extension]:
    if PROFILE not in PROFILES:
        raise SystemExit(f"QUORUMLOG_BUILD={PROFILE!r} is not one of {', '.join(PROFILES)}")
    cflags, ldflags = PROFILES[PROFILE]
    headers = sorted(str(p) for pattern in ("*.pxd", "*.pxi", "*.h") for p in CORE.rglob(pattern))
    return [
        Extension(
            ".".join(path.relative_to(CORE).with_suffix("").parts),
            [str(path)],
            include_dirs=["core/include"],
            depends=headers,
            extra_compile_args=COMMON + cflags + os.environ.get("QUORUMLOG_CFLAGS", "").split(),
            extra_link_args=["-pthread", *ldflags],
        )
        for path in sorted(CORE.rglob("*.pyx"))
    ]


@contextlib.contextmanager
def captured_stderr():
    """Standard error of this process and its children, as a list with one text."""
    said: list[str] = []
    with tempfile.TemporaryFile() as sink:
        sys.stderr.flush()
        saved = os.dup(2)
        os.dup2(sink.fileno(), 2)
        try:
            yield said
        finally:
            sys.stderr.flush()
            os.dup2(saved, 2)
            os.close(saved)
            sink.seek(0)
            said.append(sink.read().decode(errors="replace"))
            sys.stderr.write(said[0])


def refuse_hidden_gil(said: str) -> None:
    bad = []
    for line in said.splitlines():
        if GIL_HINT in line and "/bridge/" not in line:
            bad.append(line)
    if bad:
        raise SystemExit("The GIL is taken below the bridge:\n  " + "\n  ".join(bad))


class BuildExt(build_ext):
    def finalize_options(self) -> None:
        # Here and not at the top of the file: `sdist` and `--help` need no Cython.
        from Cython.Build import cythonize

        directives = dict(DIRECTIVES)
        directives["boundscheck"] = PROFILE == "debug"
        directives["linetrace"] = PROFILE == "coverage"
        # Cython.Coverage finds a source only beside its C file.
        build_dir = None if PROFILE == "coverage" else f"build/c-{PROFILE}"
        with captured_stderr() as said:
            self.distribution.ext_modules = cythonize(
                self.distribution.ext_modules,
                include_path=["core"],
                build_dir=build_dir,
                compiler_directives=directives,
                annotate=PROFILE == "debug",
                nthreads=0 if sys.platform == "darwin" else min(4, os.cpu_count() or 1),
            )
        refuse_hidden_gil(said[0])
        super().finalize_options()
        self.parallel = self.parallel or os.cpu_count()

    def build_extensions(self) -> None:
        super().build_extensions()


class BuildPy(build_py):
    """Ships the .pxd files and C headers in wheels, for those who cimport or embed."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib) / "quorumlog"
        for path in (CORE / "quorumlog").rglob("*.pxd"):
            self._copy(path, target / path.relative_to(CORE / "quorumlog"))
        for path in (CORE / "include").rglob("*.h"):
            self._copy(path, target / path.relative_to(CORE))
        profile = target / "_core" / "build_profile.txt"
        profile.write_text(PROFILE + "\n")

    def _copy(self, source: Path, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)


setup(ext_modules=extensions(), cmdclass={"build_ext": BuildExt, "build_py": BuildPy})
