#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""A half-sparse image copied by weft, qemu-img and nbdcopy, side by side.

usage: bench/copy.py [--cases direct,cached,server] [--size GIB] [--repeats N] [--folder FOLDER] [--dry]

  direct   file to new file, both past the page cache (nbdcopy cannot)
  cached   file to new file through the page cache; the source is not in it at first
  server   file to a server's file, past the page cache: weft to vhost-user of `weft serve`; the others, which do not speak
           that, by NBD to qemu-storage-daemon

All look for zeroes in pieces of 64 KiB, have 64 requests of 256 KiB in flight (qemu-img: 16 of 2 MiB), and the time counts
until the copy is flushed: by the tool, and by fdatasync of the destination after it. Runs are interleaved in every order, so
that none always has what the same other one left, and each begins with as much memory at hand as the image is large (in a
virtual machine, free memory may have gone back to the host). Medians are told, CPU time is the tool's and the server's, and
the table is appended to bench/RESULTS.md with the conditions.
"""
import argparse
import itertools
import mmap
import os
import random
import shlex
import shutil
import subprocess
import tempfile
import time

from common import MIB, ROOT, Server, append, conditions, median, WEFT

DEPTH, PIECE = 64, MIB // 4
COPY = f'WEFT copy {{from}} {{to}} --sparse --depth {DEPTH} --bs {PIECE} --log error'
QEMU = 'qemu-img convert -f raw -O raw -W -m 16 -S 64k'  # as many as it can
NBDCOPY = f'nbdcopy --flush --sparse=65536 --requests={DEPTH} --request-size={PIECE}'
TOOLS = {
    ('direct', 'weft'): COPY.format(**{'from': 'file:{source},direct=on', 'to': 'file:{target},direct=on'}),
    ('direct', 'qemu-img'): f'{QEMU} -T none -t none {{source}} {{target}}',
    ('cached', 'weft'): COPY.format(**{'from': 'file:{source},direct=off', 'to': 'file:{target},direct=off'}),
    ('cached', 'qemu-img'): f'{QEMU} -T writeback -t writeback {{source}} {{target}}',
    ('cached', 'nbdcopy'): f'{NBDCOPY} {{source}} {{target}}',
    ('server', 'weft'): COPY.format(**{'from': 'file:{source},direct=on', 'to': 'vhost-user:{socket}'}),
    ('server', 'qemu-img'): f'{QEMU} -n -T none -t none {{source}} nbd+unix:///?socket={{socket}}',
    ('server', 'nbdcopy'): f'{NBDCOPY} {{source}} nbd+unix:///?socket={{socket}}',
}
SERVE_WEFT = 'WEFT serve file:{target},direct=on --on vhost-user:{socket} --log error'
SERVE_QEMU = ('qemu-storage-daemon --blockdev '
              'driver=file,filename={target},cache.direct=on,aio=io_uring,discard=unmap,node-name=disk --nbd-server '
              'addr.type=unix,addr.path={socket} --export type=nbd,id=e,node-name=disk,name=,writable=on')


def image_make(path, size):
    """Runs of 1 to 64 MiB, every other one a hole: half of it is data, which nothing can compress away."""
    choice, block = random.Random(1), os.urandom(MIB)
    left = {True: size // MIB // 2, False: size // MIB - size // MIB // 2}
    with open(path, 'wb') as image:
        image.truncate(size)
        data = True
        while left[True] or left[False]:
            run = min(choice.randint(1, 64), left[data])
            for _ in range(run):
                if data:
                    image.write(block)
                else:
                    image.seek(MIB, os.SEEK_CUR)
            left[data] -= run
            data = not data
        image.flush()
        os.fsync(image.fileno())


def forget(path):
    """Out of the page cache."""
    with open(path, 'rb') as image:
        os.posix_fadvise(image.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def touch_memory(size):
    """A virtual machine's free memory may have gone back to its host, and whoever uses it first waits for it: nobody measured."""
    mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE).close()


def words(template, **places):
    return [WEFT if word == 'WEFT' else word.format(**places) for word in shlex.split(template)]


