# SPDX-License-Identifier: BSD-2-Clause
"""A virtual machine with a real kernel that obeys the test: commands in, results out, as often as wanted."""

import os
import select
import signal
import socket
import subprocess
import time

from . import image, process, qmp

QEMU = "qemu-system-x86_64"
# init_on_alloc=0: pages that only the device writes must look untouched to QEMU, or the dirty log is never put to the
# proof. The other arguments save time.
KERNEL_ARGUMENTS = "console=ttyS0 quiet panic=-1 init_on_alloc=0 mitigations=off"

# QEMU 7.2 looks for pages that changed during a migration in two ways. The fast one, for memory that is a multiple of
# 256 KiB, does not tell the emulated processors that a page is clean again, so that their later writes are lost.
ODD_KIB = 8


class Failed(Exception):
    """A command in the guest ended with a status other than 0, or the guest itself came to grief."""


class Disk:
    """A vhost-user-blk device of a machine, served at a socket."""

    def __init__(self, path, queues=1, packed=False, depth=128):
        self.path = path
        self.queues = queues
        self.packed = packed
        self.depth = depth

    def arguments(self, number):
        device = (f"vhost-user-blk-pci,chardev=vub{number},num-queues={self.queues},queue-size={self.depth},"
                  f"packed={'on' if self.packed else 'off'},id=disk{number}")
        return ["-chardev", f"socket,id=vub{number},path={self.path},reconnect=1", "-device", device]


class Job:
    """A command that runs in the guest while the test goes on."""

    def __init__(self, guest, number, command):
        self.guest = guest
        self.number = number
        self.command = command

    def ended(self):
        return self.guest.job_status(self.number, limit=0) is not None

    def wait(self, limit=process.LIMIT):
        """Its output, when it has ended well."""
        status = self.guest.job_status(self.number, limit)
        if status is None:
            raise process.Expired(f"the guest was still busy after {limit} s: {self.command}\n{self.guest.console()}")
        output = self.output()
        if status:
            raise Failed(f"exit status {status}: {self.command}\n{output}\n{self.guest.console()}")
        return output

    def output(self):
        return self.guest.run(f"cat /run/job.{self.number}")

    def interrupt(self, name="INT"):
        self.guest.run(f"kill -{name} $(cat /run/pid.{self.number})")


