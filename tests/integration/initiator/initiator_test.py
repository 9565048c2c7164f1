# SPDX-License-Identifier: BSD-2-Clause
"""The vhost-user initiator against servers as they are: our own, and qemu-storage-daemon. The load generator checks every block."""
import json
import os
import random
import subprocess

import pytest

from listening import Listening
from waiting import LIMIT, WEFT, end_with_parent, ended


@pytest.fixture
def weft(folder):
    servers = []

    def make(device='mem:64MiB', options='', *arguments):
        path = os.path.join(folder, 'weft.sock')
        servers.append(Listening([WEFT, 'serve', device, '--on', f'vhost-user:{path}{options}', *arguments], path))
        return servers[-1]

    yield make
    for server in servers:
        assert server.stop() == 0, server.text()


@pytest.fixture
def qemu(folder):
    servers = []

    def make(queues=1):
        path, image = os.path.join(folder, 'qsd.sock'), os.path.join(folder, 'disk.img')
        with open(image, 'wb') as disk:
            disk.truncate(64 << 20)
        servers.append(Listening(
            ['qemu-storage-daemon', '--blockdev', f'driver=file,node-name=disk,filename={image},discard=unmap', '--export',
             f'type=vhost-user-blk,id=export,node-name=disk,writable=on,addr.type=unix,addr.path={path},num-queues={queues}'],
            path))
        return servers[-1]

    yield make
    for server in servers:
        server.stop()


def bench(server, *arguments, options=''):
    """-> the JSON of a run that must have been good."""
    run = subprocess.run([WEFT, 'bench', f'vhost-user:{server.path}{options}', '--json', *arguments], stdin=subprocess.DEVNULL,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=LIMIT, check=False)
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
               '--time', '0', '--depth', '16']
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          preexec_fn=end_with_parent) as load:
        chance = random.Random(3)
        for kill in range(12):
            server.until_said('client 1 has connected', load, times=kill + 1)
            assert ended(load, chance.uniform(0, 0.3)) is None, load.stderr.read() + server.text()
            server.kill()
            server.start()
        server.until_said('client 1 has connected', load, times=13)
        load.terminate()
        out, err = load.communicate(timeout=LIMIT)
    assert load.returncode == 0, err + server.text()
    result = json.loads(out)
    assert result['requests'] > 0 and result['errors'] == 0 and result['mismatches'] == 0


def test_nobody_listens(folder):
    run = subprocess.run([WEFT, 'bench', f'vhost-user:{folder}/none.sock'], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, text=True, timeout=LIMIT, check=False)
    assert run.returncode in (1, 2) and f'{folder}/none.sock' in run.stderr and run.stderr.count('\n') == 1
