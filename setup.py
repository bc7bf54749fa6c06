"""Builds the Cython core.  Everything declarative is in pyproject.toml.

One variable chooses the profile, `QUORUMLOG_BUILD`:

    release   (default) -O3, checks on
    debug     -O0 -g, bounds checks, annotated HTML beside the C files in build/
    asan      address and undefined-behaviour sanitizers
    tsan      thread sanitizer
    coverage  line tracing, also in nogil functions (never measure speed with it)

`QUORUMLOG_CFLAGS` is appended to the compiler's flags.  Compiled code can tell its
profile and flags by the macros `QUORUMLOG_PROFILE` and `QUORUMLOG_FLAGS`, C strings.
"""

import contextlib
import os
import re
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

CORE = Path("core")
PROFILE = os.environ.get("QUORUMLOG_BUILD", "release")

COMMON = ["-std=c11", "-D_GNU_SOURCE", "-fvisibility=hidden", "-fno-semantic-interposition",
          "-fno-strict-aliasing", "-fstack-protector-strong", "-Wno-unused-function", "-pthread"]
SANITIZED = ["-O1", "-g", "-fno-omit-frame-pointer", "-U_FORTIFY_SOURCE"]
PROFILES = {
    "release": (["-O3", "-g1", "-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=2"], []),
    "debug": (["-O0", "-g3", "-UNDEBUG"], []),
    # Undefined behaviour ends the process too: a message in a log is not a failed test.
    "asan": ([*SANITIZED, "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"],
             ["-fsanitize=address,undefined"]),
    "tsan": ([*SANITIZED, "-fsanitize=thread"], ["-fsanitize=thread"]),
    # Wrong behaviours that QUORUMLOG_MUTANT chooses by name; never to be installed.
    "mutants": (["-O2", "-g1", "-DQUORUMLOG_MUTANTS"], []),
    "coverage": (["-O0", "-g", "-DCYTHON_TRACE=1", "-DCYTHON_TRACE_NOGIL=1",
                  "-DCYTHON_USE_SYS_MONITORING=0"], []),
}
DIRECTIVES = {
    "language_level": 3,
    "boundscheck": PROFILE == "debug",
    "wraparound": False,
    "cdivision": True,
    "initializedcheck": False,
    "embedsignature": True,
    "binding": True,
    "auto_pickle": False,
    "linetrace": PROFILE == "coverage",
}
# Below the bridge nothing may take the GIL; this is what Cython says where an
# exception check would (21 us a call beside a busy Python thread).
GIL_HINT = re.compile(r"(?P<file>[^\s:]+\.(?:pyx|pxd)):.*will always require the GIL")


def extensions() -> list[Extension]:
    if PROFILE not in PROFILES:
        raise SystemExit(f"QUORUMLOG_BUILD={PROFILE!r} is not one of {', '.join(PROFILES)}")
    compile_flags, link_flags = PROFILES[PROFILE]
    own_flags = os.environ.get("QUORUMLOG_CFLAGS", "").split()
    # Changed .pxd files need no mention: Cython writes the C files of their users anew.
    flags = " ".join([*compile_flags, *own_flags, *os.environ.get("CFLAGS", "").split()])
    headers = sorted(str(path) for path in CORE.rglob("*.h"))
    return [
        Extension(
            ".".join(path.relative_to(CORE).with_suffix("").parts),
            [str(path)],
            include_dirs=["core/include"],
            define_macros=[("QUORUMLOG_PROFILE", f'"{PROFILE}"'), ("QUORUMLOG_FLAGS", f'"{flags}"')],
            depends=headers,
            extra_compile_args=COMMON + compile_flags + own_flags,
            extra_link_args=["-pthread", *link_flags],
        )
        for path in sorted(CORE.rglob("*.pyx"))
    ]


@contextlib.contextmanager
def captured_stderr() -> Iterator[list[str]]:
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


