# SPDX-License-Identifier: BSD-2-Clause
"""Several devices from one server: which option belongs to which, what is told of them, what each keeps to itself."""
import json
import os
import re
import signal
import socket
import subprocess

import pytest

from command import said
from waiting import WEFT, end_with_parent, until

MIB = 1 << 20
SECOND = ('--on', 'vhost-user:second.sock')


def two(serve, *arguments, first='mem:1MiB', second='mem:2MiB'):
    """-> a server of two devices, at its own socket and at second.sock"""
    server = serve(first, *arguments, second, *SECOND)
    assert 'second.sock' in server.child.stdout.readline()
    return server


def size(weft, path):
    return json.loads(weft('info', f'vhost-user:{path}', '--json').out)['devices'][0]['size']


def kinds(stack):
    return [stack['kind'], *(kind for below in stack['below'] for kind in kinds(below))]


def served(server):
    return server.ctl('info')['served']


@pytest.fixture
def client(folder):
    """client('second.sock', ...) -> Popen of a bench that verifies; ended with the test"""
    children = []

    def start(path, *arguments):
        children.append(subprocess.Popen([WEFT, 'bench', f'vhost-user:{path}', '--rw', 'mixed', '--verify', '--json', *arguments],
                                         cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                         text=True, preexec_fn=end_with_parent))
        return children[-1]

    yield start
    for child in children:
        child.kill()
        child.communicate()


def requests_of(sessions):
    """-> how many requests a device's own clients have had answered; told also while a change is under way"""
    return sum(int(re.search(r'(\d+) requests', told)[1]) for clients in sessions.values() for told in clients.values())


def wait_for_work(server, device, child):
    before = requests_of(server.ctl('sessions', device))
    server.until(lambda told: requests_of(told) >= before + 50, 'sessions', device, child=child)


def ended_well(child):
    out, err = child.communicate(timeout=60)
    assert child.returncode == 0, out + err
    told = json.loads(out)
    assert told['errors'] == 0 and told['mismatches'] == 0
    return told


# ---- the line ----

def test_each_device_is_served_at_its_own_address(serve, weft):
    server = two(serve)
    assert size(weft, server.socket) == MIB and size(weft, 'second.sock') == 2 * MIB


def test_an_option_belongs_to_the_device_before_it(serve):
    server = serve('mem:1MiB', '--through', 'limit:iops=1M', 'mem:2MiB', '--through', 'delay:all=1us', *SECOND, '--on',
                   'vhost-user:third.sock')
    said_after = [server.child.stdout.readline() for _ in range(2)]
    assert ['second.sock' in said_after[0], 'third.sock' in said_after[1]] == [True, True]
    told = served(server)
    assert [kinds(one['stack']) for one in told] == [['limit', 'mem'], ['delay', 'mem']]
    assert [len(one['exports']) for one in told] == [1, 2]
    assert [one['device'] for one in told] == ['mem:1MiB', 'mem:2MiB']


def test_each_is_told(serve):
    server = serve('mem:1MiB', 'mem:2MiB', *SECOND, '--json')
    lines = [json.loads(server.said), json.loads(server.child.stdout.readline())]
    assert [(line['device'], line['size'], line['export']) for line in lines] == [
        ('mem:1MiB', MIB, 'vhost-user:vm0.sock'), ('mem:2MiB', 2 * MIB, 'vhost-user:second.sock')]


def test_devices_from_files_and_from_the_line_keep_their_order(serve, folder):
    with open(f'{folder}/a.yaml', 'w', encoding='utf-8') as config:
        config.write('{kind: mem, address: 4MiB}\n')
    with open(f'{folder}/b.json', 'w', encoding='utf-8') as config:
        config.write('{"kind": "null", "address": "8MiB"}')
    server = serve(('--config', 'b.json'), 'mem:1MiB', *SECOND, '--config', 'a.yaml', '--on', 'vhost-user:third.sock')
    assert [(one['device'], one['stack']['size']) for one in served(server)] == [
        ('b.json', 8 * MIB), ('mem:1MiB', MIB), ('a.yaml', 4 * MIB)]


