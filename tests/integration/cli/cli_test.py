# SPDX-License-Identifier: BSD-2-Clause
"""What the command tells about itself, and about devices."""
import json
import os
import signal
import subprocess

import pytest

from command import weft_in
from waiting import WEFT

COMMANDS = ['serve', 'ctl', 'top', 'bench', 'info', 'list', 'explain', 'demo', 'help']
KINDS = ['compare-write', 'contract', 'delay', 'error', 'file', 'home', 'limit', 'log', 'mem', 'mirror', 'null', 'slice', 'stripe',
         'timeout', 'vhost-user']


def test_without_arguments_it_lists_its_commands(weft):
    done = weft()
    assert done.status == 2
    assert all(f'weft {name} ' in done.out for name in COMMANDS)


@pytest.mark.parametrize('ask', [('--help',), ('help',)])
def test_asked_for_help_it_lists_its_commands(weft, ask):
    done = weft(*ask)
    assert done.status == 0 and done.err == ''
    assert all(f'weft {name} ' in done.out for name in COMMANDS)


@pytest.mark.parametrize('command', COMMANDS)
def test_each_command_explains_itself(weft, command):
    asked, told = weft(command, '--help'), weft('help', command)
    assert asked == told and asked.status == 0
    assert asked.out.startswith(f'usage: weft {command} ')


def test_the_version_is_told(weft):
    assert weft('--version').out.startswith('weft 0.')


def test_every_kind_is_listed(weft):
    listed = json.loads(weft('list', 'components', '--json').out)
    assert sorted({entry['kind'] for entry in listed}) == KINDS
    types = {(entry['kind'], entry['type']) for entry in listed}
    assert {('file', 'device'), ('delay', 'filter'), ('vhost-user', 'device'), ('vhost-user', 'export')} <= types


def test_the_list_for_people_has_a_line_for_each(weft):
    lines = weft('list').out.splitlines()
    assert len(lines) == len(KINDS) + 1 and all(len(line.split()) > 3 for line in lines)


@pytest.mark.parametrize('kind', KINDS)
def test_every_kind_is_explained(weft, kind):
    plain, tables = weft('explain', kind).out, json.loads(weft('explain', kind, '--json').out)
    for table in tables:
        assert table['kind'] == kind and table['summary'] in plain
        for option in table['options']:
            assert f"{option['name']}=" in plain and option['help'] in plain
        for port in table['ports']:
            assert port['help'] in plain


def test_explain_tells_the_table_s_facts(weft):
    (table,) = json.loads(weft('explain', 'file', '--json').out)
    path = next(option for option in table['options'] if option['name'] == 'path')
    assert path['required'] and path['address'] and not path['live'] and path['default'] is None
    assert table['offers'] == ['block']


def test_info_tells_what_a_device_is(weft):
    told = json.loads(weft('info', 'delay:[mem:4MiB],read=1ms', '--json').out)
    assert told['device'] == 'delay:[mem:4MiB],read=1ms'
    assert told['stack']['kind'] == 'delay' and told['stack']['below'][0]['kind'] == 'mem'
    assert [device['size'] for device in told['devices']] == [4 << 20, 4 << 20]
    assert 'READ' in told['devices'][0]['abilities']


def test_info_for_people_draws_the_stack(weft):
    done = weft('info', 'mirror:[mem:1MiB],[null:1MiB]')
    assert done.status == 0 and done.err == ''
    assert 'mirror0  (mirror, 1.0 MiB)' in done.out
    assert '|- mem0' in done.out and '`- null0' in done.out


def test_info_leaves_the_file_as_it_was(weft, folder):
    path = f'{folder}/disk.img'
    with open(path, 'wb') as image:
        image.write(b'x' * 8192)
    assert weft('info', 'file:disk.img').status == 0
    with open(path, 'rb') as image:
        assert image.read() == b'x' * 8192


def test_a_measurement_ends_with_a_table(weft):
    done = weft('bench', 'null:1GiB', '--time', '50ms')
    assert done.status == 0 and 'randread' in done.out


def test_a_measurement_as_json(weft):
    told = json.loads(weft('bench', 'mem:4MiB', '--rw', 'write', '--amount', '4MiB', '--bs', '64KiB', '--json').out)
    assert told['bytes'] == 4 << 20 and told['errors'] == 0


def test_the_demo_shows_the_main_thing_and_leaves_nothing_behind(weft, folder):
    done = weft('demo', '--each', '20ms', env=dict(os.environ, TMPDIR=folder))
    assert done.status == 0, done.err
    assert done.err == ''
    for part in ('all of them right', 'qemu-system-x86_64', 'memory-backend-memfd', 'vhost-user-blk-pci', '4 KiB random reads'):
        assert part in done.out
    assert os.listdir(folder) == []


def test_the_demo_goes_on_serving_until_it_is_interrupted(folder):
    child = subprocess.Popen([WEFT, 'demo', '--each', '10ms', '--keep'], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             text=True, env=dict(os.environ, TMPDIR=folder))
    try:
        control = next(line.split()[-2] for line in child.stdout if line.startswith('Serving until interrupted'))
        assert weft_in(folder, 'ctl', control, 'mode').out == 'mode: adaptive\n'
        child.send_signal(signal.SIGINT)
        assert child.wait(60) == 0
        assert os.listdir(folder) == []
    finally:
        child.kill()
        child.wait()
        child.stdout.close()