class BuildExt(build_ext):
    """Cython, then C.  Builds again what changed sources, profiles or flags concern."""

    def finalize_options(self) -> None:
        super().finalize_options()
        self.parallel = self.parallel or os.cpu_count()

    def run(self) -> None:
        asked_for = Path(self.build_lib)
        if self.editable_mode:
            # Built where `build_ext --inplace` builds, so that each continues the other's work:
            # an editable install would compile everything again in a temporary directory.
            build = self.distribution.get_command_class("build")(self.distribution)
            build.ensure_finalized()
            self.build_lib, self.build_temp = build.build_platlib, build.build_temp
        self._force_if_built_otherwise()
        # Here and not earlier: `sdist`, `egg_info` and `--help` finalize this command too, and
        # would run Cython and list its C files as sources.
        self._cythonize()
        self._drop_modules(Path(self.build_lib), {self._file(e) for e in self.extensions})
        super().run()
        self._stamp.write_text(self._built_how)
        if self.editable_mode:
            # A strict editable install links to the modules in its own directory.
            for file in map(self._file, self.extensions):
                (asked_for / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(Path(self.build_lib, file), asked_for / file)
            self.build_lib = str(asked_for)

    def copy_extensions_to_source(self) -> None:
        # A copy is skipped where the target is newer: after a build of another profile it is.
        self._drop_modules(Path("python"), set())
        super().copy_extensions_to_source()

    def _file(self, extension: Extension) -> str:
        return str(self.get_ext_filename(self.get_ext_fullname(extension.name)))

    def _drop_modules(self, root: Path, wanted: set[str]) -> None:
        """Compiled modules that are not wanted: their source may have gone or moved."""
        for path in (root / "quorumlog").rglob("*" + sysconfig.get_config_var("EXT_SUFFIX")):
            if str(path.relative_to(root)) not in wanted:
                path.unlink()

    def _force_if_built_otherwise(self) -> None:
        import Cython

        self._built_how = repr((PROFILE, Cython.__version__, sys.version, DIRECTIVES, [
            (e.define_macros, e.extra_compile_args, e.extra_link_args)
            for e in self.extensions[:1]]))
        self._stamp = Path(self.build_temp, "built-how.txt")
        self._stamp.parent.mkdir(parents=True, exist_ok=True)
        if not self._stamp.exists() or self._stamp.read_text() != self._built_how:
            self.force = True
            # Until all is built: an interrupted build must not pass for one of this kind.
            self._stamp.unlink(missing_ok=True)

    def _cythonize(self) -> None:
        from Cython.Build import cythonize
        from Cython.Compiler.Errors import CompileError

        # Cython.Coverage finds a source only beside its C file.
        build_dir = None if PROFILE == "coverage" else f"build/c-{PROFILE}"
        try:
            with captured_stderr() as said:
                built = cythonize(
                    self.extensions,
                    include_path=[str(CORE)],
                    build_dir=build_dir,
                    compiler_directives=DIRECTIVES,
                    annotate=PROFILE == "debug",
                    force=bool(self.force),
                    nthreads=os.cpu_count() or 1,
                )
        except CompileError as error:
            raise SystemExit(f"Cython's errors stand above, the last in {error}") from None
        finally:
            hints = [m for m in GIL_HINT.finditer(said[0]) if "/bridge/" not in m["file"]]
            # Cython says it only when it runs: the next build must not pass for want of it.
            for hint in hints:
                for path in Path(build_dir or CORE).rglob(
                        "*.c" if hint["file"].endswith(".pxd") else Path(hint["file"]).stem + ".c"):
                    path.unlink()
        if hints:
            raise SystemExit("The GIL is taken below the bridge (declare the function `noexcept`):"
                             + "".join(f"\n  {hint[0]}" for hint in hints))
        for extension, c_extension in zip(self.extensions, built, strict=True):
            extension.sources = c_extension.sources


class BuildPy(build_py):
    """Ships the .pxd files and C headers in wheels, for those who cimport or embed."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib, "quorumlog")
        for path in (CORE / "quorumlog").rglob("*.pxd"):
            self._copy(path, target / path.relative_to(CORE / "quorumlog"))
        for path in (CORE / "include").rglob("*.h"):
            self._copy(path, target / path.relative_to(CORE))

    def _copy(self, source: Path, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)


setup(ext_modules=extensions(), cmdclass={"build_ext": BuildExt, "build_py": BuildPy})