def test_one_device_may_stand_on_another(serve, weft):
    server = two(serve, first='mem:4MiB,name=whole', second='slice:[@whole],offset=1MiB,size=1MiB')
    assert weft('bench', 'vhost-user:second.sock', '--rw', 'write', '--amount', '1MiB').status == 0
    (whole,) = [one for one in server.ctl('stats')['devices'] if one['name'] == 'whole']
    assert whole['write']['bytes'] == MIB
    assert server.refused('resize', '8MiB', 'mem') == (2, "weft: 'mem' belongs to several devices: give one of whole, slice0\n")
    assert server.ctl('info', 'whole')['stack']['name'] == 'whole'
    assert server.ctl('info', 'slice0')['stack']['name'] == 'slice0'


# ---- what cannot be ----

FAILS = {
    'no export for one': (('mem:1MiB', '--on', 'vhost-user:a.sock', 'mem:2MiB'), 2, ["'mem:2MiB'", '--on is missing']),
    'an export before all': (('--on', 'vhost-user:a.sock', 'mem:1MiB', 'mem:2MiB', *SECOND), 2,
                             ["--on 'vhost-user:a.sock'", 'before the first of 2 devices', 'behind the device']),
    'a layer before all': (('--through', 'delay', 'mem:1MiB', '--on', 'vhost-user:a.sock', 'mem:2MiB', *SECOND), 2,
                           ["--through 'delay'", 'before the first of 2 devices']),
    'the same socket': (('mem:1MiB', *SECOND, 'mem:2MiB', *SECOND), 2,
                        ["--on 'vhost-user:second.sock' is given twice", 'address of its own']),
    'the same socket in other words': (('mem:1MiB', *SECOND, 'mem:2MiB', '--on', 'vhost-user:./second.sock', '--log', 'error'), 1,
                                       ['device 2', 'somebody listens on ./second.sock']),
    'the control socket': (('mem:1MiB', '--on', 'vhost-user:a.sock', 'mem:2MiB', *SECOND, '--control', 'second.sock'), 1,
                           ['device 2', 'second.sock', 'listens']),
    'the same file': (('file:ok.img,name=a', '--on', 'vhost-user:a.sock', 'file:./ok.img', *SECOND), 1,
                      ['device 2', 'file', './ok.img is open in this process already, as a', '@a', 'readonly=on']),
    'a wrong size': (('mem:1MiB', '--on', 'vhost-user:a.sock', 'mem:1000', *SECOND), 2, ['device 2', 'mem', 'size=1000']),
    'a wrong kind': (('file:new.img,create=1MiB', '--on', 'vhost-user:a.sock', 'mme:1MiB', *SECOND), 2,
                     ['device 2', "'mme'", "did you mean 'mem'?"]),
    'a wrong layer': (('mem:1MiB', '--on', 'vhost-user:a.sock', 'mem:1MiB', '--through', 'dleay', *SECOND), 2,
                      ['device 2', "'dleay'"]),
    'a wrong export': (('mem:1MiB', '--on', 'vhost-user:a.sock', 'mem:1MiB', '--on', 'vhost-user:b.sock,queues=0'), 2,
                       ['device 2', 'queues']),
    'a file that is not there': (('file:new.img,create=1MiB', '--on', 'vhost-user:a.sock', 'file:none.img', *SECOND), 1,
                                 ['device 2', 'none.img', 'no such file']),
    'a socket without a folder': (('file:new.img,create=1MiB', '--on', 'vhost-user:a.sock', 'file:newer.img,create=1MiB', '--on',
                                   'vhost-user:none/b.sock'), 1, ['device 2', 'none/b.sock', 'make it']),
    'too many': ((*(['mem:1MiB', '--on', 'vhost-user:a.sock'] * 257),), 2, ['256', 'leave some out']),
}


@pytest.mark.parametrize('case', FAILS)
def test_when_one_cannot_begin_none_does(weft, folder, case):
    typed, status, parts = FAILS[case]
    with open(f'{folder}/ok.img', 'wb') as image:
        image.truncate(MIB)
    done = weft('serve', *typed)
    lines = said(done.err)
    assert done.status == status and done.out == '' and len(lines) == 1, done
    for part in parts:
        assert part in lines[0]
    assert len(lines[0]) < 270 and os.listdir(folder) == ['ok.img']


def test_two_may_read_the_same_file(serve, weft, folder):
    with open(f'{folder}/ok.img', 'wb') as image:
        image.truncate(MIB)
    server = two(serve, first='file:ok.img,readonly=on', second='file:ok.img,readonly=on')
    assert size(weft, server.socket) == size(weft, 'second.sock') == MIB


# ---- control ----

