# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""TCP ports of hosts that pods must not reach."""

from __future__ import annotations

SSH = 22
ETCD = (2379, 2380)
REGISTRY = 5000
# Pods on management hosts can reach it, for the metrics server.
KUBELET = 10250
CLOSED = (SSH, *ETCD, REGISTRY, KUBELET)
