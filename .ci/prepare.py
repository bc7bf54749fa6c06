"""Makes the virtual environment that `make` works in, or says in one sentence what is missing.

    python3 .ci/prepare.py .venv

Standard library only; syntax that an old Python reads, so that it can say that it is too old.
"""

import os
import shutil
import subprocess
import sys
import sysconfig


def stop(sentence):
    sys.exit("quorumlog: " + sentence)


def check_machine():
    if sys.version_info < (3, 11):  # noqa: UP036
        stop(f"{sys.executable} is Python {sys.version.split()[0]}: 3.11 or later is needed.  "
             "Name one: make PYTHON=python3.12 ...")
    if not sys.platform.startswith("linux"):
        stop(f"this is {sys.platform}: the engine runs on Linux only (epoll, futex, O_DIRECT).")
    if not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")):
        stop(f"{sys.executable} has no Python.h: install the headers (Debian: apt install "
             "python3-dev) or name another Python: make PYTHON=...")
    compiler = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()[0]
    if shutil.which(compiler) is None:
        stop(f"there is no C compiler `{compiler}`: install one (Debian: apt install gcc "
             "libc6-dev) or set CC.")


def run(*command):
    print("+ " + " ".join(command), flush=True)
    if subprocess.call(command) != 0:
        stop("the command above failed.")


def works(python):
    return os.path.exists(python) and subprocess.call([python, "-c", "import pip"]) == 0


def main(target):
    check_machine()
    python = os.path.join(target, "bin", "python")
    if not works(python):
        shutil.rmtree(target, ignore_errors=True)
        print("+ making " + target, flush=True)
        if subprocess.call([sys.executable, "-m", "venv", target]) != 0:
            stop("no virtual environment could be made (Debian: apt install python3-venv).")
    install = [python, "-m", "pip", "--disable-pip-version-check", "--no-input", "install", "-q"]
    # Without build isolation, so that the editable install and later `build_ext --inplace` use the
    # same Cython and go on with each other's work.
    run(*install, "setuptools>=77", "Cython>=3.1,<4")
    run(*install, "--no-build-isolation", "--editable", ".[all]")


main(sys.argv[1])
