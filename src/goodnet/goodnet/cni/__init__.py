# SPDX-License-Identifier: GPL-3.0-or-later
"""The CNI plugin, and what the agent does for it: addresses, wires and ports of pods."""
