# SPDX-License-Identifier: BSD-2-Clause
"""A component from a shared object finds the one core of the process: the program's."""
import json
import os
import re
import struct

import pytest

from waiting import BUILD


@pytest.fixture(scope='module')
def module():
    (path,) = [os.path.join(folder, 'xor.so') for folder, _, names in os.walk(BUILD) if 'xor.so' in names]
    return path


def mapped(pid):
    """-> the shared objects of a process"""
    with open(f'/proc/{pid}/maps', encoding='utf-8') as maps:
        return {os.path.basename(line.split()[5]) for line in maps if len(line.split()) > 5}


def test_there_is_one_core_in_the_process(serve, module):
    server = serve('mem:4MiB', '--load', module, '--through', 'xor:key=7')
    objects = mapped(server.child.pid)
    assert 'xor.so' in objects
    assert not any(name.startswith('libweft') for name in objects)


def test_data_goes_through_it_and_back(serve, module, weft):
    server = serve('mem:4MiB', '--load', module, '--through', 'xor:key=7')
    done = weft('bench', f'vhost-user:{server.socket}', '--rw', 'mixed', '--verify', '--time', '100ms', '--json')
    assert done.status == 0 and json.loads(done.out)['mismatches'] == 0


def test_it_is_put_in_and_taken_out_while_it_serves(serve, module):
    server = serve('mem:4MiB', '--load', module)
    assert server.ctl('insert', 'xor:key=7')['stack']['kind'] == 'xor'
    assert server.ctl('remove', 'xor')['stack']['kind'] == 'mem'


@pytest.mark.parametrize('field, part', [(0, 'abi='), (1, 'size='), (2, 'kind_size=')])
def test_one_that_was_built_for_another_weft_is_refused(weft, module, folder, field, part):
    """The first numbers of its table: the ABI's version, and the sizes of the table and of a kind."""
    with open(module, 'rb') as there:
        image = bytearray(there.read())
    (table,) = [m.start() for m in re.finditer(rb'[\1-\xff]\0\0\0\x28\0\0\0[\0-\xff]{2}\0\0', image, re.S)
                if m.start() % 8 == 0 and 40 < struct.unpack_from('<I', image, m.start() + 8)[0] < 4096]
    struct.pack_into('<I', image, table + 4 * field, struct.unpack_from('<I', image, table + 4 * field)[0] + 1)
    with open(f'{folder}/other.so', 'wb') as other:
        other.write(image)
    done = weft('info', 'mem:1MiB', '--load', module, '--load', './other.so')
    assert done.status == 2
    assert "module='./other.so': " + part in done.err and 'build it against' in done.err


def test_it_is_listed_with_the_others(weft, module):
    assert 'xor' in {entry['kind'] for entry in json.loads(weft('list', '--load', module, '--json').out)}
