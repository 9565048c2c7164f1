# SPDX-License-Identifier: BSD-2-Clause
"""What a busy server asks of the kernel. Polling: nothing on null and memory, one call per turn at most on files. In notify mode: a
few per batch."""
import collections
import re
import shutil
import signal
import subprocess

import pytest

from waiting import end_with_parent, ended


SECOND = 1  # of work is looked at, and more where that is not enough


def traced_calls(pid):
    """-> {system call: count} of all threads of a process, seen from outside, or None where that is not allowed"""
    if shutil.which('strace') is None:
        return None
    with subprocess.Popen(['strace', '-f', '-c', '-p', str(pid)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE, text=True, preexec_fn=end_with_parent) as tracer:
        if 'attached' not in tracer.stderr.readline():
            return None
        ended(tracer, SECOND)
        tracer.send_signal(signal.SIGINT)
        rows = re.findall(r'^\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?(\w+)$', tracer.stderr.read(), re.M)
    return collections.Counter({name: int(calls) for calls, name in rows if name != 'total'})


@pytest.fixture
def loaded(serve, folder):
    """loaded(device, mode) -> what a server counted, and what was seen from outside, while it was busy: both sides in that mode"""
    def run(device, mode='poll'):
        server = serve(device, '--mode', mode)
        command = [server.command[0], 'bench', f'vhost-user:{server.socket}', '--rw', 'randrw', '--depth', '32', '--mode', mode,
                   '--time', '0']
        with subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT) as load:
            server.until(lambda told: told['reactors'][0]['requests'] >= 1000, 'stats', child=load)
            before = after = server.ctl('stats')['reactors'][0]
            seen, looks = collections.Counter(), 0
            while after['requests'] <= before['requests'] + 1000:
                calls, looks = traced_calls(server.child.pid), looks + 1
                seen = None if calls is None else seen + calls
                after = server.ctl('stats')['reactors'][0]
            load.terminate()
            load.communicate()
            assert load.returncode == 0
        if 'io_uring is not available' in server.log():
            pytest.skip('without io_uring each turn asks epoll')
        return {name: after[name] - before[name] for name in ('requests', 'turns', 'system_calls')}, seen, looks
    return run


@pytest.mark.parametrize('device', ['null:1GiB', 'mem:64MiB', 'slice:[mem:64MiB],offset=1MiB'])
def test_no_system_call_at_all(loaded, device):
    counted, seen, looks = loaded(device)
    assert counted['requests'] > 1000 and counted['system_calls'] == 0
    # Those of the control thread (it was asked for its numbers), and none for requests but one in 65536: there the ring's index
    # comes round to the event index, with which an initiator that polls says "never".
    assert seen is None or sum(seen.values()) < 50 * looks + counted['requests'] // 65536 * 2, (seen, counted)


def test_one_per_turn_at_most_on_a_file(loaded):
    counted, _, _ = loaded('file:disk.img,create=64MiB')
    assert counted['requests'] > 500 and 0 < counted['system_calls'] <= counted['turns']


def test_wake_ups_are_for_batches(loaded):
    """Neither side polls, 32 requests travel together: to sleep, and to notify the other, is a system call per batch. Both
    sides show what they have after 8 requests: a batch may be as small."""
    counted, seen, looks = loaded('null:1GiB', 'notify')
    assert counted['requests'] > 1000 and 0 < counted['system_calls'] <= counted['requests'] // 8
    assert seen is None or 0 < seen.get('write', 0) <= 50 * looks + counted['requests'] // 8, (seen, counted)
