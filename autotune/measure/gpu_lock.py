"""Lets one process measure on a GPU at a time, whatever storage it uses: two would time each other.

The lock is a name among the host's abstract sockets: it is nobody's file, any user may take it, and the kernel frees it
when its owner ends, however that ends. Containers with a network of their own do not see it.
"""

from __future__ import annotations

import errno
import socket
import struct

from autotune.errors import HeldError

_CREDENTIALS = struct.Struct("3i")
"""Process, user and group at the other end of a socket, as the kernel tells them."""


class GpuLock:
    """Holds a GPU until it is released.

    Args:
        uuid: The GPU's.

    Raises:
        HeldError: If another process holds it.
    """

    def __init__(self, uuid: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        try:
            self._socket.bind(_address(uuid))
        except OSError as error:
            self._socket.close()
            if error.errno != errno.EADDRINUSE:
                raise
            raise HeldError(
                f"GPU {uuid} is being measured on by {_owner(uuid)}; wait for it, or stop it: two would time each other"
            ) from error
        self._socket.listen()

    def release(self) -> None:
        self._socket.close()


def _address(uuid: str) -> str:
    return f"\0lora-autotune {uuid}"


def _owner(uuid: str) -> str:
    with socket.socket(socket.AF_UNIX) as asking:
        asking.settimeout(1.0)
        try:
            asking.connect(_address(uuid))
            told = asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        except OSError:
            return "another process"
    return f"process {_CREDENTIALS.unpack(told)[0]}"
