# SPDX-License-Identifier: BSD-2-Clause
"""Two processes that put each other to sleep and wake each other, a million times: none of the wake-ups is lost."""
import json

import pytest

SLEEPS = 1000000
ROUND = 400000  # requests


def sleeps(server):
    return sum(reactor['sleeps'] for reactor in server.ctl('stats')['reactors'])


@pytest.mark.parametrize('mode', ['notify', 'adaptive'])
def test_no_wake_up_is_lost(serve, weft, mode):
    server = serve('null:1GiB', '--mode', mode)
    wanted = SLEEPS if mode == 'notify' else SLEEPS // 20  # adaptive: sleeps when it is wrong, which is seldom
    rounds = 0
    while sleeps(server) < wanted and rounds < 20:
        # One request at a time: a lost wake-up on either side would be the end, as no other would come.
        rate = [] if mode == 'notify' else ['--rate', '20000', '--arrivals', 'poisson']
        requests = ROUND if mode == 'notify' else ROUND // 10
        done = weft('bench', f'vhost-user:{server.socket}', '--rw', 'randread', '--depth', '1', '--mode', mode,
                    '--amount', str(requests * 4096), '--time', '0', '--json', *rate, limit=300)
        assert done.status == 0, done.err
        assert json.loads(done.out)['requests'] == requests
        rounds += 1
    assert sleeps(server) >= wanted
