#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Reads a device in many pieces at once: read.py DEVICE. Prints the SHA-256 of all that is in it."""
import hashlib
import sys

import weft

PIECE = 64 << 10

with weft.open(sys.argv[1]) as disk, disk.queue(32) as queue, disk.instance.memory(32 * PIECE) as memory, \
        memoryview(memory) as view:
    digest = hashlib.sha256()
    for start in range(0, disk.size, 32 * PIECE):
        size = min(32 * PIECE, disk.size - start)
        whole = size // PIECE
        queue.read_batch([start + i * PIECE for i in range(whole)], view, PIECE)
        if size % PIECE:
            queue.readinto(start + whole * PIECE, view[whole * PIECE:size]).wait()
        digest.update(view[:size])
    print(digest.hexdigest())
