# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a source tree to the Containerfile of an image: the tree, its detection, the build plan and the cache keys."""
