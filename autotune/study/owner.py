"""Tells who holds a lease: a process of a machine, and whether it still lives."""

from __future__ import annotations

import functools
import os
import socket
import uuid
from dataclasses import dataclass
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_PID_NAMESPACE = Path("/proc/self/ns/pid")
_DEAD = ("Z", "X")
"""States of a process that has ended, but that nobody has asked about yet."""


@dataclass(frozen=True)
class Owner:
    """One process, told apart from all others of all machines.

    Attributes:
        token: Its own, so that a process number that is used again is another owner.
        machine: One boot of one machine, as far as its processes see each other: a container is a machine.
        host: The machine's name, for people.
        started: When the process started, in the kernel's own count; empty where the kernel does not say.
    """

    token: str
    machine: str
    host: str
    pid: int
    started: str

    @classmethod
    def new(cls) -> Owner:
        """Returns an owner in this process."""
        pid = os.getpid()
        return cls(uuid.uuid4().hex, _machine(), socket.gethostname(), pid, _stat(pid)[1])

    def surely_dead(self) -> bool:
        """Tells whether the process has ended; of another machine's nobody can say."""
        if self.machine != _machine():
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass  # it runs, as another user
        state, started = _stat(self.pid)
        return state in _DEAD or bool(self.started and started and self.started != started)

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


@functools.cache
def _machine() -> str:
    try:
        return f"{_BOOT_ID.read_text().strip()} {_PID_NAMESPACE.stat().st_ino}"
    except OSError:
        return f"{socket.gethostname()} {uuid.getnode()}"


def _stat(pid: int) -> tuple[str, str]:
    """Returns a process's state and when it started; empty if the kernel does not say."""
    try:
        # The name of the program, in parentheses, may hold anything.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return "", ""
    return fields[0], fields[19]
