#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""vhost-user-blk servers side by side, under our initiator: 4 KiB random reads, one polling core each side.

"Undisturbed" is the rate that one in fifty slices of 0.5 ms reached: on a machine that has other things to do, what would
have been; on one that has not, about the same as the rate. A disk answers in bursts: there it says nothing.

Runs are interleaved (each repeat goes through all servers), medians are told, and the table is appended to
bench/RESULTS.md with the conditions.

Two processors of a virtual machine may be one core now and two later. How long a line takes from one to the other and back is
measured before and after each run, and results are told apart by it: "line" in the table. Runs in which it changed are left out.

Another server: --server NAME:CASE='COMMAND', where CASE is null, mem, file or tmpfs. In COMMAND, {socket} stands for the
socket's path, {folder} for the folder that it lies in (there it is blk.sock), {image} for the file, {cpu} for the server's
processor. What needs more than one command is a script that ends with exec, so that its CPU time is the server's.
"""
import argparse
import json
import os
import shlex
import shutil
import subprocess
import tempfile

from common import MIB, ROOT, Server, append, conditions, fill, line_ns, median, WEFT

SIZE = 1 << 30
NEAR_NS = 150  # a line there and back: within one core, or between two
CASES = ('null', 'mem', 'file', 'tmpfs')
TEMPLATES = {
    ('weft', 'null'): 'WEFT serve null:1GiB --on vhost-user:{socket} --mode poll --cpus {cpu} --log error',
    ('weft-notify', 'null'): 'WEFT serve null:1GiB --on vhost-user:{socket} --mode notify --cpus {cpu} --log error',
    ('weft-adaptive', 'null'): 'WEFT serve null:1GiB --on vhost-user:{socket} --mode adaptive --cpus {cpu} --log error',
    ('weft', 'mem'): 'WEFT serve mem:1GiB --on vhost-user:{socket} --mode poll --cpus {cpu} --log error',
    ('weft', 'file'): 'WEFT serve file:{image} --on vhost-user:{socket} --mode poll --cpus {cpu} --log error',
    ('weft-adaptive', 'file'): 'WEFT serve file:{image} --on vhost-user:{socket} --mode adaptive --cpus {cpu} --log error',
    ('weft', 'tmpfs'): 'WEFT serve file:{image} --on vhost-user:{socket} --mode poll --cpus {cpu} --log error',
}
QEMU = ('taskset -c {cpu} qemu-storage-daemon --blockdev {blockdev},node-name=disk '
        '--export type=vhost-user-blk,id=e,node-name=disk,writable=on,addr.type=unix,addr.path={socket}')
# In a thread of its own, which polls for a while before it sleeps.
QEMU_IOTHREAD = QEMU.replace('--blockdev', '--object iothread,id=io --blockdev').replace('writable=on,', 'writable=on,iothread=io,')
# In a thread of its own, which sleeps at once.
QEMU_SLEEPING = QEMU_IOTHREAD.replace('iothread,id=io', 'iothread,id=io,poll-max-ns=0')
BLOCKDEVS = {
    'null': 'driver=null-co,size=1073741824',
    'file': 'driver=file,filename={image},cache.direct=on,aio=io_uring',
    'tmpfs': 'driver=file,filename={image}',
}


def servers(options):
    """-> {(name, case): command words}"""
    found = dict(TEMPLATES)
    if shutil.which('qemu-storage-daemon') and not options.no_qemu:
        for case, blockdev in BLOCKDEVS.items():
            found['qemu', case] = QEMU.replace('{blockdev}', blockdev)
            found['qemu-iothread', case] = QEMU_IOTHREAD.replace('{blockdev}', blockdev)
        found['qemu-sleeping', 'null'] = QEMU_SLEEPING.replace('{blockdev}', BLOCKDEVS['null'])
    for text in options.server:
        where, command = text.split('=', 1)
        name, case = where.split(':')
        found[name, case] = command
    return {(name, case): shlex.split(command) for (name, case), command in found.items()
            if case in options.cases and (not options.only or name in options.only)}


def images(options):
    """-> {case: path}"""
    found = {}
    for case, folder in (('file', options.folder), ('tmpfs', '/dev/shm')):
        if case in options.cases:
            handle, found[case] = tempfile.mkstemp(prefix='weft-bench-', suffix='.img', dir=folder)
            os.close(handle)
            fill(found[case], SIZE)
    return found


def fio(image, depth, options):
    """What the kernel gives without anything between: fio's io_uring engine."""
    run = subprocess.run(['fio', '--name=x', '--ioengine=io_uring', '--direct=1', '--rw=randread', '--bs=4k', f'--iodepth={depth}',
                          f'--filename={image}', f'--runtime={options.seconds}', '--time_based',
                          f'--cpus_allowed={options.cpus[0]}', '--output-format=json'],
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=True)
    job = json.loads(run.stdout[run.stdout.index('{'):])['jobs'][0]
    read = job['read']
    late = read['clat_ns']['percentile']
    return {'iops': read['iops'], 'requests': read['total_ios'], 'line_ns': [],
            'server_cpu_ns': (job['usr_cpu'] + job['sys_cpu']) / 100 * job['job_runtime'] * 1e6,
            'latency_ns': {'p50': late['50.000000'], 'p99': late['99.000000']}}


