# SPDX-License-Identifier: BSD-2-Clause
"""A vhost-user front end made for testing: messages as bytes, so that each can be wrong; split and packed rings in memory that is
shared with the server. It knows the protocol from its text alone and shares no code with the program."""
import array
import mmap
import os
import select
import socket
import struct

GET_FEATURES, SET_FEATURES, SET_OWNER, RESET_OWNER, SET_MEM_TABLE, SET_LOG_BASE, SET_LOG_FD = range(1, 8)
SET_VRING_NUM, SET_VRING_ADDR, SET_VRING_BASE, GET_VRING_BASE = range(8, 12)
SET_VRING_KICK, SET_VRING_CALL, SET_VRING_ERR = range(12, 15)
GET_PROTOCOL_FEATURES, SET_PROTOCOL_FEATURES, GET_QUEUE_NUM, SET_VRING_ENABLE = range(15, 19)
SET_BACKEND_REQ_FD, GET_CONFIG, SET_CONFIG = 21, 24, 25
GET_INFLIGHT_FD, SET_INFLIGHT_FD, RESET_DEVICE = 31, 32, 34
GET_MAX_MEM_SLOTS, ADD_MEM_REG, REM_MEM_REG, SET_STATUS, GET_STATUS = range(36, 41)
CONFIG_CHANGE = 2

P_MQ, P_LOG_SHMFD, P_REPLY_ACK, P_BACKEND_REQ, P_CONFIG, P_BACKEND_SEND_FD = (1 << b for b in (0, 1, 3, 5, 9, 10))
P_INFLIGHT, P_RESET_DEVICE, P_MEM_SLOTS, P_STATUS = (1 << b for b in (12, 13, 15, 16))
P_ALL = (P_MQ | P_LOG_SHMFD | P_REPLY_ACK | P_BACKEND_REQ | P_CONFIG | P_BACKEND_SEND_FD | P_INFLIGHT | P_RESET_DEVICE |
         P_MEM_SLOTS | P_STATUS)
F_RO, F_BLK_SIZE, F_FLUSH, F_CONFIG_WCE, F_MQ, F_DISCARD, F_WRITE_ZEROES = (1 << b for b in (5, 6, 9, 11, 12, 13, 14))
F_LOG_ALL, F_INDIRECT, F_EVENT_IDX, F_PROTOCOL, F_VERSION_1, F_IN_ORDER, F_PACKED = (1 << b for b in (26, 28, 29, 30, 32, 35, 34))

T_IN, T_OUT, T_FLUSH, T_GET_ID, T_DISCARD, T_WRITE_ZEROES = 0, 1, 4, 8, 11, 13
OK, IOERR, UNSUPP = 0, 1, 2

NEXT, WRITE, INDIRECT = 1, 2, 4
VERSION, REPLY, NEED_REPLY = 1, 4, 8
NO_FD = 0x100
TIMEOUT = 60


class Closed(Exception):
    """The server has closed the connection."""


class Memory:
    """Guest memory in a file of its own. Guest address and our address differ on purpose."""

    def __init__(self, size=4 << 20, gpa=0x10000000, uva=0x7f0000000000, name='guest', offset=0):
        self.size, self.gpa, self.uva, self.offset = size, gpa, uva, offset  # offset: where it begins in its file
        self.fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self.fd, offset + size)
        self.map = mmap.mmap(self.fd, size, offset=offset)
        self.used = 0

    def take(self, size, align=16):
        """-> offset of fresh memory"""
        at = (self.used + align - 1) // align * align
        assert at + size <= self.size
        self.used = at + size
        return at

    def put(self, at, data):
        self.map[at:at + len(data)] = data

    def get(self, at, size):
        return self.map[at:at + size]

    def region(self):
        return struct.pack('<QQQQ', self.gpa, self.size, self.uva, self.offset)

    def close(self):
        self.map.close()
        os.close(self.fd)


