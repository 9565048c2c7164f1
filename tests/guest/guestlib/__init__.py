# SPDX-License-Identifier: BSD-2-Clause
"""Real Linux kernels in QEMU as clients of weft: everything that the guest tests share."""