def measure(options, commands, paths, results):
    """Adds a result for each repeat to `results`: {(case, depth, name): [results]}"""
    done = max(map(len, results.values()), default=0)
    for repeat in range(done, done + options.repeats):
        for case in options.cases:
            for name in sorted((n for n, c in commands if c == case), reverse=repeat % 2):
                command = [word.replace('{image}', paths.get(case, '')).replace('{cpu}', options.cpus[0])
                           for word in commands[name, case]]
                command[0] = WEFT if command[0] == 'WEFT' else command[0]
                with Server(command) as server:
                    if case == 'mem':  # memory that is there
                        server.bench('--rw', 'write', '--bs', '1MiB', '--depth', 4, '--amount', '1GiB', '--time', '0')
                    for depth in options.depths:
                        before = line_ns(options.cpus)
                        result = server.bench('--rw', 'randread', '--bs', '4KiB', '--depth', depth, '--time', f'{options.seconds}s',
                                              '--mode', options.mode, '--cpus', options.cpus[1], options=f',depth={depth}')
                        result['line_ns'] = [before, line_ns(options.cpus)]
                        results.setdefault((case, depth, name), []).append(result)
                        print(f'{repeat - done + 1}/{options.repeats} {case:6} depth {depth:4} {name:13} '
                              f'{result["iops"] / 1e6:8.4f} M/s', flush=True)
            if case == 'file' and shutil.which('fio') and (not options.only or 'fio' in options.only):
                for depth in options.depths:
                    results.setdefault((case, depth, 'fio'), []).append(fio(paths[case], depth, options))


def load(path):
    """-> the results of earlier calls"""
    if not path or not os.path.exists(path):
        return {}
    with open(path, encoding='utf-8') as f:
        return {(case, depth, name): runs for case, depth, name, runs in json.load(f)}


def save(path, results):
    with open(path, 'w', encoding='utf-8') as f:
        json.dump([[*key, runs] for key, runs in results.items()], f)


def rates(case, runs):
    return [run['iops' if case == 'file' else 'undisturbed_iops'] for run in runs]


def cpu_us(runs):
    per = [r['server_cpu_ns'] / r['requests'] / 1e3 for r in runs if r['requests']]
    return f'{median(per):.3f}' if per else ''


def at(distance, runs):
    """Those at this distance from begin to end, and those that know none."""
    return [run for run in runs if all((ns < NEAR_NS) == (distance == 'near') for ns in run['line_ns'])]