def test_a_device_is_named_in_many_ways(serve):
    server = two(serve, first='mem:1MiB,name=system', second='null:2MiB')
    for name in ('system', 'mem', 'mem:1MiB,name=system', 'vhost-user0', 'vhost-user:vm0.sock'):
        assert server.ctl('info', name)['stack']['name'] == 'system', name
    for name in ('null0', 'null', 'null:2MiB', 'vhost-user1', 'vhost-user:second.sock'):
        assert server.ctl('info', name)['stack']['name'] == 'null0', name
    assert server.refused('info', 'nobody') == (2, "weft: 'nobody' is no device that is served here: give one of system, null0\n")
    assert server.refused('info', 'vhost-user')[1].startswith("weft: 'vhost-user' belongs to several devices")


def test_what_changes_a_device_must_name_it(serve):
    server = two(serve)
    for words in (('resize', '4MiB'), ('insert', 'delay:all=1us')):
        status, text = server.refused(*words)
        assert status == 2 and text == 'weft: there are 2 devices: name the one that is meant: mem0, mem1\n'
    assert server.refused('remove', 'delay')[0] == 1
    assert [kinds(one['stack']) for one in served(server)] == [['mem'], ['mem']]


def test_of_many_devices_the_first_are_named(serve):
    server = serve('mem:1MiB', *(word for n in range(40) for word in ('mem:1MiB', '--on', f'vhost-user:{n}.sock')))
    status, text = server.refused('resize', '2MiB')
    names = text.split(': ')[-1].strip().split(', ')
    assert status == 2 and names[:-1] == [f'mem{n}' for n in range(len(names) - 1)] and names[-1] == '...' and len(text) < 255


def test_a_layer_is_put_on_one_device_only(serve, client):
    server = two(serve, first='mem:4MiB', second='mem:4MiB')
    children = [client(path, '--time', '0') for path in (server.socket, 'second.sock')]
    for device, child in zip(('mem0', 'mem1'), children):
        wait_for_work(server, device, child)
    assert kinds(server.ctl('insert', 'delay:all=100us', 'mem1')['stack']) == ['delay', 'mem']
    assert kinds(server.ctl('insert', 'limit:iops=100k', 'mem1')['stack']) == ['limit', 'delay', 'mem']
    assert [kinds(one['stack']) for one in served(server)] == [['mem'], ['limit', 'delay', 'mem']]
    for device, child in zip(('mem0', 'mem1'), children):
        wait_for_work(server, device, child)
    assert kinds(server.ctl('insert', 'delay:all=1us', 'mem0')['stack']) == ['delay', 'mem']
    assert server.refused('remove', 'delay')[1].endswith('give the name of one (`weft ctl PATH info` shows them)\n')
    assert server.refused('remove', 'limit', 'mem0')[0] == 1
    assert kinds(server.ctl('remove', 'delay', 'mem1')['stack']) == ['limit', 'mem']
    assert kinds(server.ctl('remove', 'delay')['stack']) == ['mem']
    assert kinds(server.ctl('remove', 'limit')['stack']) == ['mem']
    for child in children:
        child.send_signal(signal.SIGTERM)
        ended_well(child)


def test_a_layer_that_several_stand_on_is_changed_for_all(serve, client):
    server = two(serve, first='mem:4MiB,name=whole', second='slice:[@whole],offset=2MiB')
    children = [client(server.socket, '--time', '0', '--range', '2MiB'), client('second.sock', '--time', '0')]
    for device, child in zip(('vhost-user0', 'vhost-user1'), children):
        wait_for_work(server, device, child)
    assert kinds(server.ctl('insert', 'delay:all=1us', 'vhost-user0')['stack']) == ['delay', 'mem']
    assert [kinds(one['stack']) for one in served(server)] == [['delay', 'mem'], ['slice', 'delay', 'mem']]
    for device, child in zip(('vhost-user0', 'vhost-user1'), children):
        wait_for_work(server, device, child)
    assert kinds(server.ctl('remove', 'delay')['stack']) == ['mem']
    assert [kinds(one['stack']) for one in served(server)] == [['mem'], ['slice', 'mem']]
    for child in children:
        child.send_signal(signal.SIGTERM)
        ended_well(child)


def test_the_same_device_may_be_served_twice(serve):
    server = two(serve, first='mem:4MiB,name=whole', second='slice:[@whole]')
    server.ctl('remove', 'slice')
    assert server.refused('resize', '8MiB', 'whole') == (2, "weft: 'whole' belongs to several devices: give one of vhost-user0, "
                                                         'vhost-user1\n')
    server.ctl('insert', 'delay:all=1us', 'vhost-user1')
    assert [kinds(one['stack']) for one in served(server)] == [['delay', 'mem']] * 2
    server.ctl('remove', 'delay0')
    assert [kinds(one['stack']) for one in served(server)] == [['mem']] * 2


