# SPDX-License-Identifier: BSD-2-Clause
"""A file that says what is served where: several devices with their layers and exports, read, and told by a server that runs."""
import json
import os

import pytest

from command import said

MIB = 1 << 20
ALL = """
- device: {kind: mem, address: 4MiB, name: whole}
  on: vhost-user:a.sock
- device:
    kind: slice
    devices: [{ref: whole}]
    options: {offset: 1MiB, size: 1MiB}
  through: [delay:all=1us, {kind: limit, options: {iops: 1M}}]
  on: [vhost-user:b.sock, {kind: vhost-user, address: c.sock, options: {readonly: on}}]
- device: {ref: whole}
  through: log
  on: vhost-user:d.sock
"""


def write(folder, name, text):
    with open(f'{folder}/{name}', 'w', encoding='utf-8') as config:
        config.write(text)
    return name


def kinds(stack):
    return [stack['kind'], *(kind for below in stack['below'] for kind in kinds(below))]


def served(server):
    """-> of each device: its name, what it is made of, its size, where it is served"""
    told = server.ctl('info')
    return [(kinds(one['stack']), one['stack']['size'], [export['facts']['socket'] for export in one['exports']],
             [export['facts']['access'] for export in one['exports']]) for one in told.get('served', [told])]


EXPECTED = [(['mem'], 4 * MIB, ['a.sock'], ['read and write']),
            (['limit', 'delay', 'slice', 'mem'], MIB, ['b.sock', 'c.sock'], ['read and write', 'read-only']),
            (['log', 'mem'], 4 * MIB, ['d.sock'], ['read and write'])]


@pytest.fixture
def run(serve):
    """run('all.yaml', ...) -> a server of that file, and of one device more, which tests do without"""
    def start(*typed):
        return serve(('mem:1MiB',), *typed)
    return start


def test_a_file_of_several_devices(run, folder):
    server = run('--config', write(folder, 'all.yaml', ALL))
    assert served(server)[1:] == EXPECTED
    lines = [server.child.stdout.readline() for _ in range(4)]
    assert lines[0] == 'serving mem:4MiB,name=whole (4.0 MiB) on vhost-user:a.sock\n'
    assert server.ctl('info', 'vhost-user:b.sock')['stack']['kind'] == 'limit'  # by what was written, as on the line


def test_what_a_server_tells_can_be_served_again(run, serve, folder):
    server = run('--config', write(folder, 'all.yaml', ALL))
    server.ctl('insert', 'error:op=write,first=3', 'vhost-user:d.sock')
    told, before = server.ctl('config'), served(server)
    assert server.stop() == 0
    for name in ('again.json', 'again.yaml'):  # JSON is YAML
        again = serve(('--config', write(folder, name, json.dumps(told))), listed=True)
        assert served(again) == before and again.ctl('config') == told
        assert again.stop() == 0


def test_what_is_served_is_printed_as_json_also_for_people(run, weft):
    server = run()
    done = weft('ctl', server.path, 'config')
    assert json.loads(done.out) == server.ctl('config') == [
        {'device': {'kind': 'mem', 'address': '1MiB'}, 'on': [{'kind': 'vhost-user', 'address': 'vm0.sock'}]}]


def test_one_entry_alone_and_the_line_may_add_to_it(serve, folder):
    write(folder, 'one.yaml', '{device: mem:2MiB, on: vhost-user:a.sock}')
    server = serve(('--config', 'one.yaml'), '--through', 'delay:all=1us')
    assert served(server) == [(['delay', 'mem'], 2 * MIB, ['a.sock', 'vm0.sock'], ['read and write'] * 2)]


WRONG = {
    'no export': ('- device: mem:1MiB', (), ["'mem:1MiB'", 'on is missing', 'in the file', 'on: vhost-user:']),
    'no device': ('- on: vhost-user:a', (), ['line 1, column 3', 'device is missing']),
    'a wrong member': ('- device: mem:1MiB\n  onn: vhost-user:a', (), ["'onn'", 'device, through or on', "did you mean 'on'?"]),
    'no entry': ('- mem:1MiB', (), ['an entry is wanted', '{device:']),
    'an empty list': ('[]', (), ['the list is empty']),
    'a wrong size': ('- {device: mem:1MiB, on: vhost-user:a}\n- {device: mem:1MiX, on: vhost-user:b}', (),
                     ['line 2, column 12', "'1MiX'", 'size']),
    'an export as a device': ('- {device: "vhost-user:a", on: mem:1MiB}', (), ['line 1', "'mem'", 'export']),
    'a layer that is none': ('- {device: mem:1MiB, through: mem:1MiB, on: vhost-user:a}', (), ['mem', 'bound to nothing']),
    'nobody of this name': ('- {device: {ref: nobody}, on: vhost-user:a}', (),
                            ['@nobody', 'no device of this name', 'name=nobody']),
    'a socket twice': ('- {device: mem:1MiB, on: vhost-user:a}\n- {device: mem:1MiB, on: vhost-user:a}', (),
                       ["'vhost-user:a' is given twice", 'line 2']),
    'an option for which of them?': (ALL, ('--through', 'log'), ["'log'", 'a file of several devices', 'into the file']),
    'too many': (json.dumps([{'device': 'mem:1MiB', 'on': f'vhost-user:{n}'} for n in range(257)]), (), ['256 devices']),
}


@pytest.mark.parametrize('case', WRONG)
def test_what_is_wrong_in_a_file_is_said(weft, folder, case):
    text, typed, parts = WRONG[case]
    done = weft('serve', '--config', write(folder, 'wrong.yaml', text), *typed)
    lines = said(done.err)
    assert done.status == 2 and done.out == '' and len(lines) == 1 and len(lines[0]) < 270, done
    for part in parts:
        assert part in lines[0]
    assert os.listdir(folder) == ['wrong.yaml']
