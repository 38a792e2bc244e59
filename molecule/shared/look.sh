#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Prints the state of a node that a play can change. Lines that begin with a slash are files, except those that programs
# and packages write on their own.
find /etc /opt /root /srv /usr /var/lib /var/log -xdev \
    \( -path /root/.ansible -o -path /root/.kube -o -path /var/lib/systemd -o -path /var/log/journal \
    -o -path /var/lib/haproxy -o -path /etc/iproute2 -o -path '/etc/rc?.d' -o -name __pycache__ \) -prune \
    -o -printf '%p %m %u %g %s %T@\n' | sort
systemctl list-unit-files --no-legend
ip -brief address
ip route
nft list ruleset
sysctl net.ipv4 kernel vm fs.inotify 2>/dev/null | grep -E 'forward |nonlocal|rp_filter|overcommit|panic|max_user'
