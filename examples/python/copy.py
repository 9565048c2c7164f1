#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Copies what is allocated from one device to another with asyncio: copy.py FROM TO."""
import asyncio
import sys

import weft
import weft.aio

PIECE = 256 << 10


async def piece(source, target, offset, length, turn):
    async with turn:
        buffer = bytearray(length)
        await source.readinto(offset, buffer)
        await target.write(offset, buffer)


async def main(source_text, target_text):
    async with weft.aio.open(source_text) as source, weft.aio.open(target_text) as target, asyncio.TaskGroup() as group:
        turn, copied = asyncio.Semaphore(16), 0
        async for extent in source.status():
            if extent.flags & weft.ZERO:
                continue
            for offset in range(extent.offset, extent.offset + extent.length, PIECE):
                length = min(PIECE, extent.offset + extent.length - offset)
                group.create_task(piece(source, target, offset, length, turn))
                copied += length
        print(copied, 'bytes of', source.size)

asyncio.run(main(*sys.argv[1:3]))
