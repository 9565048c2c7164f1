# SPDX-License-Identifier: BSD-2-Clause
"""The first look at a server: its serial number, and whether it takes our rings at all."""
import os
import struct
import subprocess

import pytest

from initiator_test import qemu, weft  # noqa: F401 (fixtures)
from server import FakeServer
from vhost_user.frontend import OK, T_GET_ID, UNSUPP
from waiting import LIMIT, WEFT


@pytest.fixture
def fake(folder):
    servers = []

    def make(**how):
        path = os.path.join(folder, 'fake.sock')
        servers.append(FakeServer(path, **how))
        servers[-1].path = path
        return servers[-1]

    yield make
    for server in servers:
        server.close()


def info(server, options=''):
    return subprocess.run([WEFT, 'info', f'vhost-user:{server.path}{options}'], stdin=subprocess.DEVNULL, capture_output=True,
                          timeout=LIMIT, check=False)


def serial(server, options=''):
    run = info(server, options)
    assert run.returncode == 0, run.stderr
    lines = [line for line in run.stdout.split(b'\n') if line.strip().startswith(b'serial')]
    assert len(lines) == 1, run.stdout
    return lines[0].strip()[len('serial'):].strip()


@pytest.mark.parametrize('packed', ['on', 'off'])
def test_weft_tells_its_serial_number(weft, packed):  # noqa: F811
    server = weft(options=',serial=disk-7')
    for _ in range(3):
        assert serial(server, f',packed={packed}') == b'disk-7'


def test_qemu_tells_its_serial_number(qemu):  # noqa: F811
    server = qemu()
    assert serial(server) == serial(server) == b'vhost_user_blk'


@pytest.mark.parametrize('told, shown', [
    (b'01234567890123456789', b'01234567890123456789'), (b'\x1b[2J\nsize 1\x00\xff', b'?[2J?size 1'),
    (bytes(range(0x70, 0x84)), b'pqrstuvwxyz{|}~?????'), (bytes(20), b'none'), (b' ' * 20, b'none')])
def test_whatever_a_server_tells_is_shown_as_text(fake, told, shown):
    asked = []

    def answer(header):
        asked.append(struct.unpack('<IIQ', header))
        return OK, told

    assert serial(fake(answer=answer)) == shown
    assert asked == [(T_GET_ID, 0, 0)]


def test_a_server_without_a_serial_number(fake):
    assert serial(fake(answer=lambda header: (UNSUPP, b'not to be shown'))) == b'none'


@pytest.mark.parametrize('rude', [False, True])
def test_a_server_that_takes_smaller_rings_only_is_not_tried_again(fake, rude):
    """What it refused is named, and what to do; and that helps."""
    server = fake(largest=64, rude=rude, answer=lambda header: (OK, b'small'))
    run = info(server)
    assert run.returncode in (1, 2) and run.stderr.count(b'\n') == 1
    assert b'depth=128' in run.stderr and b'512 entries' in run.stderr and b'choose a smaller depth' in run.stderr
    assert server.rings == [512]
    assert serial(server, ',depth=16') == b'small'
