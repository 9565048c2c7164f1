#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""The four arrangements of threads side by side, through libweft: null, 4 KiB reads, all polling, at depth 1 and 32; and three
connections to one server, driven by one thread: to one device of memory, and to a device each.

Each repeat goes through all of them (bench/arrangements.c does one). How long a cache line takes between the two processors is
measured before and after each run: on a virtual machine it changes, and runs in which it did are left out of the table.
"""
import argparse
import json
import os
import subprocess

from common import ROOT, Server, append, conditions, line_ns, median, WEFT
from vhost import NEAR_NS

HOW = ['--mode', 'poll', '--cpus', '{cpu}', '--log', 'error']
SERVE = [WEFT, 'serve', '{device}', '--on', 'vhost-user:{socket}', *HOW]
# name: how, processors of the program (all or one), device, what is served
ARRANGEMENTS = {
    'a call': ('loop', 1, 'null:1GiB', None),
    'direct': ('ask', 1, 'null:1GiB', None),
    'reactor per thread, 2 threads': ('ask', 2, 'null:1GiB', None),
    'queued': ('ask', 1, 'home:[null:1GiB]', None),
    'shared memory': ('ask', 1, 'vhost-user:{socket},depth={depth}', 'null:1GiB'),
}
CONNECTIONS = 3
MEMORY = {  # of the three connections: what is served, by how many devices
    '3 connections to a device of memory': ('mem:1GiB', 1),
    '3 connections, a device of memory each': ('mem:1GiB', CONNECTIONS),
}


def ask(options, how, depth, cpus, devices):
    """-> what bench_arrangements tells"""
    program = os.path.join(os.path.dirname(WEFT), 'tests/bench_arrangements')
    before = line_ns(options.cpus)
    run = subprocess.run([program, how, str(depth), str(options.seconds), cpus, options.cpus[0], *devices], stdout=subprocess.PIPE,
                         text=True, check=True, timeout=120)
    return dict(json.loads(run.stdout), line_ns=[before, line_ns(options.cpus)])


def one(options, name, depth):
    how, processors, device, served = ARRANGEMENTS[name]
    cpus = ','.join(options.cpus[:0:-1] if processors == 1 else options.cpus)
    if served is None:
        return ask(options, how, depth, cpus, [device])
    command = [word.format(device=served, cpu=options.cpus[0], socket='{socket}') for word in SERVE]
    with Server(command) as server:
        return ask(options, how, depth, cpus, [device.format(socket=server.path, depth=depth)])


def connections(options, depth, device, devices):
    """One thread, one server, a socket for each connection; of memory that is there."""
    sockets = ['{socket}', *(f'{{folder}}/{n}.sock' for n in range(1, CONNECTIONS))]
    words = [word for n, path in enumerate(sockets) for word in (*([device] if n < devices else []), '--on', f'vhost-user:{path}')]
    with Server([WEFT, 'serve', *words, *(word.replace('{cpu}', options.cpus[0]) for word in HOW)]) as server:
        paths = [path.format(socket=server.path, folder=server.folder) for path in sockets]
        for path in paths[:devices]:
            server.bench('--rw', 'write', '--bs', '1MiB', '--depth', 4, '--amount', '1GiB', '--time', '0', path=path)
        return ask(options, 'ask', depth, options.cpus[1], [f'vhost-user:{path},depth={depth}' for path in paths])


def where_of(run):
    near = [ns < NEAR_NS for ns in run['line_ns']]
    return None if near[0] != near[1] else 'near' if near[0] else 'far'


def is_above(name, base):
    order = list(ARRANGEMENTS)
    return name in order and order.index(name) > order.index(base)


def table(results):
    """-> Markdown, a line for each distance, depth and arrangement"""
    lines = ['| line ns | depth | arrangement | runs | ns per request | above direct | above a call | undisturbed '
             '| M/s, all threads |', '| ---: | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: |']
    for distance in ('near', 'far'):
        for depth in sorted({d for _, d in results}):
            runs = {name: [r for r in found if where_of(r) == distance] for (name, d), found in results.items() if d == depth}
            ns = {name: median([r['ns'] for r in found]) for name, found in runs.items() if found}
            for name in ns:
                above = [f'{ns[name] - ns[base]:.0f}' if base in ns and is_above(name, base) else ''
                         for base in ('direct', 'a call')]
                apart = median([n for r in runs[name] for n in r['line_ns']])
                lines.append(f'| {apart:.0f} | {depth} | {name} | {len(runs[name])} | {ns[name]:.1f} | {above[0]} | {above[1]} '
                             f'| {median([r["undisturbed_ns"] for r in runs[name]]):.1f} '
                             f'| {median([r["per_s"] for r in runs[name]]) / 1e6:.3f} |')
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--repeats', default=5, type=int)
    parser.add_argument('--seconds', default=0.5, type=float, help='of each run')
    parser.add_argument('--depths', default='1,32', type=lambda t: [int(n) for n in t.split(',')])
    parser.add_argument('--arrangements', default=list(ARRANGEMENTS), type=lambda t: [n for n in t.split(',') if n],
                        help='some of them, besides the connections; empty: none')
    parser.add_argument('--cpus', default='0,1', type=lambda t: t.split(','),
                        help='processors of the service or server, and of the program')
    parser.add_argument('--results', default=os.path.join(ROOT, 'bench/RESULTS.md'),
                        help='appended to; empty: standard output only')
    options = parser.parse_args()
    where, results = conditions(), {}
    for _ in range(options.repeats):
        for depth in options.depths:
            for name in options.arrangements:
                results.setdefault((name, depth), []).append(one(options, name, depth))
        for name, (device, devices) in MEMORY.items():
            results.setdefault((name, 32), []).append(connections(options, 32, device, devices))
    lines = ['', '## Arrangements of threads', '', *where,
             f'- 4 KiB reads through libweft, null, {options.repeats} interleaved repeats of {options.seconds} s, medians; the '
             f'program on processor {options.cpus[1]}, the service or server on {options.cpus[0]}, all polling; '
             '`bench/arrangements.py`', '',
             *table(results)]
    print('\n'.join(lines))
    if options.results:
        append(options.results, lines)


if __name__ == '__main__':
    main()