def timed(command, target):
    """-> seconds until all is on the disk, CPU seconds"""
    began = time.perf_counter()
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    errors = child.stderr.read()
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = status
    child.stderr.close()
    with open(target, 'rb') as copy:
        os.fdatasync(copy.fileno())
    if status != 0:
        raise RuntimeError(f'{shlex.join(command)}\n{errors.decode()}')
    return time.perf_counter() - began, used.ru_utime + used.ru_stime


def once(case, tool, source, target, size):
    """One copy -> (seconds, CPU seconds, CPU seconds of the server)"""
    if os.path.exists(target):
        os.unlink(target)
    forget(source)
    touch_memory(size)
    if case != 'server':
        return (*timed(words(TOOLS[case, tool], source=source, target=target), target), 0)
    with open(target, 'wb') as image:
        image.truncate(size)
    with Server(words(SERVE_WEFT if tool == 'weft' else SERVE_QEMU, target=target, socket='{socket}')) as server:
        before = server.cpu_ns()
        spent = timed(words(TOOLS[case, tool], source=source, socket=server.path), target)
        return (*spent, (server.cpu_ns() - before) / 1e9)


def same(source, target):
    return subprocess.run(['cmp', source, target], check=False).returncode == 0


def measure(case, tools, folder, options):
    """-> {tool: [(seconds, CPU, server's CPU)]}"""
    source, target, size = f'{folder}/source.img', f'{folder}/target.img', options.size << 30
    found = {tool: [] for tool in tools}
    orders = itertools.cycle(itertools.permutations(tools))
    for repeat in range(options.repeats):
        for tool in next(orders):
            found[tool].append(once(case, tool, source, target, size))
            if repeat == 0 and not options.unchecked:
                assert same(source, target), f'{tool}, {case}: the copy is not what was copied'
    os.unlink(target)
    return found


def rows(case, found, size):
    weft = median([run[0] for run in found['weft']])
    for tool, runs in sorted(found.items()):
        seconds = [run[0] for run in runs]
        middle = median(seconds)
        yield (f'| {case} | {tool} | {middle:.2f} | {min(seconds):.2f} to {max(seconds):.2f} | {size / middle / (1 << 30):.2f} | '
               f'{median([run[1] for run in runs]):.2f} | {median([run[2] for run in runs]):.2f} | '
               f'{"" if tool == "weft" else f"{middle / weft:.2f} x"} |')


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--cases', type=lambda text: text.split(','), default=['direct', 'cached', 'server'])
    parser.add_argument('--size', type=int, default=4, help='GiB')
    parser.add_argument('--repeats', type=int, default=3)
    parser.add_argument('--folder', default=None, help='where the images lie, on a disk')
    parser.add_argument('--unchecked', action='store_true', help='copies are not compared')
    parser.add_argument('--dry', action='store_true', help='to standard output only')
    return parser.parse_args()


def main():
    options = parse()
    folder = tempfile.mkdtemp(prefix='weft-copy-', dir=options.folder)
    lines = ['', '## Copying a half-sparse image', '', *conditions(),
             f'- {options.size} GiB, half of it holes; {options.repeats} interleaved repeats; until the copy is flushed', '',
             '| case | tool | s median | least to most | GiB/s | CPU s | server CPU s | weft is |',
             '| --- | --- | ---: | --- | ---: | ---: | ---: | ---: |']
    used = []
    try:
        image_make(f'{folder}/source.img', options.size << 30)
        for case in options.cases:
            tools = [tool for where, tool in TOOLS if where == case and (tool == 'weft' or shutil.which(tool))]
            lines += rows(case, measure(case, tools, folder, options), options.size << 30)
            used += [f'{tool} {case}: {TOOLS[case, tool].replace("WEFT", "weft")}' for tool in tools]
    finally:
        shutil.rmtree(folder)
    lines += ['', 'Commands:', '', '```', *used, '```']
    print('\n'.join(lines))
    if not options.dry:
        append(os.path.join(ROOT, 'bench/RESULTS.md'), lines)


if __name__ == '__main__':
    main()
