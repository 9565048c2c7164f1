# SPDX-License-Identifier: BSD-2-Clause
"""Child processes that cannot outlive the test run."""

import os
import signal
import subprocess

from waiting import end_with_parent, ended

LIMIT = 300  # seconds: nothing that a test waits for takes so long, on any machine


class Expired(Exception):
    """A hard time limit has passed."""


def spawn(argv, **options):
    """Start argv in a process group of its own; the kernel kills it when this process ends."""
    parent = os.getpid()

    def die_with_parent():
        end_with_parent()
        if os.getppid() != parent:
            os._exit(127)

    return subprocess.Popen(argv, stdin=subprocess.DEVNULL, start_new_session=True,
                            preexec_fn=die_with_parent, **options)


def end(child, how=signal.SIGKILL, limit=LIMIT):
    """Signal the group of a child that spawn() started and reap the child; returns its exit status."""
    if child.poll() is None:
        try:
            os.killpg(child.pid, how)
        except ProcessLookupError:
            pass
        if ended(child, limit) is None:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            raise Expired(f"{child.args[0]} did not end within {limit} s of {signal.Signals(how).name}")
    return child.returncode