class FrontEnd:
    """One connection."""

    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(TIMEOUT)
        self.sock.connect(path)
        self.acks = False
        self.fds = []

    def close(self):
        self.sock.close()
        for fd in self.fds:
            os.close(fd)
        self.fds = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # -- bytes --
    def send_raw(self, data, fds=()):
        try:
            if fds:
                self.sock.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', fds))])
            else:
                self.sock.sendall(data)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise Closed from error

    def receive_raw(self, size):
        data = b''
        while len(data) < size:
            try:
                part, ancillary, _, _ = self.sock.recvmsg(size - len(data), 1024)
            except ConnectionResetError as error:
                raise Closed from error
            for level, kind, payload in ancillary:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    got = array.array('i')
                    got.frombytes(payload[:len(payload) // got.itemsize * got.itemsize])
                    self.fds.extend(got)
            if not part:
                raise Closed
            data += part
        return data

    def is_closed(self):
        """Waits until the server has closed the connection; False: it answers instead."""
        try:
            self.receive_raw(1)
        except Closed:
            return True
        return False

    # -- messages --
    def send(self, request, payload=b'', fds=(), flags=VERSION):
        self.send_raw(struct.pack('<III', request, flags, len(payload)) + payload, fds)

    def receive(self, request):
        got, flags, size = struct.unpack('<III', self.receive_raw(12))
        assert (got, flags & 7) == (request, VERSION | REPLY), (got, flags)
        return self.receive_raw(size)

    def ask(self, request, payload=b'', fds=()):
        """A message that is answered by a payload."""
        self.send(request, payload, fds)
        return self.receive(request)

    def ask_u64(self, request):
        return struct.unpack('<Q', self.ask(request))[0]

    def tell(self, request, payload=b'', fds=()):
        """A message that is acknowledged when that was negotiated. -> the acknowledgement; 0 when there is none"""
        self.send(request, payload, fds, VERSION | (NEED_REPLY if self.acks else 0))
        return struct.unpack('<Q', self.receive(request))[0] if self.acks else 0

    def tell_u64(self, request, value, fds=()):
        return self.tell(request, struct.pack('<Q', value), fds)

    def tell_state(self, request, index, num):
        return self.tell(request, struct.pack('<II', index, num))

    # -- usual steps --
    def negotiate(self, features=F_PROTOCOL | F_VERSION_1 | F_FLUSH, protocol=P_MQ | P_REPLY_ACK | P_CONFIG):
        self.tell(SET_OWNER)
        offered = self.ask_u64(GET_FEATURES)
        assert features & ~offered == 0, hex(features & ~offered)
        if features & F_PROTOCOL:
            offered = self.ask_u64(GET_PROTOCOL_FEATURES)
            assert protocol & ~offered == 0, hex(protocol & ~offered)
            self.send(SET_PROTOCOL_FEATURES, struct.pack('<Q', protocol))
            self.acks = bool(protocol & P_REPLY_ACK)
        assert self.tell_u64(SET_FEATURES, features) == 0

    def mem_table(self, *memory):
        payload = struct.pack('<II', len(memory), 0) + b''.join(m.region() for m in memory)
        return self.tell(SET_MEM_TABLE, payload, [m.fd for m in memory])

    def config(self, size=60, offset=0):
        payload = self.ask(GET_CONFIG, struct.pack('<III', offset, size, 0) + bytes(size))
        assert struct.unpack('<III', payload[:12]) == (offset, size, 0)
        return payload[12:]

    def capacity(self):
        return struct.unpack('<Q', self.config(8))[0] * 512

    def inflight(self, queues, size):
        """-> (descriptor, payload for SET_INFLIGHT_FD)"""
        payload = self.ask(GET_INFLIGHT_FD, struct.pack('<QQHHxxxx', 0, 0, queues, size)[:20])
        return self.fds.pop(), payload


class Ring:
    """What split and packed rings have in common: set-up, requests, waiting."""

    def __init__(self, front, memory, index=0, num=64, base=0, event_idx=False):
        self.front, self.memory, self.index, self.num, self.event_idx = front, memory, index, num, event_idx
        self.base = base
        self.kick_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.call_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.err_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.pending = {}
        self.lay_out()

    def close(self):
        for fd in (self.kick_fd, self.call_fd, self.err_fd):
            os.close(fd)

    def addr_payload(self, flags=0, log=0):
        m = self.memory
        return struct.pack('<IIQQQQ', self.index, flags, m.uva + self.desc, m.uva + self.device, m.uva + self.driver, log)

    def steps(self, kick=True, call=True):
        """The messages that set the ring up; any order must do."""
        f = self.front
        return [
            lambda: f.tell_state(SET_VRING_NUM, self.index, self.num),
            lambda: f.tell_state(SET_VRING_BASE, self.index, self.base),
            lambda: f.tell(SET_VRING_ADDR, self.addr_payload()),
            lambda: (f.tell_u64(SET_VRING_KICK, self.index, [self.kick_fd]) if kick
                     else f.tell_u64(SET_VRING_KICK, self.index | NO_FD)),
            lambda: (f.tell_u64(SET_VRING_CALL, self.index, [self.call_fd]) if call
                     else f.tell_u64(SET_VRING_CALL, self.index | NO_FD)),
            lambda: f.tell_u64(SET_VRING_ERR, self.index, [self.err_fd]),
        ]

    def start(self, enable=True, **how):
        for step in self.steps(**how):
            assert step() == 0
        if enable:
            assert self.front.tell_state(SET_VRING_ENABLE, self.index, 1) == 0
        return self

    def stop(self):
        """-> where the ring is to go on"""
        _, base = struct.unpack('<II', self.front.ask(GET_VRING_BASE, struct.pack('<II', self.index, 0)))
        return base

    def kick(self):
        os.eventfd_write(self.kick_fd, 1)

    def wait(self, fd=None, seconds=TIMEOUT):
        """Waits for a notification. -> whether one came"""
        fd = self.call_fd if fd is None else fd
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        if not poll.poll(seconds * 1000):
            return False
        os.eventfd_read(fd)
        return True

    def request(self, kind, sector=0, data=b'', room=0, parts=None, indirect=False):
        """Adds one request. data: what the device reads; room: bytes that it writes. -> the id"""
        m = self.memory
        at = m.take(16 + len(data) + room + 1)
        m.put(at, struct.pack('<IIQ', kind, 0, sector) + data + b'\xee' * room + b'\xff')
        chain = [(at, 16, 0)]
        payload, flags = (at + 16, len(data), 0), 0
        if room:
            payload, flags = (at + 16, room, WRITE), WRITE
        step = -(-payload[1] // (parts or 1)) if payload[1] else 0
        for begin in range(0, payload[1], step or 1):
            chain.append((payload[0] + begin, min(step, payload[1] - begin), flags))
        chain.append((at + 16 + len(data) + room, 1, WRITE))
        head = self.add([(m.gpa + a, size, flags) for a, size, flags in chain], indirect)
        self.pending[head] = (at + 16 + len(data), room)
        return head

    def finish(self):
        """Waits for one request. -> (id, status, data)"""
        while True:
            got = self.take()
            if got is not None:
                break
            assert self.wait(), 'no answer'
        at, room = self.pending.pop(got)
        return got, self.memory.get(at + room, 1)[0], self.memory.get(at, room)

    def do(self, kind, sector=0, data=b'', room=0, **how):
        """One request from begin to end. -> (status, data)"""
        used = self.memory.used
        self.request(kind, sector, data, room, **how)
        self.publish()
        self.kick()
        _, status, result = self.finish()
        self.memory.used = used
        return status, result

    def write(self, sector, data, **how):
        return self.do(T_OUT, sector, data=data, **how)[0]

    def read(self, sector, size, **how):
        return self.do(T_IN, sector, room=size, **how)

    def table(self, chain):
        """An indirect table for the chain. -> its only descriptor"""
        at = self.memory.take(16 * len(chain))
        self.memory.put(at, b''.join(self.table_entry(chain, i) for i in range(len(chain))))
        return [(self.memory.gpa + at, 16 * len(chain), INDIRECT)]


class SplitRing(Ring):
    def lay_out(self):
        m = self.memory
        self.desc = m.take(16 * self.num, 16)
        self.driver = m.take(6 + 2 * self.num, 2)
        self.device = m.take(6 + 8 * self.num, 4)
        m.put(self.desc, bytes(16 * self.num))
        m.put(self.driver, bytes(6 + 2 * self.num))
        m.put(self.device, bytes(6 + 8 * self.num))
        self.free = list(range(self.num))
        self.chains = {}
        self.avail = self.used = self.base

    def table_entry(self, chain, i):
        last = i + 1 == len(chain)
        addr, size, flags = chain[i]
        return struct.pack('<QIHH', addr, size, flags | (0 if last else NEXT), 0 if last else i + 1)

    def add(self, chain, indirect=False):
        if indirect:
            chain = self.table(chain)
        ids, self.free = self.free[:len(chain)], self.free[len(chain):]
        for i, (addr, size, flags) in enumerate(chain):
            last = i + 1 == len(chain)
            self.put_desc(ids[i], addr, size, flags | (0 if last else NEXT), 0 if last else ids[i + 1])
        self.chains[ids[0]] = ids
        self.offer(ids[0])
        return ids[0]

    def put_desc(self, at, addr, size, flags, following):
        self.memory.put(self.desc + 16 * at, struct.pack('<QIHH', addr, size, flags, following))

    def offer(self, head):
        self.memory.put(self.driver + 4 + 2 * (self.avail % self.num), struct.pack('<H', head))
        self.avail = (self.avail + 1) % 65536

    def publish(self, idx=None):
        self.memory.put(self.driver + 2, struct.pack('<H', self.avail if idx is None else idx))

    def set_used_event(self, idx):
        self.memory.put(self.driver + 4 + 2 * self.num, struct.pack('<H', idx))

    def no_interrupt(self, off=True):
        self.memory.put(self.driver, struct.pack('<H', int(off)))

    def used_idx(self):
        return struct.unpack('<H', self.memory.get(self.device + 2, 2))[0]

    def take(self):
        if self.used_idx() == self.used:
            return None
        head, self.last_len = struct.unpack('<II', self.memory.get(self.device + 4 + 8 * (self.used % self.num), 8))
        self.used = (self.used + 1) % 65536
        if self.event_idx:
            self.set_used_event(self.used)
        self.free += self.chains.pop(head)
        return head


class PackedRing(Ring):
    AVAIL, USED = 1 << 7, 1 << 15

    def lay_out(self):
        m = self.memory
        self.desc = m.take(16 * self.num, 16)
        self.driver = m.take(4, 4)
        self.device = m.take(4, 4)
        m.put(self.desc, bytes(16 * self.num))
        m.put(self.driver, bytes(4))
        m.put(self.device, bytes(4))
        self.at = self.used = 0
        self.wrap = self.used_wrap = True
        self.ids = list(range(self.num))
        self.lengths = {}
        self.held = []
        self.base = 0x80008000

    def table_entry(self, chain, i):
        addr, size, flags = chain[i]
        return struct.pack('<QIHH', addr, size, 0, flags)

    def add(self, chain, indirect=False):
        if indirect:
            chain = self.table(chain)
        number = self.ids.pop(0)
        for i, (addr, size, flags) in enumerate(chain):
            flags |= (NEXT if i + 1 < len(chain) else 0) | (self.AVAIL if self.wrap else self.USED)
            entry = struct.pack('<QIHH', addr, size, number, flags)
            if not i:
                self.held.append((self.at, entry))
            else:
                self.memory.put(self.desc + 16 * self.at, entry)
            self.at += 1
            if self.at == self.num:
                self.at, self.wrap = 0, not self.wrap
        self.lengths[number] = len(chain)
        return number

    def publish(self):
        for at, entry in reversed(self.held):
            self.memory.put(self.desc + 16 * at, entry[:14])
            self.memory.put(self.desc + 16 * at + 14, entry[14:])
        self.held = []

    def no_interrupt(self, off=True):
        self.memory.put(self.driver, struct.pack('<HH', 0, int(off)))

    def take(self):
        _, self.last_len, number, flags = struct.unpack('<QIHH', self.memory.get(self.desc + 16 * self.used, 16))
        if bool(flags & self.AVAIL) != self.used_wrap or bool(flags & self.USED) != self.used_wrap:
            return None
        self.used += self.lengths.pop(number)
        if self.used >= self.num:
            self.used, self.used_wrap = self.used - self.num, not self.used_wrap
        self.ids.append(number)
        return number


RINGS = {'split': (SplitRing, 0), 'packed': (PackedRing, F_PACKED)}