class Guest:
    """A machine. Nothing that it does lasts longer than `lifetime` seconds from its start: then its process is killed."""

    def __init__(self, folder, disks, cpus=2, memory=None, fio=False, reboots=False, incoming=None, wait=True,
                 lifetime=2 * process.LIMIT):
        self.folder = folder
        self.name = f"guest-{id(self):x}"
        self.fio = fio
        self.memory = memory or (448 if fio else 192)
        self.deadline = time.monotonic() + lifetime
        self.console_path = os.path.join(folder, self.name + ".console")
        self.numbers = 0
        self.replies = b""
        self.notices = b""
        self.jobs = {}
        self.child = None
        self.qmp = None
        self.sockets = []
        try:
            self._start(disks, cpus, reboots, incoming)
            self.qmp = qmp.Client(self.sockets[2], limit=self._left(process.LIMIT))
            if wait and not incoming:
                self.wait_booted()
        except BaseException:
            self.kill()
            raise

    def _start(self, disks, cpus, reboots, incoming):
        kit = image.kit()
        memory = f"{self.memory * 1024 + ODD_KIB}K"
        pairs = [socket.socketpair() for _ in range(3)]
        self.sockets = [ours for ours, _ in pairs]
        theirs = [end.fileno() for _, end in pairs]
        argv = [
            QEMU, "-name", self.name, "-nodefaults", "-no-user-config", "-display", "none", "-accel", "tcg,thread=multi",
            "-M", "q35,memory-backend=ram", "-cpu", "max", "-smp", str(cpus), "-m", memory,
            "-object", f"memory-backend-memfd,id=ram,size={memory},share=on",
            "-kernel", kit.kernel, "-initrd", kit.large if self.fio else kit.small, "-append", KERNEL_ARGUMENTS,
            "-device", "isa-debug-exit,iobase=0xf4,iosize=0x04",
            "-chardev", f"file,id=console,path={self.console_path}", "-serial", "chardev:console",
        ]
        # By default the third line shares its interrupt with the first.
        for index, name, irq in ((1, "commands", 3), (2, "notices", 5)):
            argv += ["-chardev", f"socket,id={name},fd={theirs[index - 1]}",
                     "-device", f"isa-serial,chardev={name},index={index},irq={irq}"]
        argv += ["-chardev", f"socket,id=qmp,fd={theirs[2]}", "-mon", "chardev=qmp,mode=control"]
        if not reboots:
            argv.append("-no-reboot")
        if incoming:
            argv += ["-incoming", incoming]
        for number, disk in enumerate(disks):
            argv += disk.arguments(number)
        with open(self.console_path + ".qemu", "wb") as log:
            self.child = process.spawn(argv, stdout=log, stderr=subprocess.STDOUT, pass_fds=theirs)
        for _, end in pairs:
            end.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()

    def kill(self):
        if self.child:
            process.end(self.child)
        for sock in self.sockets:
            sock.close()

    def stop(self):
        """End the machine from inside; raises if its kernel does not get that far."""
        self._send("leave 0")
        self.child.wait(self._left(process.LIMIT))
        if self.child.returncode != 1:
            raise Failed(f"QEMU ended with {self.child.returncode}, not by the guest's word\n{self.console()}")
        self.kill()

    def pause(self):
        os.kill(self.child.pid, signal.SIGSTOP)

    def resume(self):
        os.kill(self.child.pid, signal.SIGCONT)

    def run(self, command, limit=process.LIMIT):
        """Run shell commands in the guest; returns their output (both streams)."""
        status, output = self.try_run(command, limit)
        if status:
            raise Failed(f"exit status {status}: {command}\n{output}\n{self.console()}")
        return output

    def try_run(self, command, limit=process.LIMIT):
        """The same for commands that may fail; returns (status, output)."""
        number = self._send(command)
        while True:
            kind, *rest = self._reply_line(limit).split()
            if kind == "R" and int(rest[0]) == number:
                break
        output = self._reply_bytes(int(rest[2]), limit)
        return int(rest[1]), output.decode("utf-8", "replace").rstrip("\n")

    def start(self, command):
        """Run shell commands in the guest while the test goes on; returns a Job."""
        self.numbers += 1
        job = Job(self, self.numbers, command)
        quoted = command.replace("'", "'\\''")
        self.run(f"job {job.number} '{quoted}'")
        return job

    def wait_for(self, condition, limit=process.LIMIT):
        """Ask the guest again and again until the shell condition holds."""
        deadline = time.monotonic() + limit
        while self.try_run(condition, limit)[0]:
            if time.monotonic() > deadline:
                raise process.Expired(f"not within {limit} s in the guest: {condition}\n{self.console()}")

    def wait_booted(self, limit=process.LIMIT):
        while not self._reply_line(limit).startswith("H "):
            pass

    def reset(self):
        """Press the reset button and wait until the machine is up again."""
        self.jobs.clear()
        self.replies = self.notices = b""
        self.qmp("system_reset")
        self.wait_booted()

    def job_status(self, number, limit):
        """The exit status of a job, or None if it still runs after that many seconds."""
        deadline = time.monotonic() + limit
        while number not in self.jobs:
            line, newline, rest = self.notices.partition(b"\n")
            if newline:
                self.notices = rest
                _, ended, status = line.split()
                self.jobs[int(ended)] = int(status)
                continue
            data = self._receive(self.sockets[1], deadline)
            if data is None:
                return None
            self.notices += data
        return self.jobs[number]

    def take_over(self, source):
        """After a migration: whatever the source machine was told goes on here."""
        self.numbers, self.jobs = source.numbers, source.jobs
        self.replies, self.notices = source.replies, source.notices

    def block_errors(self):
        """The lines of the kernel's log that tell of trouble with a disk; empty when all is well."""
        found = self.run("dmesg | grep -E 'I/O error|is not a head|Buffer I/O|EXT4-fs error|XFS.*(error|Corrupt)"
                         "|hung|blocked for more|BUG|WARNING|Oops' || true")
        return found.splitlines()

    def console(self, lines=25):
        """The end of what the kernel and QEMU printed."""
        text = []
        for path in (self.console_path, self.console_path + ".qemu"):
            with open(path, encoding="utf-8", errors="replace") as file:
                text += [line.rstrip() for line in file if line.strip()][-lines:]
        return "\n".join(["--- console"] + text)

    def _left(self, limit):
        return max(0.0, min(limit, self.deadline - time.monotonic()))

    def _send(self, command):
        self.numbers += 1
        assert "\n" not in command, command
        self.sockets[0].sendall(f"{self.numbers} {command}\n".encode())
        return self.numbers

    def _reply_line(self, limit):
        deadline = time.monotonic() + limit
        while b"\n" not in self.replies:
            self._more_replies(deadline)
        line, _, self.replies = self.replies.partition(b"\n")
        return line.decode("ascii", "replace")

    def _reply_bytes(self, length, limit):
        deadline = time.monotonic() + limit
        while len(self.replies) < length:
            self._more_replies(deadline)
        data, self.replies = self.replies[:length], self.replies[length:]
        return data

    def _more_replies(self, deadline):
        data = self._receive(self.sockets[0], deadline)
        if data is None:
            raise process.Expired(f"the guest did not answer in time\n{self.console()}")
        self.replies += data

    def _receive(self, sock, deadline):
        """What has come, or None at the deadline; the machine's own deadline and death are errors."""
        now = time.monotonic()
        wait = max(0.0, min(deadline, self.deadline) - now)
        if select.select([sock], [], [], wait)[0]:
            data = sock.recv(65536)
            if data:
                return data
            self.child.wait(process.LIMIT)
            raise Failed(f"QEMU ended with {self.child.returncode}\n{self.console()}")
        if time.monotonic() >= self.deadline:
            self.kill()
            raise process.Expired(f"the machine's time is over\n{self.console()}")
        return None
