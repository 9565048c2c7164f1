# SPDX-License-Identifier: BSD-2-Clause
"""For gdb, on a process or a core file: what each request in flight waits for.

usage: gdb -p PID -x tools/weft-gdb.py -ex weft-requests
       (gdb) weft-requests [EXPRESSION]     a struct weft_core * or struct weft_reactor *, when none is found
"""
import gdb

IDLE, READY, ASKED, ENDED = range(4)
OPS = ('READ', 'WRITE', 'FLUSH', 'DISCARD', 'ZERO', 'COMPARE-WRITE', 'COPY', 'STATUS')


def pointer(name):
    return gdb.lookup_type(name).pointer()


def core_of(value):
    """-> the weft_core behind a pointer to one, or to a reactor; None: it is neither"""
    target = value.type.strip_typedefs()
    if target.code != gdb.TYPE_CODE_PTR or not int(value):
        return None
    name = target.target().unqualified().strip_typedefs().name
    if name == 'weft_reactor':
        value = value['core']
    elif name != 'weft_core':
        return None
    core = value.cast(pointer('struct weft_core'))
    return core if 0 < int(core['reactors']) <= 64 and int(core['reactor'][0]['core']) == int(core) else None


def symbols_in(frame):
    block = frame.block()
    while block is not None:
        yield from (s for s in block if s.is_argument or s.is_variable)
        if block.function is not None:
            return
        block = block.superblock


def core_in(frame):
    try:
        symbols = list(symbols_in(frame))
    except RuntimeError:  # no debug information here
        return None
    for symbol in symbols:
        try:
            core = core_of(symbol.value(frame))
        except gdb.error:  # optimized out, or not memory
            continue
        if core is not None:
            return core
    return None


def find_core():
    """-> what some frame of some thread has in a variable"""
    for thread in gdb.selected_inferior().threads():
        thread.switch()
        frame = gdb.newest_frame()
        while frame is not None:
            core = core_in(frame)
            if core is not None:
                return core
            frame = frame.older()
    return None


def child(hop, index):
    blk = hop['blk']
    at = int(hop) + hop.dereference().type.sizeof + index * int(blk['child_stride'])
    return gdb.Value(at).cast(pointer('struct weft_hop'))


def goes_on(hop):
    """-> the hop behind which the children of a request lie: itself, or one of its layer's own"""
    at = int(hop['blk']['ops']['goes_on_at']) if int(hop['up_at']) else 0
    if not at:
        return hop
    where = int(hop) + int(hop['blk']['request_at']) + at
    own = gdb.Value(where).cast(pointer('struct weft_hop').pointer()).dereference()
    return own if int(own) else hop


def below(hop, now):
    """As weft_hop_path prints it."""
    width = int(hop['blk']['ops']['width']) if int(hop['up_at']) else 1
    on = goes_on(hop)
    parts = []
    for index in range(width):
        c = child(on, index)
        if int(c['state']) not in (ASKED, ENDED):
            continue
        text = c['blk']['object']['name'].string()
        if int(c['state']) == ENDED:
            text += ' done'
        elif not int(c['blk']['ops']['width']):
            text += f' waiting {max(0, now - int(c["asked_at"])) // 1000} us'
        else:
            text += below(c, now)
        parts.append(f'{index}: {text}' if width > 1 else text)
    if not parts:
        return ''
    return (' -> ' if width > 1 else ' | ') + ', '.join(parts)


def slots(reactor):
    pool = reactor['pools']
    while int(pool):
        for index in range(int(pool['made'])):
            slot = (pool['base'] + index * int(pool['slot_size'])).cast(pointer('struct weft_slot'))
            if int(slot['in_use']):
                yield slot
        pool = pool['next']


class Requests(gdb.Command):
    """weft-requests [EXPRESSION]: the path of each request in flight; times end at the reactor's last turn."""

    def __init__(self):
        super().__init__('weft-requests', gdb.COMMAND_DATA)

    def invoke(self, argument, from_tty):
        core = core_of(gdb.parse_and_eval(argument)) if argument else find_core()
        if core is None:
            raise gdb.GdbError('no core found: give a struct weft_core * or struct weft_reactor * as argument')
        count = 0
        for lane in range(int(core['reactors'])):
            reactor = core['reactor'][lane]
            for slot in slots(reactor):
                root, session = slot['root'].address, slot['session']['name'].string()
                op = OPS[int(root['op'])] if int(root['op']) < len(OPS) else '?'
                print(f'{session}: {op} {int(root["len"])}@{int(root["offset"])}{below(root, int(reactor["now"]))}')
                count += 1
        print(f'{count} requests in flight')


Requests()
