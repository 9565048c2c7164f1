# SPDX-License-Identifier: BSD-2-Clause
"""A server for each test, ended and looked at after it."""
import os
import signal
import sys

import pytest

sys.path.insert(0, os.path.dirname(__file__))

import frontend  # noqa: E402
import survivor as survivors  # noqa: E402
from listening import Listening  # noqa: E402
from waiting import WEFT  # noqa: E402


class Server(Listening):
    """One `weft serve`."""

    def __init__(self, folder, device, options='', arguments=()):
        path = os.path.join(folder, 's')
        self.stopped = False
        super().__init__([WEFT, 'serve', device, '--on', f'vhost-user:{path}{options}', *arguments], path)

    def connect(self):
        return frontend.FrontEnd(self.path)

    def stop(self, how=signal.SIGTERM):
        self.stopped = True
        return super().stop(how)


@pytest.fixture
def serve(folder):
    """serve(device='mem:64MiB', options='', ...) -> Server. All must end well."""
    servers = []

    def make(device='mem:64MiB', options='', arguments=()):
        servers.append(Server(folder, device, options, arguments))
        return servers[-1]

    yield make
    for server in servers:
        alive = server.child.poll() is None or server.stopped
        status = server.stop()
        text = server.text()
        server.log.close()
        assert alive or status == -signal.SIGKILL, f'the server ended by itself: {status}\n{text}'
        assert status in (0, -signal.SIGKILL), text
        assert not os.path.exists(server.path) or status == -signal.SIGKILL, 'the socket was left behind'


class Client:
    """A connection with memory and one ring, ready for requests."""

    def __init__(self, server, kind='split', features=0, protocol=None, num=64, size=4 << 20, queues=1, **how):
        ring_type, ring_feature = frontend.RINGS[kind]
        self.front = server.connect()
        self.memory = frontend.Memory(size)
        protocol = frontend.P_MQ | frontend.P_REPLY_ACK | frontend.P_CONFIG if protocol is None else protocol
        self.front.negotiate(frontend.F_PROTOCOL | frontend.F_VERSION_1 | frontend.F_FLUSH | ring_feature | features, protocol)
        assert self.front.mem_table(self.memory) == 0
        self.rings = [ring_type(self.front, self.memory, i, num, **how) for i in range(queues)]
        self.ring = self.rings[0]

    def start(self):
        for ring in self.rings:
            ring.start()
        return self

    def close(self):
        self.front.close()
        for ring in self.rings:
            ring.close()
        self.memory.close()

    def works(self):
        """A request is answered: nobody has taken harm."""
        return self.ring.write(0, b'x' * 512) == frontend.OK and self.ring.read(0, 512) == (frontend.OK, b'x' * 512)


@pytest.fixture
def client():
    """client(server, ...) -> Client, closed at the end."""
    clients = []

    def make(server, start=True, **how):
        clients.append(Client(server, **how))
        return clients[-1].start() if start else clients[-1]

    yield make
    for one in clients:
        one.close()


@pytest.fixture
def survivor():
    made = []

    def make(*args):
        made.append(survivors.Survivor(*args))
        made[-1].connect()
        return made[-1]

    yield make
    for one in made:
        one.close()
