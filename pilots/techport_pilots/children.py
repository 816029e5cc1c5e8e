"""Child processes that do not outlive this one, however it ends.

A process that is killed (SIGKILL, out of memory) cannot stop what it started. So the kernel is asked to: Linux sends
a child the signal that it chose with PR_SET_PDEATHSIG when its parent dies (prctl(2)). Two properties of that call
decide how it is used here:

- "Parent" means the *thread* that forked. A child that was started by a thread of short life would be ended with it;
  all children are therefore started by one thread that lives as long as the process.
- A child sets it for itself after the fork, when its parent may have died already. It compares its parent's process id
  before it becomes the program.

Other systems have no such call: there, whoever starts next finds what was left behind by a file with its process id.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

# Becomes the program, in the same process. A preexec_fn would do it without a second start of Python (about 10 ms), but
# must not run in a process with threads: the child of a fork may wait for ever for a lock that another thread held.
_LAUNCHER = """
import ctypes, os, sys
parent, number = int(sys.argv[1]), int(sys.argv[2])
if ctypes.CDLL(None, use_errno=True).prctl(1, number, 0, 0, 0) != 0:
    sys.exit("prctl: " + os.strerror(ctypes.get_errno()))
if os.getppid() != parent:
    sys.exit("the process that started this one has ended")
os.execvp(sys.argv[3], sys.argv[3:])
"""

_starter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="child-processes")


def start_child(
    command: Sequence[str | os.PathLike[str]], ends_with: signal.Signals = signal.SIGTERM, **options: Any
) -> subprocess.Popen[bytes]:
    """Start a program that gets the signal `ends_with` when this process dies.

    Parameters
    ----------
    command
        The program and its arguments, found on the PATH where it has no slash.
    ends_with
        SIGTERM for a program that has something to save, SIGKILL for one that may hang.
    options
        As for `subprocess.Popen`.

    Raises
    ------
    OSError
        The program cannot be started. On Linux a missing program shows as exit code 1 of the child instead.
    """
    words = [os.fspath(word) for word in command]
    if sys.platform == "linux":
        words = [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid()), str(int(ends_with)), *words]

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(words, **options)

    return _starter.submit(start).result()


def end_child(process: subprocess.Popen[bytes], patience_s: float = 10.0) -> None:
    """End it in good order, and by force when it does not follow within `patience_s` seconds."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(patience_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def processes_with(*arguments: str | os.PathLike[str]) -> list[int]:
    """Process ids of others that have these arguments, one after the other, in their command line.

    Empty where there is no /proc.
    """
    searched = b"\0".join([b"", *(os.fsencode(argument) for argument in arguments), b""])
    ids = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command_line = (folder / "cmdline").read_bytes()
        except OSError:  # it has ended
            continue
        if searched in command_line and int(folder.name) != os.getpid():
            ids.append(int(folder.name))
    return sorted(ids)
