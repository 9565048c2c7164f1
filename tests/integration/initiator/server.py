# SPDX-License-Identifier: BSD-2-Clause
"""A vhost-user-blk server made for testing: it refuses what it is told to refuse, and answers the first request in its ring with
any bytes. It knows the protocol from its text alone and shares no code with the program."""
import mmap
import os
import select
import socket
import struct
import threading

from vhost_user.frontend import (F_PROTOCOL, F_VERSION_1, GET_CONFIG, GET_FEATURES, GET_PROTOCOL_FEATURES, GET_VRING_BASE,
                                 NEED_REPLY, P_CONFIG, P_REPLY_ACK, REPLY, SET_MEM_TABLE, SET_VRING_ADDR, SET_VRING_CALL,
                                 SET_VRING_KICK, SET_VRING_NUM, VERSION)
from waiting import LIMIT

HEADER = struct.Struct('<III')
SECTORS = 2048


class FakeServer(threading.Thread):
    """Serves one connection at a time, until close(). largest: the largest ring that it takes; rude: it refuses by closing the
    connection, and acknowledges nothing. answer(): status byte and 20 bytes for the request."""

    def __init__(self, path, largest=1024, rude=False, answer=None):
        super().__init__()
        self.largest, self.rude, self.answer = largest, rude, answer
        self.rings, self.asked = [], threading.Condition()  # sizes of rings that were asked for
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen()
        self.done, self.stop = os.pipe()
        self.start()

    def close(self):
        os.close(self.stop)
        self.join()
        self.listener.close()
        os.close(self.done)

    def drop(self):
        """Closes the connection of the present client."""
        self.connection.shutdown(socket.SHUT_RDWR)

    def wait_rings(self, count):
        """Returns when so many rings have been asked for."""
        with self.asked:
            assert self.asked.wait_for(lambda: len(self.rings) >= count, LIMIT)

    def run(self):
        while True:
            readable, _, _ = select.select([self.listener, self.done], [], [])
            if self.done in readable:
                return
            connection, _ = self.listener.accept()
            with connection:
                self.serve(connection)

    def serve(self, connection):
        self.fds, self.kick = {}, None
        self.connection = connection
        while True:
            wanted = [connection, self.done] + ([self.kick] if self.kick is not None else [])
            readable, _, _ = select.select(wanted, [], [])
            if self.done in readable:
                break
            if self.kick in readable:
                os.read(self.kick, 8)
                self.ring()
            try:
                if connection in readable and not self.message():
                    break
            except ConnectionError:  # the client has gone
                break
        for fd in self.fds.values():
            os.close(fd)

    def message(self):
        head, fds, _, _ = socket.recv_fds(self.connection, HEADER.size, 8)
        if len(head) < HEADER.size:
            return False
        request, flags, size = HEADER.unpack(head)
        payload = self.connection.recv(size, socket.MSG_WAITALL) if size > 0 else b''
        for fd in fds:
            if request in self.fds:
                os.close(self.fds[request])
            self.fds[request] = fd
        reply = self.take(request, payload)
        if reply is None:
            return False
        if request not in (GET_FEATURES, GET_PROTOCOL_FEATURES, GET_CONFIG, GET_VRING_BASE) and not flags & NEED_REPLY:
            return True
        self.connection.sendall(HEADER.pack(request, VERSION | REPLY, len(reply)) + reply)
        return True

    def take(self, request, payload):
        """-> the reply or acknowledgement; None: the connection is closed."""
        value = 0
        if request == GET_FEATURES:
            value = F_VERSION_1 | F_PROTOCOL
        elif request == GET_PROTOCOL_FEATURES:
            value = P_CONFIG | (0 if self.rude else P_REPLY_ACK)
        elif request == GET_CONFIG:
            config = struct.pack('<Q', SECTORS)
            return payload[:12] + config + bytes(len(payload) - 12 - len(config))
        elif request == GET_VRING_BASE:
            return payload[:4] + struct.pack('<I', 1)
        elif request == SET_MEM_TABLE:
            _, _, self.size, self.base, offset = struct.unpack_from('<QQQQQ', payload)
            self.memory = mmap.mmap(self.fds[SET_MEM_TABLE], self.size, offset=offset)
        elif request == SET_VRING_ADDR:
            _, self.desc, self.used, self.avail = struct.unpack_from('<QQQQ', payload)
        elif request == SET_VRING_KICK:
            self.kick = self.fds[SET_VRING_KICK]
        elif request == SET_VRING_NUM:
            with self.asked:
                self.rings.append(struct.unpack_from('<II', payload)[1])
                self.asked.notify_all()
            if self.rings[-1] > self.largest:
                if self.rude:
                    return None
                value = 1
        return struct.pack('<Q', value)

    def ring(self):
        """The first request: its header, 20 bytes and a status, in three descriptors."""
        if self.answer is None or struct.unpack_from('<H', self.memory, self.avail - self.base + 2)[0] != 1:
            return
        head = struct.unpack_from('<H', self.memory, self.avail - self.base + 4)[0]
        at, chain = head, []
        for _ in range(3):
            address, _, _, following = struct.unpack_from('<QIHH', self.memory, self.desc - self.base + 16 * at)
            chain.append(address - self.base)
            at = following
        status, serial = self.answer(self.memory[chain[0]:chain[0] + 16])
        self.memory[chain[1]:chain[1] + len(serial)] = serial
        self.memory[chain[2]] = status
        struct.pack_into('<II', self.memory, self.used - self.base + 4, head, 1 + len(serial))
        struct.pack_into('<H', self.memory, self.used - self.base + 2, 1)
        os.write(self.fds[SET_VRING_CALL], struct.pack('<Q', 1))
