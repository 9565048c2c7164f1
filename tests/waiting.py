# SPDX-License-Identifier: BSD-2-Clause
"""Waiting for facts, never for time: something in a folder or a file changes, a server listens, a process ends."""
import contextlib
import ctypes
import json
import os
import select
import signal
import socket
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.environ.get('WEFT_BUILD', os.path.join(ROOT, 'build'))
WEFT = os.path.join(BUILD, 'weft')
LIMIT = 60  # seconds, after which anything has gone wrong

PR_SET_PDEATHSIG = 1
IN_MODIFY, IN_MOVED_FROM, IN_MOVED_TO, IN_CREATE, IN_DELETE = 0x2, 0x40, 0x80, 0x100, 0x200
CHANGES = IN_MODIFY | IN_MOVED_FROM | IN_MOVED_TO | IN_CREATE | IN_DELETE
SS_UNCONNECTED, SS_CONNECTED = 1, 3
ACCEPTING = 1 << 16  # __SO_ACCEPTCON
libc = ctypes.CDLL(None, use_errno=True)


def end_with_parent():
    """Of a child, before it begins its program: it does not outlive the test."""
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def until(fact, child, *paths, limit=LIMIT):
    """-> what fact() tells, once it is true. It is asked again after each change of one of these files or folders."""
    end = time.monotonic() + limit
    with contextlib.ExitStack() as left:
        notify = checked(libc.inotify_init1(os.O_CLOEXEC))
        left.callback(os.close, notify)
        for path in paths:
            checked(libc.inotify_add_watch(notify, os.fsencode(path), CHANGES))
        process = [] if child.poll() is not None else [os.pidfd_open(child.pid)]
        left.callback(lambda: [os.close(fd) for fd in process])
        while not (told := fact()):
            name = child.args if isinstance(child.args, str) else child.args[0]
            if child.poll() is not None:
                raise ChildProcessError(f'{name} has ended with {child.returncode}')
            if notify in select.select([notify, *process], [], [], max(0, end - time.monotonic()))[0]:
                os.read(notify, 65536)
            elif time.monotonic() >= end:
                raise TimeoutError(f'{name}: not within {limit} s')
        return told


def until_told(fact, child, path, *words):
    """-> what fact(answer) tells, once it is true: asked of the server whose control socket is there, while the child runs"""
    end, line = time.monotonic() + LIMIT, json.dumps({'command': words[0], 'args': words[1:]}).encode() + b'\n'
    with socket.socket(socket.AF_UNIX) as sock, sock.makefile('rb') as answers:
        sock.settimeout(LIMIT)
        sock.connect(path)
        while True:
            sock.sendall(line)
            answer = json.loads(answers.readline())
            assert answer['ok'], answer
            if told := fact(answer['result']):
                return told
            assert child.poll() is None, child.communicate()
            assert time.monotonic() < end, answer


def checked(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def gone(pid, limit=LIMIT):
    """-> whether a process, anybody's, ends within the limit"""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([process], [], [], limit)[0])
    finally:
        os.close(process)


def ended(child, limit=LIMIT):
    """-> the exit status of a child that ends within the limit, or None"""
    if child.poll() is None:
        gone(child.pid, limit)
    return child.poll()


def unix_sockets():
    """The bound sockets of this machine, as the kernel lists them: [(path, flags, state)]."""
    with open('/proc/net/unix', encoding='ascii', errors='replace') as table:
        rows = [line.split() for line in table][1:]
    return [(row[7], int(row[3], 16), int(row[5], 16)) for row in rows if len(row) > 7]


def until_listening(child, *paths, limit=LIMIT):
    """Returns when there is a listener at each path; looks without connecting: that could take a client's place."""
    def listening():
        while True:
            found = unix_sockets()
            missing = set(paths) - {path for path, flags, _ in found if flags & ACCEPTING}
            if not any(path in missing and state == SS_UNCONNECTED for path, _, state in found):
                return not missing
            os.sched_yield()  # bound: to listen is what its process does next, and nobody is told of that

    until(listening, child, *{os.path.dirname(path) for path in paths}, limit=limit)
