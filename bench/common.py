# SPDX-License-Identifier: BSD-2-Clause
"""What the side-by-side measurements share: servers, runs of the load generator, conditions."""
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'tests'))

from listening import Listening  # noqa: E402
from waiting import BUILD, ROOT, WEFT  # noqa: E402

MIB = 1 << 20


def line_ns(cpus):
    """How long a cache line takes from one of two processors to the other and back."""
    program = os.path.join(BUILD, 'tests/bench_bounce')
    return float(subprocess.run([program, *cpus], stdout=subprocess.PIPE, text=True, check=True).stdout)


class Server(Listening):
    """A vhost-user-blk server that runs until the end of the block. `command`: words; {socket} stands for its path, {folder} for
    the folder that it lies in, blk.sock there."""

    def __init__(self, command):
        self.folder = tempfile.mkdtemp(prefix='weft-bench-')
        path = os.path.join(self.folder, 'blk.sock')
        try:
            super().__init__([word.replace('{socket}', path).replace('{folder}', self.folder) for word in command], path)
        except BaseException:
            shutil.rmtree(self.folder)
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
        self.log.close()
        shutil.rmtree(self.folder)

    def cpu_ns(self):
        """CPU time of all its threads, ns."""
        total = 0
        for task in os.listdir(f'/proc/{self.child.pid}/task'):
            try:
                with open(f'/proc/{self.child.pid}/task/{task}/schedstat', encoding='ascii') as f:
                    total += int(f.read().split()[0])
            except OSError:
                pass  # a thread that has just ended
        return total

    def bench(self, *arguments, options='', path=None):
        """One run of our load generator against it (at another path than its socket) -> its JSON, with the server's CPU time."""
        command = [WEFT, 'bench', f'vhost-user:{path or self.path}{options}', '--json', '--log', 'error',
                   *map(str, arguments)]
        before = self.cpu_ns()
        run = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                             timeout=300, check=False)
        if run.returncode != 0:
            raise RuntimeError(f'{shlex.join(command)}\n{run.stderr}')
        result = json.loads(run.stdout)
        result['server_cpu_ns'] = self.cpu_ns() - before
        result['command'] = shlex.join(['weft', *command[1:]])
        return result


def fill(path, size):
    """A file without holes, of data that nothing can compress away."""
    block = os.urandom(MIB)
    with open(path, 'wb') as f:
        for _ in range(size // MIB):
            f.write(block)
        f.flush()
        os.fsync(f.fileno())


def median(values):
    values = sorted(values)
    half = len(values) // 2
    return values[half] if len(values) % 2 else (values[half - 1] + values[half]) / 2


def quiet():
    """-> what nobody can use of the time of a processor: bench/quiet.c"""
    program = os.path.join(BUILD, 'tests/bench_quiet')
    if not os.path.exists(program):
        return ''
    seen = json.loads(subprocess.run([program], stdout=subprocess.PIPE, text=True, check=True).stdout)
    text = f'; a thread that never sleeps misses {seen[0]["lost_percent"]} % of the time, {seen[0]["longest_us"]:.0f} us at most'
    if len(seen) > 1:
        both = ' and '.join(f'{one["lost_percent"]} %' for one in seen[1:])
        text += f'; two at once {both}, with {sum(one["over_1ms"] for one in seen[1:]):.0f} gaps of more than 1 ms per second'
    return text


def conditions():
    """-> lines that say where this was measured."""
    with open('/proc/cpuinfo', encoding='utf-8') as f:
        model = next((line.split(':', 1)[1].strip() for line in f if line.startswith('model name')), 'unknown')
    version = subprocess.run(['git', '-C', ROOT, 'log', '-1', '--format=%h'], stdout=subprocess.PIPE, text=True,
                             check=False).stdout.strip()
    now = time.strftime('%Y-%m-%d %H:%M', time.gmtime())
    return [f'- {now} UTC, weft {version}, load average before: {os.getloadavg()[0]:.2f}',
            f'- {os.cpu_count()} processors, {model}, Linux {platform.release()}{quiet()}']


def append(path, lines):
    with open(path, 'a', encoding='utf-8') as f:
        f.write('\n'.join(lines) + '\n')
