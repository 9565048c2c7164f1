# SPDX-License-Identifier: BSD-2-Clause
"""The command, run as a user runs it; a server, from its first line to its last."""
import collections
import json
import os
import signal
import subprocess
import tempfile

from waiting import LIMIT, WEFT, end_with_parent, ended, until_told

Result = collections.namedtuple('Result', 'status out err')


class Server:
    """One `weft serve`, from the line that says that it serves to its end. `device`: a word, or words that tell it. `listed`: they
    say where it is served, too."""

    def __init__(self, folder, device, *arguments, number=0, listed=False):
        self.folder, self.socket, self.path = folder, f'vm{number}.sock', f'ctl{number}.sock'
        words = [device] if isinstance(device, str) else device or ()
        on = () if listed else ('--on', f'vhost-user:{self.socket}')
        self.command = [WEFT, 'serve', *words, *on, '--control', self.path, *arguments]
        self.errors = tempfile.TemporaryFile('w+')
        self.child = None
        self.start()

    def start(self):
        """Also again, when it has ended."""
        if self.child:
            self.child.stdout.close()
        self.child = subprocess.Popen(self.command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                      stderr=self.errors, text=True, preexec_fn=end_with_parent)
        self.said = self.child.stdout.readline()
        assert self.said, self.log()

    def log(self):
        self.errors.seek(0)
        return self.errors.read()

    def ctl(self, *words):
        """-> the answer, from JSON; a refusal is an error"""
        done = weft_in(self.folder, 'ctl', self.path, *words, '--json')
        assert done.status == 0, done.err
        return json.loads(done.out)

    def until(self, fact, command, *words, child=None):
        """Asks by the control socket until fact(answer) is true, while the child runs (or the server). -> what fact() told"""
        return until_told(fact, child or self.child, os.path.join(self.folder, self.path), command, *words)

    def until_waiting(self, child, *device, count=1, kind=''):
        """-> the requests (of a kind) that have not ended, once there are so many, while the child runs that sends them"""
        def waiting(told):
            found = [one for one in told['requests'] if one['path'].startswith(kind)]
            return len(found) >= count and found

        return self.until(waiting, 'requests', *device, child=child)

    def refused(self, *words):
        """-> (status, what was said)"""
        done = weft_in(self.folder, 'ctl', self.path, *words)
        assert done.status != 0, done.out
        return done.status, done.err

    def ask_again(self):
        """It has been asked to end, and is asked again: not at the same moment, which would be the same asking. -> exit status"""
        while True:
            self.child.send_signal(signal.SIGTERM)
            if (status := ended(self.child, 0.2)) is not None:
                return status

    def stop(self, how=signal.SIGTERM):
        """-> exit status"""
        if self.child.poll() is None:
            self.child.send_signal(how)
        status = ended(self.child)
        self.child.kill()
        self.child.wait()
        self.child.stdout.close()
        return status


def weft_in(folder, *arguments, limit=LIMIT, **more):
    done = subprocess.run([WEFT, *arguments], cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, errors='replace', timeout=limit, check=False, **more)
    return Result(done.returncode, done.stdout, done.stderr)


def said(text):
    """The lines on standard error, but for what is said of the machine."""
    return [line for line in text.splitlines() if 'io_uring is not available' not in line]
