# SPDX-License-Identifier: BSD-2-Clause
"""Child processes that cannot outlive the test run, and waiting for facts instead of for time."""

import ctypes
import os
import select
import signal
import subprocess
import time

PR_SET_PDEATHSIG = 1
libc = ctypes.CDLL(None, use_errno=True)


class Expired(Exception):
    """A hard time limit has passed."""


def spawn(argv, **options):
    """Start argv in a process group of its own; the kernel kills it when this process ends."""
    parent = os.getpid()

    def die_with_parent():
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(127)

    return subprocess.Popen(argv, stdin=subprocess.DEVNULL, start_new_session=True,
                            preexec_fn=die_with_parent, **options)


def end(child, how=signal.SIGKILL, limit=30):
    """Signal the group of a child that spawn() started and reap the child; returns its exit status."""
    if child.poll() is None:
        try:
            os.killpg(child.pid, how)
        except ProcessLookupError:
            pass
        try:
            child.wait(limit)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            raise Expired(f"{child.args[0]} did not end within {limit} s of {signal.Signals(how).name}") from None
    return child.returncode


def wait_until(fact, what, limit=30, child=None, pause=0.002):
    """Ask fact() again and again until it returns something true, which is returned.

    Between two questions this waits in poll() on the child, so that its death ends the wait at once.
    """
    deadline = time.monotonic() + limit
    while True:
        value = fact()
        if value:
            return value
        if child is not None and child.poll() is not None:
            raise ChildProcessError(f"{child.args[0]} ended with {child.returncode} before: {what}")
        if time.monotonic() > deadline:
            raise Expired(f"not within {limit} s: {what}")
        pass_time(pause, child)


def pass_time(seconds, child=None):
    """Let time go by, at most until the child ends. Not to wait for something: where the instant itself is random."""
    if child is None or child.poll() is not None:
        select.select([], [], [], seconds)
        return
    pidfd = os.pidfd_open(child.pid)
    try:
        select.select([pidfd], [], [], seconds)
    finally:
        os.close(pidfd)
