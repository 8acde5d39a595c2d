#!/usr/bin/env python3
"""Run the program named by ``PROGRAM`` without word of network interfaces: it gets no socket of netlink.

Chromium fails requests that wait for a connection with ERR_NETWORK_CHANGED whenever an interface gets or loses an
address, as when a container starts anywhere on the machine. No option turns that off. Where netlink is refused, it
takes the network for one that does not change.
"""

from __future__ import annotations

import errno
import os
import socket
import sys

import pyseccomp


def main() -> None:
    """Replace this process by the program's, with this process's arguments."""
    rules = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
    refused = pyseccomp.Arg(0, pyseccomp.EQ, socket.AF_NETLINK)
    rules.add_rule(pyseccomp.ERRNO(errno.EAFNOSUPPORT), "socket", refused)
    rules.load()
    program = os.environ.pop("PROGRAM")
    os.execv(program, [program, *sys.argv[1:]])


if __name__ == "__main__":
    main()
