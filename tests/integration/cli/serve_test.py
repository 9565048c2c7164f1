# SPDX-License-Identifier: BSD-2-Clause
"""What a server does from its first line to its last."""
import json
import os
import signal
import subprocess

import pytest

from waiting import WEFT, until

MIB = 1 << 20


def test_it_says_what_it_serves_where(serve):
    assert serve('mem:1GiB').said == 'serving mem:1GiB (1.0 GiB) on vhost-user:vm0.sock\n'


def test_it_says_so_as_json(serve):
    said = json.loads(serve('mem:1GiB', '--json').said)
    assert said['event'] == 'serving' and said['size'] == 1 << 30 and said['export'] == 'vhost-user:vm0.sock'


def test_it_listens_when_it_says_so(serve, folder):
    serve('mem:1MiB')
    assert os.path.exists(f'{folder}/vm0.sock') and os.path.exists(f'{folder}/ctl0.sock')


@pytest.mark.parametrize('how', [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_well(serve, folder, how):
    assert serve('mem:1MiB').stop(how) == 0
    assert os.listdir(folder) == []


def test_reactors_stay_on_the_processors_that_were_named(serve):
    """In turn, when they are more."""
    there = sorted(os.sched_getaffinity(0))
    named = [there[-1], there[0], there[-1]]
    server = serve('mem:1MiB', '--cpus', ','.join(map(str, named)), '--reactors', '5')
    found = {}
    for thread in os.listdir(f'/proc/{server.child.pid}/task'):
        with open(f'/proc/{server.child.pid}/task/{thread}/comm', encoding='ascii') as name:
            found[name.read().strip()] = os.sched_getaffinity(int(thread))
    assert [found[f'weft/{1 + i}'] for i in range(5)] == [{cpu} for cpu in named + named[:2]]


def test_one_device_at_several_addresses(serve, weft):
    server = serve('mem:4MiB', '--on', 'vhost-user:second.sock')
    assert 'second.sock' in server.child.stdout.readline()
    assert weft('info', 'vhost-user:second.sock').status == 0
    assert weft('info', 'vhost-user:vm0.sock').status == 0


def test_layers_stand_in_order(serve):
    stack = serve('mem:4MiB', '--through', 'delay:read=1ms', '--through', 'limit:iops=1000').ctl('info')['stack']
    assert [stack['kind'], stack['below'][0]['kind'], stack['below'][0]['below'][0]['kind']] == ['limit', 'delay', 'mem']


@pytest.mark.parametrize('name, text', [
    ('disk.yaml', 'kind: delay\noptions: {read: 1ms}\ndevices:\n  - {kind: mem, address: 4MiB}\n'),
    ('disk.json', '{"kind": "delay", "options": {"read": "1ms"}, "devices": ["mem:4MiB"]}'),
])
def test_a_device_from_a_file(serve, folder, name, text):
    with open(f'{folder}/{name}', 'w') as config:
        config.write(text)
    stack = serve(None, '--config', name).ctl('info')['stack']
    assert stack['kind'] == 'delay' and stack['below'][0]['size'] == 4 * MIB
    assert os.remove(f'{folder}/{name}') is None


def test_a_file_that_is_made_stays(serve, folder):
    assert serve('file:new.img,create=4MiB').stop() == 0
    assert os.stat(f'{folder}/new.img').st_size == 4 * MIB


def test_what_a_client_writes_is_in_the_file(serve, weft, folder):
    server = serve('file:new.img,create=4MiB')
    done = weft('bench', 'vhost-user:vm0.sock', '--rw', 'write', '--verify', '--amount', '4MiB')
    assert done.status == 0, done.err
    assert server.stop() == 0
    with open(f'{folder}/new.img', 'rb') as image:
        assert not any(block == bytes(4096) for block in iter(lambda: image.read(4096), b''))


def test_a_client_verifies_what_it_wrote(serve, weft):
    serve('file:new.img,create=16MiB')
    done = weft('bench', 'vhost-user:vm0.sock', '--rw', 'mixed', '--verify', '--time', '300ms')
    assert done.status == 0, done.out + done.err
    assert ' 0 errors, 0 mismatches' in done.out


def test_it_ends_while_a_client_works(serve, weft, folder):
    server = serve('mem:16MiB', '--through', 'delay:all=1ms')
    client = subprocess.Popen([*server.command[:1], 'bench', 'vhost-user:vm0.sock', '--time', '60s'], cwd=folder,
                              stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        server.until_waiting(client)
        assert server.stop() == 0
    finally:
        client.kill()
        client.wait()


def memory_kib(pid):
    with open(f'/proc/{pid}/status', encoding='ascii') as status:
        fields = dict(line.split(':', 1) for line in status)
    return sum(int(fields[name].split()[0]) for name in ('RssAnon', 'RssFile'))


def test_one_served_device_takes_little_memory(serve, weft):
    server = serve('file:new.img,create=64MiB')
    assert weft('bench', 'vhost-user:vm0.sock', '--depth', '32', '--time', '200ms').status == 0
    assert memory_kib(server.child.pid) <= 32 << 10


@pytest.fixture
def client(folder):
    """client('bench', ...) -> Popen; it is ended with the test"""
    children = []

    def start(*arguments):
        children.append(subprocess.Popen([WEFT, *arguments], cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                         stderr=subprocess.DEVNULL))
        return children[-1]

    yield start
    for child in children:
        child.kill()
        child.wait()


def test_a_second_signal_does_not_wait_for_requests_in_flight(serve, client, folder):
    server = serve('mem:16MiB', '--through', 'delay:all=10min', '--grace', '10min')
    server.until_waiting(client('bench', 'vhost-user:vm0.sock', '--time', '0'))
    server.child.send_signal(signal.SIGTERM)
    until(lambda: not os.path.exists(f'{folder}/ctl0.sock'), server.child, folder)  # it has understood
    assert server.ask_again() == 1
    assert 'asked twice' in server.log()
    server.start()  # the sockets that were left are replaced
    assert server.ctl('mode') == {'mode': 'adaptive'}


def test_two_signals_at_once_are_one(serve, client):
    """As timeout(1) sends them: what is in flight is waited for."""
    server = serve('mem:16MiB', '--through', 'delay:all=300ms', '--grace', '10min')
    server.until_waiting(client('bench', 'vhost-user:vm0.sock', '--time', '0', '--depth', '1'))
    server.child.send_signal(signal.SIGTERM)
    server.child.send_signal(signal.SIGINT)
    assert server.child.wait(60) == 0
    assert 'asked twice' not in server.log()


def test_requests_that_do_not_end_are_left_to_the_next_server_after_the_grace(serve, client):
    server = serve('file:new.img,create=1MiB', '--through', 'delay:write=10min', '--grace', '100ms')
    child = client('bench', 'vhost-user:vm0.sock', '--rw', 'write', '--verify', '--amount', '1MiB')
    server.until_waiting(child, kind='WRITE')  # --verify reads what is there first
    assert server.stop() == 0
    assert 'aborted (--grace)' in server.log()
    server.command[server.command.index('delay:write=10min')] = 'delay:write=1ms'
    server.start()
    assert child.wait(60) == 0  # nothing failed, and all is as it was written


def test_a_server_ends_while_the_one_below_hangs(serve, client):
    below = serve('mem:16MiB', '--through', 'delay:all=10min', '--grace', '0')
    server = serve('vhost-user:vm0.sock', '--grace', '100ms')
    server.until_waiting(client('bench', 'vhost-user:vm1.sock', '--time', '0'))
    below.until_waiting(server.child)
    assert server.stop() == 0
