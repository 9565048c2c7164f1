# SPDX-License-Identifier: BSD-2-Clause
"""Servers under test as processes, from the moment when their socket accepts."""
import os
import socket
import subprocess
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
WEFT = os.path.join(os.environ.get('WEFT_BUILD', os.path.join(ROOT, 'build')), 'weft')
SECONDS = 60  # after which anything has gone wrong


class Listening:
    """A process that listens on a socket; may be killed and started again."""

    def __init__(self, command, path):
        self.command, self.path = command, path
        self.log = tempfile.TemporaryFile('a+', encoding='utf-8', errors='replace')
        self.child = None
        self.start()

    def start(self):
        self.child = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        until = time.monotonic() + SECONDS
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

    def text(self):
        self.log.seek(0)
        return self.log.read()
