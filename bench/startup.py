#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""From the start of `weft serve` to its listening socket, to its end, and what it takes of memory meanwhile.

usage: bench/startup.py [ROUNDS]      Wanted: at most 50 ms to listen, at most 32 MiB RssAnon plus RssFile.
"""
import statistics
import subprocess
import sys
import tempfile
import time

from common import WEFT

DEVICES = ['null:1TiB', 'mem:1GiB', 'file:{folder}/disk.img,create=1GiB']


def memory_kib(pid):
    with open(f'/proc/{pid}/status', encoding='ascii') as status:
        fields = dict(line.split(':', 1) for line in status)
    return sum(int(fields[name].split()[0]) for name in ('RssAnon', 'RssFile'))


def once(device, folder):
    """-> ms until it listens (it says so), ms until it has ended, KiB"""
    began = time.perf_counter()
    child = subprocess.Popen([WEFT, 'serve', device.format(folder=folder), '--on', f'vhost-user:{folder}/vm.sock', '--log',
                              'warn'], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    with child.stdout:
        assert child.stdout.readline().startswith('serving ')
    listens = time.perf_counter()
    kib = memory_kib(child.pid)
    told = time.perf_counter()
    child.terminate()
    assert child.wait(10) == 0
    return (listens - began) * 1e3, (time.perf_counter() - told) * 1e3, kib


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 30
    print('| device | to listen, ms: median | worst | to end, ms | memory, MiB |\n| --- | --- | --- | --- | --- |')
    with tempfile.TemporaryDirectory(prefix='weft-') as folder:
        for device in DEVICES:
            starts, ends, sizes = zip(*(once(device, folder) for _ in range(rounds)))
            print(f'| {device.split(":")[0]} | {statistics.median(starts):.1f} | {max(starts):.1f} | '
                  f'{statistics.median(ends):.1f} | {max(sizes) / 1024:.1f} |', flush=True)


if __name__ == '__main__':
    main()
