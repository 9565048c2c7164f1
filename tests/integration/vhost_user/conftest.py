# SPDX-License-Identifier: BSD-2-Clause
"""A server for each test, ended and looked at after it."""
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

import pytest

sys.path.insert(0, os.path.dirname(__file__))

import frontend  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
WEFT = os.path.join(os.environ.get('WEFT_BUILD', os.path.join(ROOT, 'build')), 'weft')


class Server:
    """One `weft serve`."""

    def __init__(self, folder, device, options='', arguments=()):
        self.folder, self.path = folder, os.path.join(folder, 's')
        self.command = [WEFT, 'serve', device, '--on', f'vhost-user:{self.path}{options}', *arguments]
        self.log = open(os.path.join(folder, 'log'), 'a+', encoding='utf-8', errors='replace')
        self.child, self.stopped = None, False
        self.start()

    def start(self):
        self.child = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        until = time.monotonic() + frontend.TIMEOUT
        while not self.listens():
            assert self.child.poll() is None and time.monotonic() < until, self.text()
            time.sleep(0.002)

    def listens(self):
        """Whether the socket accepts; a connection that is closed at once leaves no trace but a line in the log."""
        with socket.socket(socket.AF_UNIX) as sock:
            try:
                sock.connect(self.path)
            except OSError:
                return False
        return True

    def connect(self):
        return frontend.FrontEnd(self.path)

    def kill(self):
        self.child.kill()
        self.child.wait()

    def stop(self):
        """-> exit status"""
        self.stopped = True
        self.child.send_signal(signal.SIGTERM)
        try:
            return self.child.wait(frontend.TIMEOUT)
        finally:
            self.child.kill()
            self.child.wait()

    def text(self):
        self.log.seek(0)
        return self.log.read()


@pytest.fixture
def folder():
    path = tempfile.mkdtemp(prefix='weft-')
    yield path
    shutil.rmtree(path)


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
