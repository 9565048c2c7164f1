# SPDX-License-Identifier: BSD-2-Clause
"""The control socket: what is asked of a running server, while it works."""
import json
import os
import resource
import socket
import subprocess

import pytest

MIB = 1 << 20


def names(stack):
    """-> the kinds from the top down"""
    return [stack['kind'], *(name for below in stack['below'] for name in names(below))]


def done(stats):
    """-> how many requests have been answered"""
    return sum(reactor['requests'] for reactor in stats['reactors'])


class Load:
    """A client that verifies, until it is ended."""

    def __init__(self, server, folder):
        self.child = subprocess.Popen([server.command[0], 'bench', f'vhost-user:{server.socket}', '--rw', 'mixed', '--verify',
                                       '--depth', '16', '--time', '0', '--json'], cwd=folder, stdin=subprocess.DEVNULL,
                                      stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.server = server
        self.more()

    def more(self):
        """Returns when it has got further."""
        before = done(self.server.ctl('stats'))
        self.server.until(lambda told: done(told) >= before + 100, 'stats', child=self.child)

    def end(self):
        self.child.terminate()
        out, err = self.child.communicate(timeout=60)
        assert self.child.returncode == 0, err
        return json.loads(out)


@pytest.fixture
def load(folder):
    loads = []

    def start(server):
        loads.append(Load(server, folder))
        return loads[-1]

    yield start
    for one in loads:
        if one.child.poll() is None:
            one.child.kill()
            one.child.communicate()


def test_modes_change_under_load(serve, load):
    server = serve('mem:16MiB', '--reactors', '3')
    client = load(server)
    for mode in ('poll', 'notify', 'adaptive', 'poll', 'adaptive'):
        assert server.ctl('mode', mode) == {'mode': mode}
        assert server.ctl('mode') == {'mode': mode}
        assert [reactor['mode'] for reactor in server.ctl('stats')['reactors']] == [mode] * 3
        client.more()
    told = client.end()
    assert told['errors'] == 0 and told['mismatches'] == 0


def test_layers_come_and_go_under_load(serve, load):
    server = serve('file:disk.img,create=16MiB')
    client = load(server)
    assert names(server.ctl('insert', 'delay:all=100us')['stack']) == ['delay', 'file']
    client.more()
    assert names(server.ctl('insert', 'limit:iops=100k')['stack']) == ['limit', 'delay', 'file']
    client.more()
    assert names(server.ctl('insert', 'compare-write')['stack']) == ['compare-write', 'limit', 'delay', 'file']
    client.more()
    assert names(server.ctl('remove', 'delay')['stack']) == ['compare-write', 'limit', 'file']
    client.more()
    assert names(server.ctl('remove', 'compare-write')['stack']) == ['limit', 'file']
    client.more()
    assert names(server.ctl('remove', 'limit0')['stack']) == ['file']
    client.more()
    told = client.end()
    assert told['errors'] == 0 and told['mismatches'] == 0


def test_a_layer_of_one_export_is_a_layer_of_all(serve, weft):
    server = serve('mem:4MiB', '--on', 'vhost-user:second.sock')
    server.ctl('insert', 'error:op=read')
    for path in (server.socket, 'second.sock'):
        told = json.loads(weft('bench', f'vhost-user:{path}', '--amount', '4KiB', '--json').out)
        assert told['errors'] == told['requests']


def test_a_layer_that_cannot_be_made_changes_nothing(serve, load):
    server = serve('mem:16MiB')
    client = load(server)
    assert server.refused('insert', 'slice:offset=32MiB')[0] == 2
    assert server.refused('insert', 'dleay:all=1ms') == (2, "weft: column 1: there is no kind 'dleay' that offers block: did you "
                                                         "mean 'delay'? `weft list components` lists them\n")
    assert server.refused('remove', 'delay')[0] == 1
    assert server.refused('remove', 'mem')[0] == 2
    assert server.refused('remove', 'vhost-user0')[0] == 2
    assert names(server.ctl('info')['stack']) == ['mem']
    client.more()
    assert client.end()['errors'] == 0


def test_waiting_requests_show_their_path(serve, load):
    server = serve('mem:16MiB')
    client = load(server)
    server.ctl('insert', 'delay:all=50ms')
    waiting = server.until_waiting(client.child)
    assert all('delay0' in request['path'] and request['reactor'] == 1 for request in waiting)
    assert any('READ 4096@' in request['path'] or 'WRITE' in request['path'] for request in waiting)
    server.ctl('remove', 'delay')
    assert client.end()['errors'] == 0


def test_requests_that_a_change_waits_for_are_shown(serve, weft):
    """It would wait for ever: the way out is asked for meanwhile, in order by each client."""
    server = serve('mem:16MiB', '--through', 'delay:all=1h', '--grace', '10ms')
    load = subprocess.Popen([server.command[0], 'bench', f'vhost-user:{server.socket}', '--depth', '1', '--amount', '4KiB'],
                            cwd=server.folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    server.until_waiting(load)
    change = subprocess.Popen([server.command[0], 'ctl', server.path, 'insert', 'log'], cwd=server.folder,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    server.until(lambda told: '0 of 1 rings running' in str(told), 'sessions', child=change)
    assert 'delay0' in server.ctl('requests')['requests'][0]['path']
    assert server.ctl('mode', 'notify') == {'mode': 'notify'}
    server.ctl('quit')
    assert server.child.wait(60) == 0
    change.communicate(timeout=60)
    load.kill()
    load.wait()


def test_a_file_gets_another_size_and_a_client_notices(serve, weft, folder):
    server = serve('file:disk.img,create=4MiB', '--through', 'delay:all=1us')
    assert server.ctl('resize', '8MiB') == {'size': 8 * MIB}
    assert os.stat(f'{folder}/disk.img').st_size == 8 * MIB
    assert json.loads(weft('info', f'vhost-user:{server.socket}', '--json').out)['devices'][0]['size'] == 8 * MIB


def test_a_file_that_grows_elsewhere_is_larger_for_a_client_that_works(serve, load, folder):
    server = serve('file:disk.img,create=4MiB', '--through', 'delay:all=1us')
    client = load(server)
    os.truncate(f'{folder}/disk.img', 8 * MIB)
    server.until(lambda told: told['stack']['size'] == 8 * MIB, 'info', child=client.child)
    client.more()
    told = client.end()
    assert told['errors'] == 0 and told['mismatches'] == 0


def test_a_wrong_size_is_refused(serve):
    server = serve('file:disk.img,create=4MiB')
    status, said = server.refused('resize', '1000')
    assert status == 2 and 'multiple' in said
    assert server.refused('resize', 'big')[0] == 2
    assert server.ctl('info')['stack']['size'] == 4 * MIB


def test_what_is_not_resizable_says_so(serve):
    status, said = serve('mem:4MiB').refused('resize', '8MiB')
    assert status == 1 and 'cannot be resized' in said


def test_an_option_changes_while_it_runs(serve):
    server = serve('mirror:[mem:4MiB],[mem:4MiB]')
    assert server.ctl('set', 'mirror0', 'read', 'first')['value'] == 'first'
    assert server.ctl('info')['tree']['options'] == {'read': 'first'}
    assert server.refused('set', 'mirror0', 'read', 'last')[0] == 2
    assert server.refused('set', 'mem0', 'size', '8MiB')[0] in (1, 2)
    assert server.refused('set', 'none', 'read', 'first')[0] == 1


def test_counters_count(serve, weft):
    server = serve('mem:4MiB')
    before = server.ctl('stats')
    assert weft('bench', f'vhost-user:{server.socket}', '--rw', 'write', '--amount', '1MiB').status == 0
    after = server.ctl('stats')
    (device,) = after['devices']
    assert device['name'] == 'mem0' and device['write']['requests'] == 256 and device['write']['bytes'] == MIB
    assert after['reactors'][0]['requests'] > before['reactors'][0]['requests']
    assert after['process']['rss_anon'] > 0


def test_sessions_are_listed(serve, load):
    server = serve('mem:4MiB')
    assert server.ctl('sessions') == {'vhost-user0': {}}
    client = load(server)
    (told,) = server.ctl('sessions')['vhost-user0'].values()
    assert '1 of 1 rings running' in told
    client.end()


def test_answers_for_people_are_text(serve, weft):
    server = serve('mem:4MiB')
    for command in ('info', 'stats', 'requests', 'sessions', 'mode'):
        done = weft('ctl', server.path, command)
        assert done.status == 0 and '{' not in done.out
    assert 'mem0' in weft('ctl', server.path, 'info').out


def test_top_shows_an_interval(serve, weft):
    done = weft('top', serve('mem:4MiB').path, '--once', '--every', '20ms')
    assert done.status == 0 and 'reactor 1: adaptive' in done.out and 'memory' in done.out


def test_quit_ends_the_server(serve):
    server = serve('mem:4MiB')
    server.ctl('quit')
    assert server.child.wait(60) == 0


# ---- the protocol itself ----

class Raw:
    """A client that sends what it likes."""

    def __init__(self, server):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(30)
        self.sock.connect(os.path.join(server.folder, server.path))
        self.file = self.sock.makefile('rb')

    def ask(self, line):
        self.sock.sendall(line + b'\n')
        return json.loads(self.file.readline())


@pytest.fixture
def raw():
    clients = []

    def connect(server):
        clients.append(Raw(server))
        return clients[-1]

    yield connect
    for client in clients:
        client.file.close()
        client.sock.close()


@pytest.mark.parametrize('line', [
    b'', b'{', b'[]', b'null', b'"info"', b'{}', b'{"command": 1}', b'{"command": "info", "args": {}}',
    b'{"command": "info", "args": [], "more": 1}', b'{"command": "info", "command": "quit"}', b'{"command": "nfo"}',
    b'{"command": "info", "args": ["x"]}', b'{"command": "resize"}', b'{"command": "resize", "args": [1]}',
    b'{"command": "set", "args": ["a", "b"]}', b'\xff\xfe', b'{"command": "resize", "args": ["\\u0000"]}', b'[' * 5000,
])
def test_a_request_that_makes_no_sense_is_refused(serve, raw, line):
    server = serve('mem:1MiB')
    client = raw(server)
    answer = client.ask(line)
    assert answer['ok'] is False and answer['status'] == 2 and answer['error']
    assert client.ask(b'{"command": "mode"}') == {'ok': True, 'result': {'mode': 'adaptive'}}


def test_a_request_without_an_end_ends_the_connection(serve, raw):
    server = serve('mem:1MiB')
    client = raw(server)
    try:
        client.sock.sendall(b'x' * 100000)
    except OSError:
        pass
    try:
        rest = client.file.read()
    except ConnectionResetError:
        rest = b''
    assert rest == b'' or not json.loads(rest)['ok']
    assert server.ctl('mode') == {'mode': 'adaptive'}


def test_requests_in_a_row_are_answered_in_order(serve, raw):
    client = raw(serve('mem:1MiB'))
    client.sock.sendall(b'{"command": "mode", "args": ["poll"]}\n{"command": "insert", "args": ["delay:all=1us"]}\n'
                        b'{"command": "stats"}\n{"command": "mode"}\n')
    answers = [json.loads(client.file.readline()) for _ in range(4)]
    assert [answer['ok'] for answer in answers] == [True] * 4
    assert answers[0]['result'] == answers[3]['result'] == {'mode': 'poll'}
    assert {device['name'] for device in answers[2]['result']['devices']} == {'mem0', 'delay0'}


def test_clients_are_served_side_by_side(serve, raw):
    server = serve('mem:1MiB')
    clients = [raw(server) for _ in range(8)]
    for client in clients:
        client.sock.sendall(b'{"command": "stats"}\n' * 4)
    for client in clients:
        assert all(json.loads(client.file.readline())['ok'] for _ in range(4))


def test_a_client_that_leaves_before_its_answer_harms_nobody(serve, raw):
    server = serve('mem:1MiB')
    for _ in range(20):
        client = raw(server)
        client.sock.sendall(b'{"command": "stats"}\n')
        client.file.close()
        client.sock.close()
    assert server.ctl('mode') == {'mode': 'adaptive'}


def test_a_layer_for_which_there_is_no_memory_is_taken_out_again(serve, load):
    server = serve('mem:16MiB')
    client = load(server)
    with open(f'/proc/{server.child.pid}/status', encoding='ascii') as status:
        used = next(int(line.split()[1]) << 10 for line in status if line.startswith('VmSize:'))
    resource.prlimit(server.child.pid, resource.RLIMIT_AS, (used, resource.RLIM_INFINITY))
    status, said = server.refused('insert', 'compare-write')
    resource.prlimit(server.child.pid, resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert status == 1 and 'no memory for private copies' in said
    assert names(server.ctl('info')['stack']) == ['mem']
    client.more()
    told = client.end()
    assert told['errors'] == 0 and told['mismatches'] == 0
