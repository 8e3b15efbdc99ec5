"""Looking at the processes of a run and at what they listen on, as Linux tells it."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path

import pytest


class Processes:
    """The processes whose environment has a text: all that a run has started, however deep and in whatever session."""

    def __init__(self, marker):
        self._marker = marker.encode()

    def pids(self):
        found = {}
        for folder in Path("/proc").iterdir():
            try:
                if folder.name.isdecimal() and self._marker in (folder / "environ").read_bytes():
                    state = (folder / "stat").read_text().rsplit(")", 1)[1].split()[0]
                    command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
                    if state != "Z":
                        found[int(folder.name)] = command
            except OSError:
                continue
        return found

    def listening(self):
        """Returns the addresses and ports that are listened on, each with its command."""
        sockets = {}
        for table in ("tcp", "tcp6"):
            for line in Path("/proc/net", table).read_text().splitlines()[1:]:
                columns = line.split()
                if columns[3] == "0A":  # LISTEN
                    sockets[columns[9]] = _address(columns[1])
        found = {}
        for pid, command in self.pids().items():
            try:
                targets = [str(fd.readlink()) for fd in Path(f"/proc/{pid}/fd").iterdir()]
            except OSError:
                continue
            for target in targets:
                inode = re.fullmatch(r"socket:\[(\d+)\]", target)
                if inode and inode[1] in sockets:
                    found[sockets[inode[1]]] = command
        return found


def _address(text):
    """Returns address and port of `0100007F:1F90`: each four bytes in the machine's order."""
    digits, port = text.split(":")
    raw = b"".join(bytes.fromhex(digits[i : i + 8])[::-1] for i in range(0, len(digits), 8))
    address = ipaddress.ip_address(raw)
    return getattr(address, "ipv4_mapped", None) or address, int(port, 16)


@pytest.fixture
def processes():
    return Processes
