# SPDX-License-Identifier: BSD-2-Clause
"""The vhost-user initiator against servers as they are: our own, and qemu-storage-daemon. The load generator checks every block."""
import json
import os
import signal
import subprocess
import time

import pytest

from listening import SECONDS, WEFT, Listening


class Server(Listening):
    """Our own, or another one."""

    def end(self, how=signal.SIGTERM):
        self.child.send_signal(how)
        status = self.child.wait(SECONDS)
        return status

    def again(self):
        """Killed at once, and started again."""
        self.end(signal.SIGKILL)
        self.start()


@pytest.fixture
def weft(folder):
    servers = []

    def make(device='mem:64MiB', options='', *arguments):
        path = os.path.join(folder, 'weft.sock')
        servers.append(Server([WEFT, 'serve', device, '--on', f'vhost-user:{path}{options}', *arguments], path))
        return servers[-1]

    yield make
    for server in servers:
        assert server.end() == 0, server.text()


@pytest.fixture
def qemu(folder):
    servers = []

    def make(queues=1):
        path, image = os.path.join(folder, 'qsd.sock'), os.path.join(folder, 'disk.img')
        with open(image, 'wb') as disk:
            disk.truncate(64 << 20)
        servers.append(Server(
            ['qemu-storage-daemon', '--blockdev', f'driver=file,node-name=disk,filename={image},discard=unmap', '--export',
             f'type=vhost-user-blk,id=export,node-name=disk,writable=on,addr.type=unix,addr.path={path},num-queues={queues}'],
            path))
        return servers[-1]

    yield make
    for server in servers:
        server.end()


def bench(server, *arguments, options=''):
    """-> the JSON of a run that must have been good."""
    run = subprocess.run([WEFT, 'bench', f'vhost-user:{server.path}{options}', '--json', *arguments], stdin=subprocess.DEVNULL,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=SECONDS, check=False)
    assert run.returncode == 0, run.stderr + server.text()
    result = json.loads(run.stdout)
    assert result['errors'] == 0 and result['mismatches'] == 0
    return result


VERIFY = ('--rw', 'mixed', '--verify', '--amount', '48MiB', '--time', '0')


@pytest.mark.parametrize('mode', ['poll', 'adaptive', 'notify'])
def test_every_block_comes_back_from_qemu(qemu, mode):
    bench(qemu(), *VERIFY, '--mode', mode)


def test_two_queues_of_qemu(qemu):
    bench(qemu(queues=2), *VERIFY, '--queues', '2')


def test_qemu_with_more_reactors_than_queues(qemu):
    bench(qemu(queues=1), *VERIFY, '--queues', '2')


def test_requests_that_are_copied_to_qemu(qemu):
    bench(qemu(), *VERIFY, '--bs', '64KiB', options=',in-place=off')


def test_requests_longer_than_a_bounce_buffer(qemu):
    bench(qemu(), *VERIFY, '--bs', '1MiB', '--depth', '4', options=',in-place=off')


def test_a_second_client_after_the_first(qemu):
    server = qemu()
    for _ in range(3):
        bench(server, '--amount', '1MiB', '--time', '0')


@pytest.mark.parametrize('packed', ['on', 'off'])
@pytest.mark.parametrize('mode', ['poll', 'adaptive', 'notify'])
def test_every_block_comes_back_from_weft(weft, mode, packed):
    bench(weft('mem:64MiB', '', '--mode', mode), *VERIFY, '--mode', mode, options=f',packed={packed}')


def test_a_ring_that_is_always_full(weft):
    bench(weft(), *VERIFY, '--depth', '64', options=',depth=2')


def test_size_on_the_way_in_and_out(weft):
    """More requests than one queue holds, larger than one request may be."""
    bench(weft(), *VERIFY, '--bs', '512KiB', '--depth', '32', options=',depth=8')


@pytest.mark.parametrize('packed', ['on', 'off'])
def test_a_server_killed_under_load_loses_nothing(weft, folder, packed):
    image = os.path.join(folder, 'disk.img')
    server = weft(f'file:{image},create=64MiB')
    command = [WEFT, 'bench', f'vhost-user:{server.path},packed={packed},reconnect=5ms', '--rw', 'mixed', '--verify', '--json',
               '--time', '4s', '--depth', '16']
    load = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while 'client 2 has connected' not in server.text():  # the first one was our own look whether it listens
        assert load.poll() is None, server.text()
        time.sleep(0.002)
    kills = 0
    while kills < 12:
        try:
            load.wait(0.2)  # of work between two kills
            break
        except subprocess.TimeoutExpired:
            server.again()
            kills += 1
    out, err = load.communicate(timeout=SECONDS)
    assert load.returncode == 0, err + server.text()
    result = json.loads(out)
    assert kills >= 5 and result['requests'] > 0 and result['errors'] == 0 and result['mismatches'] == 0


def test_nobody_listens(folder):
    run = subprocess.run([WEFT, 'bench', f'vhost-user:{folder}/none.sock'], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, text=True, timeout=SECONDS, check=False)
    assert run.returncode in (1, 2) and f'{folder}/none.sock' in run.stderr and run.stderr.count('\n') == 1
