# SPDX-License-Identifier: BSD-2-Clause
"""While a change of a device is under way, for hours, a server tells what it serves and counts, and what the change waits for."""
import os
import re
import subprocess

import pytest

from command import Server
from waiting import BUILD, WEFT, end_with_parent

MIB = 1 << 20
BROKEN = os.path.join(BUILD, 'tests/broken.so')
HOURS = 'delay:[mem:2MiB],all=1h'


@pytest.fixture
def run(folder):
    """run('ctl', ...) -> Popen, ended with the test"""
    children = []

    def start(*words):
        children.append(subprocess.Popen([WEFT, *words], cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                         stderr=subprocess.STDOUT, text=True, preexec_fn=end_with_parent))
        return children[-1]

    yield start
    for child in children:
        child.kill()
        child.communicate()


@pytest.fixture
def mute(folder):
    """mute('start') -> a server of two devices; the second is, or takes, a layer that never does so; killed with the test"""
    servers = []

    def start(what, device='mem:2MiB'):
        servers.append(Server(folder, 'mem:1MiB', device.replace('MUTE', f'broken:[mem:2MiB],how=mute-{what}'), '--on',
                              'vhost-user:second.sock', '--load', BROKEN))
        return servers[-1]

    yield start
    for server in servers:
        server.child.kill()
        server.stop()


def under_way(server, child, wanted):
    """-> what info tells of the change of `child`, once it waits for what is wanted"""
    def fact(info):
        change = info.get('change', {'waits_for': ''})
        counted = 'requests' in change or not change['waits_for'].endswith('come to rest')  # it was not at the very first look
        return wanted in change['waits_for'] and counted and change

    return server.until(fact, 'info', child=child)


def hung(serve, run, *change, requests=3, grace='10ms'):
    """-> a server whose second device is held up by requests for hours, with a change of it under way; and that change"""
    server = serve('mem:1MiB', '--grace', grace, HOURS, '--on', 'vhost-user:second.sock')
    load = run('bench', 'vhost-user:second.sock', '--depth', str(requests), '--time', '0')
    server.until_waiting(load, 'mem1', count=requests)
    return server, run('ctl', server.path, *change)


@pytest.mark.parametrize('change', [('remove', 'delay'), ('remove', 'delay0', 'mem1'), ('insert', 'limit:iops=1k', 'mem1')])
def test_info_tells_what_is_under_way(serve, run, change):
    server, child = hung(serve, run, *change)
    told = under_way(server, child, 'vhost-user1 to come to rest')
    assert (told['command'], told['args'], told['device']) == (change[0], list(change[1:]), 'delay0')
    assert told['requests'] == 3 and told['for_ns'] > 0
    assert re.fullmatch(r'READ 4096@\d+ \| delay0 \| mem1 waiting \d+ us|READ 4096@\d+ \| delay0', told['oldest'])
    assert [one['stack']['name'] for one in server.ctl('info')['served']] == ['mem0', 'delay0']
    assert server.ctl('info', 'mem0')['change']['device'] == 'delay0'  # also who asks for another device is told
    assert under_way(server, child, '')['for_ns'] > told['for_ns']
    assert child.poll() is None


def test_stats_and_top_tell_it_and_count_on(serve, weft, run):
    server, child = hung(serve, run, 'remove', 'delay')
    under_way(server, child, 'vhost-user1')
    told = server.ctl('stats')
    assert told['change']['requests'] == 3
    assert [one['in_flight'] for one in told['devices'] if one['name'] in ('mem0', 'delay0')] == [0, 3]
    assert weft('bench', f'vhost-user:{server.socket}', '--rw', 'write', '--amount', '1MiB').status == 0
    (mem,) = [one for one in server.ctl('stats')['devices'] if one['name'] == 'mem0']
    assert mem['write']['bytes'] == MIB
    for done in (weft('top', server.path, '--once', '--every', '20ms'), weft('ctl', server.path, 'stats'),
                 weft('ctl', server.path, 'info')):
        assert done.status == 0 and re.search(r'^under way: remove delay, of delay0, for [\d.]+ m?s\n'
                                              r'  waits for vhost-user1 to come to rest: 3 in flight, the oldest READ 4096@\d+ '
                                              r'\| delay0', done.out, re.M), done
    assert child.poll() is None


def test_another_change_waits_and_looks_do_not(serve, run):
    server, child = hung(serve, run, 'remove', 'delay')
    under_way(server, child, 'vhost-user1')
    second = run('ctl', server.path, 'insert', 'log', 'mem0')
    for _ in range(20):
        assert server.ctl('info')['change']['command'] == 'remove'
    assert second.poll() is None and child.poll() is None


def test_looks_are_answered_while_a_change_holds_up_the_end(serve, run):
    server, child = hung(serve, run, 'remove', 'delay', grace='1h')
    under_way(server, child, 'vhost-user1')
    server.ctl('quit')
    late = run('ctl', server.path, 'insert', 'log', 'mem0')
    for _ in range(20):
        assert server.ctl('info')['change']['requests'] == 3
    assert server.child.poll() is None and late.poll() is None
    assert server.ask_again() == 1
    server.start()


def test_a_change_that_has_ended_is_told_no_more(serve):
    server = serve('mem:1MiB')
    assert server.ctl('insert', 'delay:all=1us')['stack']['kind'] == 'delay'
    assert 'change' not in server.ctl('info') and 'change' not in server.ctl('stats')


def test_a_layer_that_does_not_start(mute, run):
    server = mute('start')
    child = run('ctl', server.path, 'insert', 'broken:how=mute-start', 'mem1')
    told = under_way(server, child, 'to start')
    assert told['waits_for'] == 'broken to start' and told['device'] == 'mem1' and 'requests' not in told
    assert [one['stack']['name'] for one in server.ctl('info')['served']] == ['mem0', 'mem1']
    assert {one['name'] for one in server.ctl('stats')['devices']} == {'mem0', 'mem1'}


def test_a_layer_that_does_not_stop(mute, run):
    server = mute('stop', 'MUTE')
    child = run('ctl', server.path, 'remove', 'broken')
    told = under_way(server, child, 'to stop')
    assert told['waits_for'] == 'broken0 to stop' and told['device'] == 'mem1'
    assert [one['stack']['name'] for one in server.ctl('info')['served']] == ['mem0', 'mem1']
    assert {one['name'] for one in server.ctl('stats')['devices']} == {'mem0', 'mem1'}


def test_a_size_that_is_not_taken(mute, run):
    server = mute('resize', 'MUTE')
    child = run('ctl', server.path, 'resize', '4MiB', 'mem1')
    told = under_way(server, child, 'size')
    assert told['waits_for'] == 'broken0 to take its new size' and told['args'] == ['4MiB', 'mem1']
    assert server.ctl('stats', 'mem0')['change']['command'] == 'resize'
