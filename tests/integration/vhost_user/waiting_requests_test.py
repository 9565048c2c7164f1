# SPDX-License-Identifier: BSD-2-Clause
"""Which requests wait, and what a change waits for, where the requests are made to order."""
import os
import subprocess

import pytest
from frontend import OK, T_IN, T_OUT
from long_chains_test import Long
from waiting import WEFT, until_told


@pytest.fixture
def hung(serve, folder):
    """-> a server on one reactor whose reads take hours; its control socket"""
    path = os.path.join(folder, 'ctl')
    return serve('delay:[mem:64MiB],read=1h', arguments=('--cpus', '0', '--control', path)), path


def test_the_oldest_is_the_one_that_was_asked_first(hung, client):
    """The place of the first request, which has ended, is taken again by the one that came last."""
    server, path = hung
    c = client(server)
    c.ring.request(T_OUT, 0, b'w' * 512)
    c.ring.request(T_IN, 8, room=4096)
    c.ring.publish()
    c.ring.kick()
    assert c.ring.finish()[1] == OK
    c.ring.request(T_IN, 16, room=4096)
    c.ring.publish()
    c.ring.kick()
    until_told(lambda told: len(told['requests']) == 2, server.child, path, 'requests')
    change = subprocess.Popen([WEFT, 'ctl', path, 'remove', 'delay'], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL)
    told = until_told(lambda told: 'requests' in told.get('change', {}) and told['change'], change, path, 'info')
    assert told['oldest'].startswith('READ 4096@4096 |')
    server.kill()
    change.communicate(timeout=60)


def test_who_stands_in_line_is_told(hung, client):
    """What its place was used for before is not."""
    server, path = hung
    c = client(server, num=2048, queues=2, size=8 << 20)
    assert all(ring.write(0, b'w' * 512) == OK for ring in c.rings)
    for ring in c.rings:
        Long(ring, T_IN, 0, 2048).send()
    paths = until_told(lambda told: len(told['requests']) == 2 and [one['path'] for one in told['requests']], server.child, path,
                       'requests')
    assert sum('waits for room for its segments' in one for one in paths) == 1
    assert sum('READ 8192@0 | delay0' in one for one in paths) == 1
    server.kill()
