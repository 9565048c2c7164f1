# SPDX-License-Identifier: BSD-2-Clause
"""The command in an empty folder for each test, servers that are ended and looked at."""
import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(__file__))

from command import Server, weft_in  # noqa: E402


@pytest.fixture
def weft(folder):
    """weft('info', 'mem:1MiB') -> Result"""
    return lambda *arguments, **more: weft_in(folder, *arguments, **more)


@pytest.fixture
def serve(folder):
    """serve('mem:1MiB', ...) -> Server; each must end well and take its sockets away."""
    servers = []

    def start(device, *arguments, **how):
        servers.append(Server(folder, device, *arguments, number=len(servers), **how))
        return servers[-1]

    yield start
    ends = [(server, server.child.poll(), server.stop()) for server in servers]
    for server, before, status in ends:
        assert before in (None, 0) and status == 0, server.log()
        for path in (server.socket, server.path):
            assert not os.path.exists(os.path.join(folder, path)), f'{path} is left behind'
