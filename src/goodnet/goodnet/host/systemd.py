# SPDX-License-Identifier: GPL-3.0-or-later
"""What systemd gets to know of a service."""

from __future__ import annotations

import logging
import os
import socket

log = logging.getLogger(__name__)


def notify(text: str) -> None:
    """Tell systemd; nobody else listens, and without it there is nothing to tell."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as listener:
        try:
            listener.sendto(text.encode(), "\0" + address[1:] if address.startswith("@") else address)
        except OSError as error:
            log.debug("systemd does not listen: %s", error)
