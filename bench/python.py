#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""4 KiB random reads per second from Python: in batches, staged and waited for together, one by one, and through asyncio.

usage: bench/python.py [RUNS] [append]      Wanted: at least 250,000 in batches from mem, one thread.
"""
import array
import asyncio
import os
import random
import sys
import time

from common import ROOT, append, conditions, median

sys.path.insert(0, os.path.join(os.environ.get('WEFT_BUILD', os.path.join(ROOT, 'build')), 'python'))
import weft  # noqa: E402
import weft.aio  # noqa: E402

DEVICE, SIZE, BLOCK, COUNT = 'mem:64MiB', 64 << 20, 4096, 4096
OFFSETS = array.array('Q', [random.Random(1).randrange(SIZE // BLOCK) * BLOCK for _ in range(COUNT)])


def in_batches(disk, depth):
    data = bytearray(COUNT * BLOCK)
    with disk.queue(depth) as queue:
        for _ in range(25):
            queue.read_batch(OFFSETS, data, BLOCK)
            yield COUNT


def staged(disk, depth):
    data = [bytearray(BLOCK) for _ in range(depth)]
    with disk.queue(depth) as queue:
        for start in range(0, COUNT, depth):
            for offset, buffer in zip(OFFSETS[start:start + depth], data):
                queue.readinto(offset, buffer)
            yield len(queue.drain())


def one_by_one(disk, _):
    data = bytearray(BLOCK)
    for offset in OFFSETS:
        disk.readinto(offset, data)
        yield 1


def with_asyncio(_, depth):
    async def worker(disk, offsets):
        data = bytearray(BLOCK)
        for offset in offsets:
            await disk.readinto(offset, data)

    async def whole():
        async with weft.aio.open(DEVICE, depth=depth) as disk:
            began = time.perf_counter()
            await asyncio.gather(*[worker(disk, OFFSETS[i::depth]) for i in range(depth)])
            return time.perf_counter() - began

    return COUNT / asyncio.run(whole())


def rate(way, disk, depth):
    if way is with_asyncio:
        return way(disk, depth)
    began = time.perf_counter()
    done = sum(way(disk, depth))
    return done / (time.perf_counter() - began)


def main():
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 9
    ways = [(in_batches, 32), (in_batches, 128), (staged, 32), (one_by_one, 1), (with_asyncio, 32)]
    lines = ['', '## Python', '', *conditions(), f'- 4 KiB random reads of {DEVICE}, one thread, {runs} interleaved runs; '
             'bench/python.py', '', '| how | depth | thousand reads/s: median | least to most |', '| --- | ---: | ---: | ---: |']
    with weft.open(DEVICE) as disk:
        disk.write(0, os.urandom(SIZE))
        seen = {way: [] for way in ways}
        for _ in range(runs):
            for way in ways:
                seen[way].append(rate(way[0], disk, way[1]) / 1000)
    for (way, depth), rates in seen.items():
        lines.append(f'| {way.__name__.replace("_", " ")} | {depth} | {median(rates):.0f} | '
                     f'{min(rates):.0f} to {max(rates):.0f} |')
    print('\n'.join(lines))
    if 'append' in sys.argv:
        append(os.path.join(ROOT, 'bench/RESULTS.md'), lines)


if __name__ == '__main__':
    main()
