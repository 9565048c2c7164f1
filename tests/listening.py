# SPDX-License-Identifier: BSD-2-Clause
"""Servers under test as processes, from the moment when their socket accepts."""
import signal
import subprocess
import tempfile

from waiting import LIMIT, end_with_parent, ended, until, until_listening


class Listening:
    """A process that listens on a socket; may be killed and started again."""

    def __init__(self, command, path):
        self.command, self.path = command, path
        self.log = tempfile.TemporaryFile('a+', encoding='utf-8', errors='replace')
        self.child = None
        self.start()

    def start(self):
        self.child = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
                                      preexec_fn=end_with_parent)
        try:
            until_listening(self.child, self.path)
        except (ChildProcessError, TimeoutError) as error:
            self.kill()
            raise type(error)(f'{error}\n{self.text()}') from None

    def kill(self):
        self.child.kill()
        self.child.wait()

    def stop(self, how=signal.SIGTERM):
        """-> exit status"""
        self.child.send_signal(how)
        status = ended(self.child)
        self.kill()
        return status

    def text(self):
        self.log.seek(0)
        return self.log.read()

    def until_said(self, text, child=None, times=1, limit=LIMIT):
        """Returns when the log holds it; an error when the child, which may be another one, has ended before."""
        until(lambda: self.text().count(text) >= times, child or self.child, f'/proc/self/fd/{self.log.fileno()}', limit=limit)