def test_one_is_resized(serve, weft):
    server = two(serve, first='file:a.img,create=1MiB', second='file:b.img,create=1MiB')
    assert server.ctl('resize', '4MiB', 'file1') == {'size': 4 * MIB}
    assert size(weft, server.socket) == MIB and size(weft, 'second.sock') == 4 * MIB


def test_an_option_of_one_is_set(serve):
    server = two(serve, first='mirror:[mem:1MiB],[mem:1MiB]', second='mirror:[mem:1MiB],[mem:1MiB]')
    assert server.refused('set', 'mirror', 'read', 'first')[0] == 1
    assert server.ctl('set', 'mirror', 'read', 'first', 'mirror1')['name'] == 'mirror1'
    assert [one['tree'].get('options') for one in served(server)] == [None, {'read': 'first'}]


def test_the_mode_is_for_all(serve):
    server = two(serve, '--reactors', '2')
    assert server.ctl('mode', 'notify') == {'mode': 'notify'}
    assert [one['mode'] for one in server.ctl('stats')['reactors']] == ['notify', 'notify']


def test_requests_and_sessions_of_one(serve, client):
    server = two(serve, '--grace', '0', second='delay:[mem:2MiB],all=10min')
    children = [client(path, '--time', '0') for path in (server.socket, 'second.sock')]
    waiting = server.until_waiting(children[1], 'mem1')
    assert all('delay0' in one['path'] for one in waiting)
    assert all('delay0' not in one['path'] for one in server.ctl('requests', 'mem0')['requests'])
    wait_for_work(server, 'mem0', children[0])
    assert list(server.ctl('sessions', 'mem1')) == ['vhost-user1'] and len(server.ctl('sessions')) == 2


def test_a_change_of_one_that_waits_does_not_hold_up_another(serve, client, folder):
    server = two(serve, '--grace', '10ms', second='delay:[mem:2MiB],all=1h')
    children = [client(path, '--time', '0', '--depth', '1') for path in (server.socket, 'second.sock')]
    wait_for_work(server, 'mem0', children[0])
    server.until_waiting(children[1], 'mem1')
    change = subprocess.Popen([WEFT, 'ctl', server.path, 'remove', 'delay'], cwd=folder, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, preexec_fn=end_with_parent)
    server.until(lambda told: '0 of 1 rings running' in str(told), 'sessions', 'mem1', child=change)
    assert '1 of 1 rings running' in str(server.ctl('sessions', 'mem0'))
    assert len(server.ctl('requests', 'mem1')['requests']) == 1
    wait_for_work(server, 'mem0', children[0])
    server.ctl('quit')
    assert server.child.wait(60) == 0
    change.communicate(timeout=60)


def test_text_for_people(serve, weft):
    server = two(serve)
    text = weft('ctl', server.path, 'info').out
    assert 'mem:1MiB\n\nmem0  (mem, 1.0 MiB)\n' in text and 'mem:2MiB\n\nmem1  (mem, 2.0 MiB)\n' in text
    for words in (('ctl', server.path, 'stats'), ('top', server.path, '--once', '--every', '20ms')):
        done = weft(*words)
        assert 'mem:1MiB on vhost-user:vm0.sock\nmem0: 0 in flight\nmem:2MiB on vhost-user:second.sock\nmem1: 0' in done.out, done
    one = weft('top', server.path, 'mem1', '--once', '--every', '20ms')
    assert one.status == 0 and 'mem1: 0 in flight' in one.out and 'mem0' not in one.out and ' on vhost' not in one.out
    assert weft('top', server.path, 'mem7', '--once').status == 2


# ---- life ----

def test_the_grace_covers_all(serve, client):
    server = two(serve, '--grace', '200ms', '--through', 'delay:all=10min', second='delay:[mem:2MiB],all=10min')
    children = [client(path, '--time', '0') for path in (server.socket, 'second.sock')]
    for device, child in zip(('mem0', 'mem1'), children):
        server.until_waiting(child, device)
    assert server.stop() == 0
    assert len(re.findall(r'aborted \(--grace\)', server.log())) == 1


