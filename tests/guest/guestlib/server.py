# SPDX-License-Identifier: BSD-2-Clause
"""The process that serves a disk to the guests: weft, or qemu-storage-daemon to prove the harness and to compare."""

import json
import os
import signal
import socket
import subprocess

from waiting import SS_CONNECTED, WEFT, unix_sockets, until, until_listening

from . import process, qmp


class Unsupported(Exception):
    """This server has no such operation."""


class Socket:
    """One vhost-user socket of a server, with the export's options in the server's own words."""

    def __init__(self, path, queues=1, **options):
        self.path = path
        self.queues = queues
        self.options = options


class Server:
    """A disk image served at one or more sockets. Every way to end it is safe to call twice."""

    name = None  # how log files and messages call it

    def __init__(self, disk, sockets, wrapper=()):
        self.disk = disk
        self.sockets = sockets
        self.wrapper = list(wrapper)
        self.folder = os.path.dirname(sockets[0].path)
        self.log_path = os.path.join(self.folder, f"{self.name}.log")
        self.child = None

    def command(self):
        """The command line; each implementation has its own."""
        raise NotImplementedError

    def control(self, *words):
        """Send a control request to the running server; returns its answer as text."""
        raise NotImplementedError

    def start(self, limit=process.LIMIT):
        """Start it and return when it listens at every socket."""
        with open(self.log_path, "ab") as log:
            self.child = process.spawn(self.wrapper + self.command(), stdout=log, stderr=subprocess.STDOUT)
        try:
            until_listening(self.child, *self.addresses(), limit=limit)
        except (ChildProcessError, TimeoutError) as error:
            self.kill()
            raise type(error)(f"{error}\n{self.log()}") from None
        return self

    def connected(self):
        """Whether a guest is connected to the first socket."""
        return any(path == self.sockets[0].path and state == SS_CONNECTED for path, _, state in unix_sockets())

    def addresses(self):
        return [s.path for s in self.sockets]

    def wait_guest_memory(self):
        """Returns when a guest has got as far as handing its memory over, just before it starts its rings."""
        until(self.connected, self.child, self.log_path)  # which is a line in the log; the rest is a few messages further
        while not self.holds_guest_memory():
            assert self.running(), self.log()
            os.sched_yield()

    def holds_guest_memory(self):
        with open(f"/proc/{self.child.pid}/maps", encoding="utf-8", errors="replace") as maps:
            return "/memfd:memory-backend-memfd" in maps.read()

    def running(self):
        return self.child is not None and self.child.poll() is None

    def kill(self):
        """End it as a crash would, with all its threads at once."""
        if self.child:
            process.end(self.child)

    def stop(self, limit=process.LIMIT):
        """End it in order; returns its exit status."""
        return process.end(self.child, signal.SIGTERM, limit) if self.child else None

    def restart(self):
        self.kill()
        return self.start()

    def log(self, lines=20):
        try:
            with open(self.log_path, encoding="utf-8", errors="replace") as file:
                return f"--- {self.name}\n" + "".join(file.readlines()[-lines:])
        except FileNotFoundError:
            return ""


class Weft(Server):
    """`weft serve`; control requests go through `weft ctl`."""

    name = "weft"

    def __init__(self, disk, sockets, wrapper=(), mode=None, cpus=None, through=(), program=WEFT, **options):
        super().__init__(disk, sockets, wrapper)
        self.mode = mode
        self.cpus = cpus
        self.through = through
        self.program = program
        self.options = options
        self.control_path = os.path.join(self.folder, "ctl.sock")

    def command(self):
        argv = [self.program, "serve", "file:" + ",".join([self.disk, *pairs(self.options)])]
        for layer in self.through:
            argv += ["--through", layer]
        for s in self.sockets:
            argv += ["--on", "vhost-user:" + ",".join([s.path, f"queues={s.queues}", *pairs(s.options)])]
        if self.mode:
            argv += ["--mode", self.mode]
        if self.cpus:
            argv += ["--cpus", self.cpus]
        return argv + ["--control", self.control_path]

    def addresses(self):
        return [*super().addresses(), self.control_path]

    def control(self, *words):
        done = subprocess.run([self.program, "ctl", self.control_path, *words], stdin=subprocess.DEVNULL, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=process.LIMIT, check=False)
        if done.returncode:
            raise RuntimeError(f"weft ctl {' '.join(words)}: status {done.returncode}: {done.stderr}\n{self.log()}")
        return done.stdout


class StorageDaemon(Server):
    """qemu-storage-daemon. Of the control requests it has only `resize SIZE`."""

    name = "qemu-storage-daemon"

    def __init__(self, disk, sockets, wrapper=(), aio="threads", cache_direct=False, read_only=False):
        super().__init__(disk, sockets, wrapper)
        self.aio = aio
        self.cache_direct = cache_direct
        self.read_only = read_only
        self.control_path = os.path.join(self.folder, "qsd.sock")

    def command(self):
        blockdev = {"driver": "file", "node-name": "disk", "filename": self.disk, "aio": self.aio, "discard": "unmap",
                    "cache": {"direct": self.cache_direct}, "read-only": self.read_only}
        argv = ["qemu-storage-daemon", "--blockdev", json.dumps(blockdev)]
        for number, s in enumerate(self.sockets):
            argv += ["--export", f"type=vhost-user-blk,id=export{number},node-name=disk,addr.type=unix,"
                                 f"addr.path={s.path},num-queues={s.queues},"
                                 f"writable={'off' if self.read_only else 'on'}"]
        return argv + ["--chardev", f"socket,id=qmp,path={self.control_path},server=on,wait=off",
                       "--monitor", "chardev=qmp"]

    def control(self, *words):
        if words[0] != "resize":
            raise Unsupported(f"qemu-storage-daemon has no '{words[0]}'")
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(self.control_path)
            qmp.Client(sock)("block_resize", node_name="disk", size=int(words[1]))
        return ""


def pairs(options):
    """{'read_only': 'on'} -> ['read-only=on']"""
    return [f"{key.replace('_', '-')}={value}" for key, value in options.items()]
