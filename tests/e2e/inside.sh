# SPDX-License-Identifier: GPL-3.0-or-later
# shellcheck shell=sh
# Runs a script with the mounts and the user of a unit's main process, and without capabilities.
# Usage: UNIT SCRIPT
pid=$(systemctl show --property=MainPID --value "$1")
user=$(awk '$1 == "Uid:" {print $3}' "/proc/$pid/status")
group=$(awk '$1 == "Gid:" {print $3}' "/proc/$pid/status")
exec nsenter --target "$pid" --mount --net -- setpriv --reuid="$user" --regid="$group" --clear-groups \
    --no-new-privs --inh-caps=-all --ambient-caps=-all --bounding-set=-all sh -c "$2"
