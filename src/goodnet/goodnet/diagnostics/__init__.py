# SPDX-License-Identifier: GPL-3.0-or-later
"""How things are, and why a packet passes or is dropped."""
