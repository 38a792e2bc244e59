# SPDX-License-Identifier: GPL-3.0-or-later
"""Open vSwitch: its database, its flows and its connections."""
