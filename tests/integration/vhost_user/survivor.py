# SPDX-License-Identifier: BSD-2-Clause
"""A front end that outlives its server."""
import os

from frontend import (F_FLUSH, F_INDIRECT, F_PROTOCOL, F_VERSION_1, P_CONFIG, P_INFLIGHT, P_MQ, P_REPLY_ACK, RINGS, SET_INFLIGHT_FD,
                      Memory)

PROTOCOL = P_MQ | P_REPLY_ACK | P_CONFIG | P_INFLIGHT


class Survivor:
    """A front end that connects again, as QEMU does with reconnect=."""

    def __init__(self, server, kind, num, area=None):
        self.server, self.kind = server, kind
        ring_type, self.feature = RINGS[kind]
        self.memory = Memory(8 << 20)
        self.area = area
        self.front = None
        self.ring = ring_type(None, self.memory, 0, num)

    def connect(self):
        self.front = self.ring.front = self.server.connect()
        self.front.negotiate(F_PROTOCOL | F_VERSION_1 | F_FLUSH | F_INDIRECT | self.feature, PROTOCOL)
        if self.area is None:
            self.area = self.front.inflight(1, self.ring.num)
        assert self.front.tell(SET_INFLIGHT_FD, self.area[1], [self.area[0]]) == 0
        assert self.front.mem_table(self.memory) == 0
        if self.kind == 'split': # what QEMU can know after a disconnect: the used index
            self.ring.base = self.ring.used_idx()
        else:
            self.ring.base = (self.ring.used | self.ring.used_wrap << 15) * 0x10001
        self.ring.start()

    def close(self):
        self.front.close()
        self.ring.close()
        self.memory.close()
        os.close(self.area[0])


def restart(server, one):
    server.kill()
    one.front.close()
    server.start()
    one.connect()