def line(case, depth, name, runs, ours):
    """One line of the table. Ratio: ours to theirs, undisturbed where that says something."""
    iops = [r['iops'] for r in runs]
    p50, p99 = (median([r['latency_ns'][p] for r in runs]) / 1e3 for p in ('p50', 'p99'))
    apart = [ns for run in runs for ns in run['line_ns']]
    best = '' if case == 'file' else f'{median(rates(case, runs)) / 1e6:.4f}'
    ratio = f'{median(rates(case, ours)) / median(rates(case, runs)):.2f} x' if ours and name != 'weft' else ''
    return (f'| {case} | {f"{median(apart):.0f}" if apart else ""} | {depth} | {name} | {len(runs)} | {median(iops) / 1e6:.4f} '
            f'| {min(iops) / 1e6:.4f} to {max(iops) / 1e6:.4f} | {best} | {p50:.1f} | {p99:.1f} | {cpu_us(runs)} | {ratio} |')


def table(results):
    """Markdown: a line for each case, distance of the processors, depth and server."""
    lines = ['| on | line ns | depth | server | runs | M/s median | least to most | undisturbed | p50 us | p99 us '
             '| server CPU us/request | weft is |',
             '| --- | ---: | ---: | --- | ---: | ---: | --- | ---: | ---: | ---: | ---: | ---: |']
    for case in CASES:
        for distance in ('near', 'far'):
            for depth in sorted({d for c, d, _ in results if c == case}):
                runs = {name: at(distance, runs) for (c, d, name), runs in sorted(results.items()) if (c, d) == (case, depth)}
                if any(run['line_ns'] for found in runs.values() for run in found):
                    lines += [line(case, depth, name, found, runs.get('weft')) for name, found in runs.items() if found]
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--cases', default=','.join(CASES), type=lambda t: t.split(','))
    parser.add_argument('--depths', default='1,32,128', type=lambda t: [int(n) for n in t.split(',')])
    parser.add_argument('--repeats', default=5, type=int)
    parser.add_argument('--seconds', default=2, type=int, help='of each run')
    parser.add_argument('--folder', default=ROOT, help='where the file on a disk is made')
    parser.add_argument('--server', action='append', default=[], help="NAME:CASE='COMMAND'")
    parser.add_argument('--only', default='', type=lambda t: t.split(',') if t else [], help='names of servers; without it: all')
    parser.add_argument('--no-qemu', action='store_true')
    parser.add_argument('--cpus', default='0,1', type=lambda t: t.split(','), help='processors of server and initiator')
    parser.add_argument('--mode', default='poll', help='how the initiator waits: poll, adaptive or notify')
    parser.add_argument('--samples', help='file of results: a table grows over several calls (with the same other options)')
    parser.add_argument('--results', default=os.path.join(ROOT, 'bench/RESULTS.md'),
                        help='appended to; empty: standard output only')
    options = parser.parse_args()
    commands = servers(options)
    where = conditions()
    results = load(options.samples)
    paths = images(options)
    try:
        measure(options, commands, paths, results)
    finally:
        for path in paths.values():
            os.unlink(path)
    if options.samples:
        save(options.samples, results)
    lines = ['', '## vhost-user-blk side by side', '', *where,
             f'- 4 KiB random reads of {SIZE // MIB} MiB, {max(map(len, results.values()))} interleaved repeats of '
             f'{options.seconds} s; server on processor {options.cpus[0]}, initiator on processor {options.cpus[1]} in mode '
             f'{options.mode}', '',
             *table(results), '', 'Commands:', '', '```']
    lines += [f'{name} {case}: ' + shlex.join(command).replace('WEFT', 'weft')
              for (name, case), command in sorted(commands.items())]
    lines += ['load: ' + next(iter(results.values()))[0]['command'], '```']
    print('\n'.join(lines))
    if options.results:
        append(options.results, lines)


if __name__ == '__main__':
    main()