def test_at_the_end_no_device_waits_for_another(serve, client, folder):
    server = two(serve, '--grace', '10min', second='delay:[mem:2MiB],all=10min')
    children = [client(path, '--time', '0') for path in (server.socket, 'second.sock')]
    server.until_waiting(children[1], 'mem1')
    server.child.send_signal(signal.SIGTERM)
    # Though the other one, which is later in the line, cannot end.
    until(lambda: not os.path.exists(f'{folder}/{server.socket}'), server.child, folder)
    for child in children:
        child.kill()
        child.communicate()
    assert server.ask_again() == 1
    server.start()


def test_a_killed_server_takes_up_all_that_was_in_flight(serve, client, folder):
    server = two(serve, '--reactors', '2', first='file:a.img,create=4MiB', second='file:b.img,create=4MiB')
    children = [client(path, '--time', '0', '--depth', '16') for path in (server.socket, 'second.sock')]
    for _ in range(5):
        for device, child in zip(('file0', 'file1'), children):
            wait_for_work(server, device, child)
        server.child.kill()
        server.child.wait()
        server.start()
    for device, child in zip(('file0', 'file1'), children):
        wait_for_work(server, device, child)
        child.send_signal(signal.SIGTERM)
        ended_well(child)


def test_what_was_left_by_both_is_done_by_the_next_server(serve, client):
    """Writes that cannot end are in flight on both devices when the server is killed."""
    server = two(serve, '--through', 'delay:write=10min', first='file:a.img,create=1MiB',
                 second='delay:[file:b.img,create=1MiB],write=10min')
    children = [client(path, '--rw', 'write', '--amount', '1MiB') for path in (server.socket, 'second.sock')]
    for device, child in zip(('file0', 'file1'), children):
        server.until_waiting(child, device, kind='WRITE')
    server.child.kill()
    server.child.wait()
    server.command = [word.replace('write=10min', 'write=1ms') for word in server.command]
    server.start()
    for child in children:
        ended_well(child)


def test_a_hostile_client_of_one_device_does_not_disturb_the_others(serve, client, folder):
    server = two(serve)
    child = client('second.sock', '--time', '0')
    wait_for_work(server, 'mem1', child)
    for _ in range(50):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(f'{folder}/{server.socket}')
            sock.sendall(os.urandom(64))
    with socket.socket(socket.AF_UNIX) as sock:  # and one that stays, in the middle of a message
        sock.connect(f'{folder}/{server.socket}')
        sock.sendall(b'\1\0\0\0\1')
        wait_for_work(server, 'mem1', child)
    child.send_signal(signal.SIGTERM)
    ended_well(child)


# ---- reactors ----

def test_a_device_that_hangs_with_all_that_can_be_sent_leaves_room_to_others(serve, client):
    """The slots of a reactor are for all of its devices: 1024."""
    server = two(serve, '--grace', '0', '--through', 'delay:all=1h', first='mem:64MiB', second='delay:[mem:2MiB],all=1h')
    hangs = client(f'{server.socket},depth=1024', '--time', '0', '--depth', '1024')
    server.until_waiting(hangs, 'mem0', count=500)
    server.until(lambda told: told['reactors'][0]['sleeps'], 'stats', child=hangs)
    other = client('second.sock', '--time', '0', '--depth', '64')
    server.until_waiting(other, 'mem1', count=64)


def test_queues_of_all_devices_are_spread_over_the_reactors(serve, client):
    """One queue each, at the same time: one on each reactor."""
    server = serve('mem:1MiB', '--reactors', '3', 'mem:1MiB', *SECOND, 'mem:1MiB', '--on', 'vhost-user:third.sock')
    children = [client(path, '--time', '0') for path in (server.socket, 'second.sock', 'third.sock')]
    for device, child in zip(('mem0', 'mem1', 'mem2'), children):
        wait_for_work(server, device, child)
    assert [one['sessions'] for one in server.ctl('stats')['reactors']] == [1, 1, 1]


def test_one_polling_reactor_serves_three(serve, client):
    server = serve('mem:1MiB', '--mode', 'poll', '--cpus', '0', 'mem:1MiB', *SECOND, 'mem:1MiB', '--on', 'vhost-user:third.sock')
    children = [client(path, '--time', '0') for path in (server.socket, 'second.sock', 'third.sock')]
    for device, child in zip(('mem0', 'mem1', 'mem2'), children):
        wait_for_work(server, device, child)
    (reactor,) = server.ctl('stats')['reactors']
    assert reactor['sessions'] == 3 and reactor['mode'] == 'poll'
