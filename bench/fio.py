#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""libweft beside io_uring and libaio on the same file, by the same fio with the same job options (docs/fio.md).

usage: bench/fio.py [--cases file,null] [--depths 1,32,128] [--seconds N] [--repeats N] [--folder FOLDER] [--dry]

  file   a file of 1 GiB without holes, past the page cache, 4 KiB random reads: libweft's file with its memory plain and
         pinned; io_uring plain and with registered buffers and file; libaio
  null   what the engine itself costs: libweft's null and mem beside fio's own null engine, which does nothing

A job is one process on one processor (the last). CPU time is the job's own thread's as fio tells it, and beside it that of the
whole process with what else libweft runs there, less what fio needs to start and end. Runs are interleaved, each time beginning
with another engine; medians are told and appended to bench/RESULTS.md with the conditions.
"""
import argparse
import json
import os
import shlex
import shutil
import subprocess
import tempfile

from common import ROOT, append, conditions, fill, median, WEFT

SIZE = 1 << 30
ENGINE = '--ioengine=external:{engine}'
JOB = ('fio --name=read --rw=randread --bs=4k --size=1g --direct=1 --iodepth={depth} --time_based --runtime={seconds} '
       '--norandommap --randrepeat=0 --cpus_allowed={cpu} --output-format=json')
ENGINES = {
    'file': {
        'weft': f'{ENGINE} --weft_device=file:{{file}},direct=on --weft_memory=plain',
        'weft, pinned': f'{ENGINE} --weft_device=file:{{file}},direct=on --weft_memory=pinned',
        'io_uring': '--ioengine=io_uring --filename={file}',
        'io_uring, registered': '--ioengine=io_uring --fixedbufs --registerfiles --filename={file}',
        'libaio': '--ioengine=libaio --filename={file}',
    },
    'null': {
        'weft, null': f'{ENGINE} --weft_device=null:1GiB',
        'weft, mem': f'{ENGINE} --weft_device=mem:1GiB',
        'fio null': '--ioengine=null --filename=nothing',
    },
}
PEERS = {'weft': ('io_uring', 'libaio'), 'weft, pinned': ('io_uring, registered',)}


def command(engine, depth, seconds, file):
    library = os.path.join(os.path.dirname(WEFT), 'libweft-fio.so')
    return shlex.split(f'{JOB} {engine}'.format(engine=library, file=shlex.quote(file), depth=depth, seconds=seconds,
                                                cpu=os.cpu_count() - 1))


def process_cpu(words, folder):
    """One run -> (what fio tells, CPU seconds of the process and its children)"""
    with open(f'{folder}/out', 'w+', encoding='utf-8') as out, open(f'{folder}/errors', 'w+', encoding='utf-8') as errors:
        child = subprocess.Popen(words, cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=errors)
        _, child.returncode, used = os.wait4(child.pid, 0)
        out.seek(0)
        errors.seek(0)
        text = out.read()
        if child.returncode != 0:
            raise RuntimeError(f'{shlex.join(words)}\n{text}{errors.read()}')
    return json.loads(text[text.index('{'):])['jobs'][0], used.ru_utime + used.ru_stime


def once(engine, depth, options, place):
    """-> requests per second, CPU us per request of the job's thread, and of the process, p50 and p99 us"""
    job, cpu = process_cpu(command(engine, depth, options.seconds, place['file']), place['folder'])
    read, percentiles = job['read'], job['read']['clat_ns']['percentile']
    requests = read['total_ios']
    thread = (job['usr_cpu'] + job['sys_cpu']) / 100 * job['job_runtime'] / 1000
    return (read['iops'], thread / requests * 1e6, (cpu - place['start_cpu']) / requests * 1e6,
            percentiles['50.000000'] / 1000, percentiles['99.000000'] / 1000)


def measure(engines, depth, options, place):
    """-> {engine: [what once told]}"""
    names, found = list(engines), {name: [] for name in engines}
    for repeat in range(options.repeats):
        turn = repeat % len(names)
        for name in names[turn:] + names[:turn]:  # nobody always has what another one left
            found[name].append(once(engines[name], depth, options, place))
    return found


def middle(runs):
    return [median(column) for column in zip(*runs)]


def compared(name, found):
    """Speed, and CPU time per request, of this engine of ours by those of its peers."""
    rate, cpu = middle(found[name])[:2]
    for peer in PEERS.get(name, ()):
        theirs, their_cpu = middle(found[peer])[:2]
        yield f'{peer}: {rate / theirs:.3f} x the speed, {cpu / their_cpu:.3f} x the CPU time'


def rows(depth, found):
    for name, runs in found.items():
        rates = [run[0] for run in runs]
        rate, thread, process, p50, p99 = middle(runs)
        yield (f'| {depth} | {name} | {rate:,.0f} | {min(rates):,.0f} to {max(rates):,.0f} | {thread:.3f} | {process:.3f} | '
               f'{p50:.1f} | {p99:.1f} | {"; ".join(compared(name, found))} |')


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--cases', type=lambda text: text.split(','), default=['file', 'null'])
    parser.add_argument('--depths', type=lambda text: [int(word) for word in text.split(',')], default=[1, 32, 128])
    parser.add_argument('--seconds', type=int, default=1, help='of each run')
    parser.add_argument('--repeats', type=int, default=5)
    parser.add_argument('--folder', default=None, help='where the file lies, on a disk')
    parser.add_argument('--dry', action='store_true', help='to standard output only')
    return parser.parse_args()


def main():
    options = parse()
    folder = tempfile.mkdtemp(prefix='weft-fio-', dir=options.folder)
    place = {'folder': folder, 'file': f'{folder}/disk.img', 'start_cpu': 0}
    lines = ['', "## libweft beside fio's own engines", '', *conditions(),
             f'- {subprocess.run(["fio", "--version"], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()}, 4 KiB '
             f'random reads, {options.repeats} interleaved runs of {options.seconds} s, medians; one process, on one processor', '',
             '| depth | engine | requests/s | least to most | CPU us/request, thread | process | p50 us | p99 us | it is |',
             '| ---: | --- | ---: | --- | ---: | ---: | ---: | ---: | --- |']
    try:
        if 'file' in options.cases:
            fill(place['file'], SIZE)
        empty = [word for word in command(ENGINES['null']['fio null'], 1, 1, '') if word != '--time_based'] + ['--io_size=4k']
        place['start_cpu'] = median([process_cpu(empty, folder)[1] for _ in range(3)])
        for case in options.cases:
            for depth in options.depths:
                lines += rows(depth, measure(ENGINES[case], depth, options, place))
    finally:
        shutil.rmtree(folder)
    lines += ['', 'Commands:', '', '```', JOB]
    lines += [f'{name}: {engine}' for case in options.cases for name, engine in ENGINES[case].items()]
    lines.append('```')
    print('\n'.join(lines))
    if not options.dry:
        append(os.path.join(ROOT, 'bench/RESULTS.md'), lines)


if __name__ == '__main__':
    main()
