"""What a source distribution and a wheel hold, and that they work where nothing else is.

All builds go on in a copy of the tree, which keeps the compiled modules: so CI
packs what was just tested.  `make packaging` (QUORUMLOG_DEPTH=deep) builds from
nothing, as a user's pip does, with build isolation and the package index.
"""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy
import pytest

ROOT = Path(__file__).resolve().parents[2]
NOT_COPIED = shutil.ignore_patterns(
    ".git", ".venv*", "*.egg-info", "dist", "var", "out", "__pycache__", ".*_cache", ".hypothesis",
    "__editable__*", "asan", "tsan")

# Runs in the clean environment: every compiled module must load from the wheel alone.
IMPORT_ALL = """
import importlib, pathlib, sys
import quorumlog
root = pathlib.Path(quorumlog.__file__).parent
modules = [path for path in root.rglob("*.so")]
for path in modules:
    importlib.import_module(".".join(["quorumlog", *path.relative_to(root).parent.parts,
                                      path.name.split(".")[0]]))
print(root, len(modules))
"""

deep = pytest.mark.skipif(os.environ.get("QUORUMLOG_DEPTH") != "deep", reason="make packaging")


def run(*command: object, cwd: Path) -> str:
    clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "LD_PRELOAD")}
    done = subprocess.run([str(part) for part in command], cwd=cwd, env=clean, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, f"{command}\n{done.stdout}"
    return done.stdout


def clean_environment(path: Path) -> Path:
    run(sys.executable, "-m", "venv", path, cwd=path.parent)
    return path / "bin" / "python"


def assert_all_import(python: Path, installed_below: Path, source: Path) -> None:
    where, count = run(python, "-c", IMPORT_ALL, cwd=source.parent).split()[-2:]
    assert Path(where).is_relative_to(installed_below)
    assert int(count) == len(list((source / "core").rglob("*.pyx"))) > 0


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("packaging") / "tree"
    shutil.copytree(ROOT, path, ignore=NOT_COPIED, symlinks=True)
    return path


@pytest.fixture(scope="module")
def wheel(tree: Path) -> Path:
    out = tree.parent / "wheel"
    run(sys.executable, "setup.py", "--quiet", "bdist_wheel", "--dist-dir", out, cwd=tree)
    return next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def sdist(tree: Path) -> Path:
    out = tree.parent / "sdist"
    run(sys.executable, "setup.py", "--quiet", "sdist", "--dist-dir", out, cwd=tree)
    return next(out.glob("*.tar.gz"))


def sources(pattern: str, root: str) -> set[str]:
    return {str(path.relative_to(ROOT / root)) for path in (ROOT / root).rglob(pattern)}


def test_sdist_holds_all_sources_and_nothing_generated(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for root, pattern in [("core", "*.pyx"), ("core", "*.pxd"), ("core", "*.h"),
                          ("python", "*.py"), ("python", "*.pyi"), ("python", "*.c"),
                          ("tests", "*.py"), ("bench", "*.py"), ("docs", "*.md")]:
        assert {f"{root}/{name}" for name in sources(pattern, root)} <= names, (root, pattern)
    assert {"LICENSE", "README.md", "Makefile", "setup.py", "pyproject.toml", ".ci/run",
            "python/quorumlog/py.typed"} <= names
    generated = {n for n in names if n.startswith("core/") and n.endswith((".c", ".html"))}
    generated |= {n for n in names if n.endswith((".so", ".pyc", ".o"))}
    assert not generated


def test_wheel_holds_modules_contracts_headers_stubs_and_no_sources(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    modules = {name.partition(".")[0] for name in names if name.endswith(".so")}
    assert modules == {name.removesuffix(".pyx") for name in sources("*.pyx", "core")}
    assert sources("*.pxd", "core") <= names
    assert {f"quorumlog/include/{n}" for n in sources("*.h", "core/include")} <= names
    for pattern in ("*.py", "*.pyi", "*.c"):
        assert sources(pattern, "python") <= names, pattern
    assert "quorumlog/py.typed" in names
    assert not {name for name in names if name.endswith((".pyx", ".html"))}
    # Nothing of ours outside the package: `pip install` must not scatter a `tests` or `include`.
    assert {name.split("/")[0].partition("-")[0] for name in names} == {"quorumlog"}
    assert any(name.endswith("dist-info/licenses/LICENSE") for name in names)


def test_wheel_works_alone(wheel: Path, tree: Path, tmp_path: Path) -> None:
    python = clean_environment(tmp_path / "venv")
    run(python, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", wheel, cwd=tmp_path)
    site = next((tmp_path / "venv" / "lib").glob("python*/site-packages"))
    # NumPy is the one dependency; lent by this environment, so that no package index is needed.
    (site / "lent.pth").write_text(str(Path(numpy.__file__).parents[1]) + "\n")
    assert_all_import(python, site, tree)


@deep
@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_build_makes_a_wheel_from_the_sdist_in_isolation(tree: Path, tmp_path: Path) -> None:
    shutil.rmtree(tree / "build", ignore_errors=True)
    python = clean_environment(tmp_path / "builder")
    run(python, "-m", "pip", "install", "--quiet", "build", cwd=tmp_path)
    run(python, "-m", "build", "--outdir", tmp_path / "dist", tree, cwd=tmp_path)
    user = clean_environment(tmp_path / "user")
    run(user, "-m", "pip", "install", "--quiet", next((tmp_path / "dist").glob("*.whl")),
        cwd=tmp_path)
    assert_all_import(user, tmp_path / "user", tree)


@deep
@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("mode", ["plain", "editable", "strict"])
def test_pip_install(tree: Path, tmp_path: Path, mode: str) -> None:
    source = tmp_path / "source"
    shutil.copytree(tree, source, ignore=shutil.ignore_patterns("build", "*.so"))
    how = {"plain": ["."], "editable": ["--editable", "."],
           "strict": ["--editable", ".", "--config-settings", "editable_mode=strict"]}[mode]
    python = clean_environment(tmp_path / "venv")
    run(python, "-m", "pip", "install", "--quiet", *how, cwd=source)
    assert_all_import(python, tmp_path / "venv" if mode == "plain" else source, source)


def test_a_hidden_gil_below_the_bridge_fails_the_build_again_and_again(tree: Path,
                                                                      tmp_path: Path) -> None:
    core = tmp_path / "core" / "quorumlog" / "_core" / "base"
    core.mkdir(parents=True)
    shutil.copy(tree / "setup.py", tmp_path)
    for package in (core, core.parent, core.parent.parent):
        (package / "__init__.pxd").touch()
    (core / "leaky.pyx").write_text("cdef void leak(int* p) nogil:\n    p[0] = 1\n")
    for _ in range(2):
        done = subprocess.run([sys.executable, "setup.py", "build_ext"], cwd=tmp_path, text=True,
                              capture_output=True)
        assert done.returncode != 0
        assert "The GIL is taken below the bridge" in done.stderr
        assert "leaky.pyx:1:" in done.stderr
    (core / "leaky.pyx").write_text("cdef void leak(int* p) noexcept nogil:\n    p[0] = 1\n")
    run(sys.executable, "setup.py", "build_ext", cwd=tmp_path)
