# SPDX-License-Identifier: BSD-2-Clause
"""A server that took our rings once, went away, and does not take them any more."""
import subprocess

import pytest

from cli.command import Server
from identity_test import fake  # noqa: F401 (fixture)
from vhost_user.frontend import OK
from waiting import LIMIT, WEFT, end_with_parent


@pytest.mark.parametrize('rude', [False, True])
@pytest.mark.parametrize('how', ['refusals=3', 'refusals=0,timeout=200ms'])
def test_requests_do_not_wait_for_ever(fake, rude, how):  # noqa: F811
    """Whether it says so, or closes the connection and acknowledges nothing, as some do."""
    server = fake(rude=rude, answer=lambda header: (OK, b'was good'))
    command = [WEFT, 'bench', f'vhost-user:{server.path},reconnect=5ms,in-place=off,{how}', '--amount', '64KiB', '--time', '0',
               '--depth', '1']
    load = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            preexec_fn=end_with_parent)
    try:
        server.wait_rings(2)  # the first look, and the ring of the load
        server.largest = 64
        server.drop()
        _, err = load.communicate(timeout=LIMIT)
    finally:
        load.kill()
        load.wait()
    assert load.returncode == 1 and 'Input/output error' in err, err
    assert err.count('depth=128') == 1 and err.count('choose a smaller depth') == 1, err
    assert err.count('open this device again') == 1 and '.sock: a server is back' not in err, err
    assert err.count('refused 3 times in a row') == ('refusals=3' in how), err
    assert len(server.rings) >= 2 + (3 if 'refusals=3' in how else 1)


def test_ctl_tells_why(fake, folder):  # noqa: F811
    server = fake(answer=lambda header: (OK, b'was good'))
    serve = Server(folder, f'vhost-user:{server.path},reconnect=5ms,refusals=3')

    def connection(info):
        return info['devices'][0]['facts']['connection']

    def until_told(what):
        return serve.until(lambda info: what in connection(info) and connection(info), 'info')

    until_told('up')
    server.largest = 64
    server.drop()
    assert 'choose a smaller depth' in until_told('requests fail')
    server.largest = 1024
    until_told('up')
    assert serve.stop() == 0
