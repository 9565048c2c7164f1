#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""A device written in Python, served to a virtual machine: serve.py SOCKET. It is a disk in memory that counts its writes."""
import signal
import sys

import weft


class Counting:
    size = 64 << 20

    def __init__(self):
        self.data = bytearray(self.size)
        self.writes = 0

    def read(self, offset, view):
        view[:] = self.data[offset:offset + len(view)]

    def write(self, offset, view):
        self.data[offset:offset + len(view)] = view
        self.writes += 1

    def flush(self):
        pass


ends = {signal.SIGINT, signal.SIGTERM}
signal.pthread_sigmask(signal.SIG_BLOCK, ends)  # before weft's threads are there
device = Counting()
with weft.register('counting', device), weft.open('slice:[python:counting],offset=1MiB') as disk, \
        disk.serve(f'vhost-user:{sys.argv[1]}'):
    print('serving', sys.argv[1], flush=True)
    signal.sigwait(ends)
print(device.writes, 'writes')
