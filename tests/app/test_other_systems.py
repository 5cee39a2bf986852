"""Every module can be imported where there is no POSIX: no `fcntl`, no `/dev`, no library of Linux.

A stand-in for Windows and macOS, which no test runs on: in a process of its own, what those systems
lack is taken away before Trocar is imported.
"""

from __future__ import annotations

import os
import subprocess
import sys

from places import ROOT

PROGRAM = """
import builtins, ctypes, importlib, io, os, pkgutil, platform, select, signal, socket, sys, time
import trocar

# What Trocar stands on comes first: it has its own versions for other systems.
import av, cv2, click, numpy, onnxruntime, prometheus_client
import rich.console, rich.live, rich.progress, rich.table
import asyncio, concurrent.futures, http.server, logging.handlers, multiprocessing.pool, queue
import selectors, shutil, socketserver, ssl, subprocess, tempfile, urllib.request, uuid, webbrowser
import numpy.lib.format, scipy.ndimage, scipy.optimize, scipy.sparse.csgraph, tomli_w
for name in ("cryptography", "fastcrc", "fastcrc.crc64", "packaging.version"):
    try:
        importlib.import_module(name)
    except ImportError:
        pass

# Optional packages whose import is their own affair; they would believe that this is Windows.
OTHERS = {
    "aiortc", "fastcrc", "matplotlib", "openvino", "optuna", "ray", "timm", "torch", "torchvision"
} - set(sys.modules)
HIDDEN = {"fcntl", "termios", "resource", "pwd", "grp", "tty", "pty", "posix", "syslog", "curses"}
LACKING = {
    os: "fork getuid geteuid getgid sched_getaffinity mkfifo statvfs fchmod chown uname sysconf "
        "posix_fadvise pread O_NONBLOCK O_DIRECTORY O_NOFOLLOW killpg setsid wait4 memfd_create",
    signal: "SIGHUP SIGKILL SIGPIPE SIGALRM SIGUSR1 SIGCHLD pthread_sigmask setitimer sigwait",
    time: "CLOCK_BOOTTIME CLOCK_MONOTONIC CLOCK_REALTIME clock_gettime clock_gettime_ns",
    select: "epoll poll", socket: "AF_UNIX SO_REUSEPORT socketpair",
}
for name in HIDDEN | OTHERS:
    sys.modules[name] = None
for module, names in LACKING.items():
    for name in names.split():
        if hasattr(module, name):
            delattr(module, name)

def no_library(name=None, *args, **kwargs):
    raise OSError(f"a library was loaded at import: {name}")

for name in ("CDLL", "PyDLL"):
    setattr(ctypes, name, no_library)
sys.platform = sys.argv[1]  # Not os.name: pathlib could make no paths.
real = io.open

def no_devices(file, *args, **kwargs):
    assert not str(file).startswith(("/dev", "/proc", "/sys")), f"{file} was opened at import"
    return real(file, *args, **kwargs)

builtins.open = io.open = no_devices
failed, number = [], 0
for found in pkgutil.walk_packages(trocar.__path__, "trocar.", onerror=lambda name: None):
    # All of these need torch.
    if found.name.startswith(("trocar.train", "trocar.export", "trocar.cuda_kernels")):
        continue
    if found.name.endswith("__main__"):
        continue
    try:
        importlib.import_module(found.name)
        number += 1
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in OTHERS:
            failed.append(f"{found.name}: {error}")
    except BaseException as error:
        failed.append(f"{found.name}: {type(error).__name__}: {error}")
print("\\n".join(failed))
print(f"{number} imported")
"""


def imported(platform: str) -> tuple[list[str], int]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, platform],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    *failed, last = done.stdout.split("\n")[:-1]
    return [line for line in failed if line], int(last.split()[0])


def test_every_module_of_the_runtime_can_be_imported_without_posix() -> None:
    failed, number = imported("win32")
    assert failed == []
    assert number > 250
