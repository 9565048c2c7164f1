#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""How long a mirror takes to make a leg of 64 MiB equal to the other: all data, or 4 KiB of data and 4 KiB of holes in turn, on a
leg that holds the same, is full, or is empty.

usage: bench/rebuild.py [RUNS] [append]      Files in TMPDIR, or /var/tmp.
"""
import filecmp
import os
import sys
import tempfile
import time

from common import ROOT, append, conditions, fill, median

sys.path.insert(0, os.path.join(os.environ.get('WEFT_BUILD', os.path.join(ROOT, 'build')), 'python'))
import weft  # noqa: E402

MIB, SIZE, CELL = 1 << 20, 64 << 20, 4096
CASES = (('data', 'data'), ('in turn', 'in turn'), ('in turn', 'data'), ('in turn', 'holes'))


def make(path, holds):
    if holds == 'data':
        fill(path, SIZE)
        return
    with open(path, 'wb') as f:
        f.truncate(SIZE)
        for at in range(0, SIZE if holds == 'in turn' else 0, 2 * CELL):
            f.seek(at)
            f.write(b'd' * CELL)
        f.flush()
        os.fsync(f.fileno())


def rebuild(folder, source, leg):
    """-> seconds, CPU seconds, bytes of the leg afterwards"""
    bad, good, state = (os.path.join(folder, name) for name in ('bad', 'good', 'state'))
    make(bad, leg)
    make(good, source)
    with weft.open(f'mirror:[error:[file:{bad}],op=write,first=1],[file:{good}],state={state},region=1MiB,rebuild=off') as mirror:
        for at in range(0, SIZE, MIB):  # in each region the first leg misses something
            mirror.write(at, b'x' * CELL)
    with weft.open(f'mirror:[error:[file:{bad}],op=write,from=1h],[file:{good}],state={state}') as mirror:
        began, cpu = time.monotonic(), time.process_time()
        with mirror.queue():
            while 'live' not in mirror.properties['leg 0']:
                time.sleep(0.002)
        took, cpu = time.monotonic() - began, time.process_time() - cpu
    if not filecmp.cmp(bad, good, shallow=False):
        raise RuntimeError('the legs differ')
    room = os.stat(bad).st_blocks * 512
    os.unlink(state)
    return took, cpu, room


def main():
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    lines = ['', "## A mirror's rebuild", '', *conditions(), f'- 64 MiB in regions of 1 MiB, files as legs, nothing else asks the '
             f'mirror; {runs} interleaved runs; bench/rebuild.py', '',
             '| source | leg | seconds: median | least to most | CPU seconds | leg afterwards, MiB |',
             '| --- | --- | ---: | ---: | ---: | ---: |']
    seen = {case: [] for case in CASES}
    with tempfile.TemporaryDirectory(prefix='weft-bench-', dir=os.environ.get('TMPDIR', '/var/tmp')) as folder:
        for _ in range(runs):
            for case in CASES:
                seen[case].append(rebuild(folder, *case))
    for (source, leg), results in seen.items():
        seconds, cpu, room = zip(*results)
        lines.append(f'| {source} | {leg} | {median(seconds):.2f} | {min(seconds):.2f} to {max(seconds):.2f} | '
                     f'{median(cpu):.2f} | {median(room) / MIB:.0f} |')
    print('\n'.join(lines))
    if 'append' in sys.argv:
        append(os.path.join(ROOT, 'bench/RESULTS.md'), lines)


if __name__ == '__main__':
    main()
