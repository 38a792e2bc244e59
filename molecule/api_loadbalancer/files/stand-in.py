# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Serves the files of the working directory over TLS at an address and a port."""

from __future__ import annotations

import http.server
import ssl
import sys

server = http.server.ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), http.server.SimpleHTTPRequestHandler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("/etc/stand-in.crt", "/etc/stand-in.key")
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
