# SPDX-License-Identifier: BSD-2-Clause
"""Front ends one after another, at once, and more than are let in; options of the socket."""
import grp
import os
import resource
import select
import socket
import stat
import struct
import subprocess

import pytest
from frontend import CONFIG_CHANGE, F_FLUSH, GET_FEATURES, IOERR, OK, P_ALL, SET_BACKEND_REQ_FD, T_OUT, FrontEnd


def test_one_after_another(serve, client):
    server = serve()
    for i in range(20):
        c = client(server)
        assert c.ring.write(i, bytes([i]) * 512) == OK
        assert c.ring.read(max(i - 1, 0), 512) == (OK, bytes([max(i - 1, 0)]) * 512)
        c.front.close()


def test_the_second_waits_for_the_first(serve, client):
    server = serve()
    first = client(server)
    second = server.connect()
    second.send(GET_FEATURES)
    server.until_said('client 2 waits until one of 1 leaves')
    assert first.works()
    assert not select.select([second.sock], [], [], 0)[0]
    first.front.close()
    second.receive(GET_FEATURES)
    second.close()


def test_who_waits_may_leave_again(serve, client):
    """Their places in the queue are free again: more come and go than can wait."""
    server = serve()
    first = client(server)
    for _ in range(100):
        second = server.connect()
        second.send(GET_FEATURES)
        server.connect().close()
        assert first.works()
        second.send_raw(b'x')
        second.close()
    second = server.connect()
    second.send_raw(b'\1\0')
    first.front.close()
    second.send_raw(struct.pack('<III', GET_FEATURES, 1, 0)[2:])
    second.receive(GET_FEATURES)
    second.close()


def test_when_too_many_wait_the_one_that_has_waited_longest_makes_room(serve, client):
    server = serve()
    first = client(server)
    waiting = [server.connect() for _ in range(66)]
    for one in waiting:
        one.send(GET_FEATURES)
    assert waiting[0].is_closed() and waiting[1].is_closed()
    assert first.works()
    first.front.close()
    waiting[2].receive(GET_FEATURES)
    for one in waiting:
        one.close()


def test_who_comes_when_no_descriptors_are_left_is_refused(serve, client):
    """Each of them; and it works again when there are some."""
    server = serve(options=',clients=2')
    c = client(server)
    pid = server.child.pid
    most = max(int(fd) for fd in os.listdir(f'/proc/{pid}/fd'))
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE, (most + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    clients = [server.connect() for _ in range(40)]
    assert all(late.is_closed() for late in clients[-20:])
    assert c.works()
    resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
    for late in clients:
        late.close()
    assert client(server).works() and c.works()


def test_several_at_once(serve, client):
    server = serve(options=',clients=4')
    clients = [client(server, queues=2) for _ in range(4)]
    for i, c in enumerate(clients):
        assert c.rings[i % 2].write(i, bytes([i]) * 512) == OK
    for i, c in enumerate(clients):
        assert c.ring.read((i + 1) % 4, 512) == (OK, bytes([(i + 1) % 4]) * 512)


def test_disconnect_with_requests_in_flight(serve, client):
    server = serve(device='delay:[mem:64MiB],write=20ms')
    for _ in range(10):
        c = client(server)
        for i in range(10):
            c.ring.request(T_OUT, i, data=b'f' * 4096)
        c.ring.publish()
        c.ring.kick()
        c.front.close()
    assert client(server).works()


def test_what_a_device_calls_its_shutdown_is_answered(serve, client):
    """Also while the ring is stopped for new memory: only what we have aborted, since we end, is left to the next server."""
    c = client(serve(device='error:[delay:[mem:64MiB],write=5ms],op=write,errno=ESHUTDOWN,when=after'))
    for i in range(20):
        c.ring.request(T_OUT, i, data=b's' * 512)
        c.ring.publish()
        c.ring.kick()
        assert c.front.mem_table(c.memory) == 0
        assert c.ring.finish()[1] == IOERR


def test_stopped_with_requests_in_flight(serve, client):
    server = serve(device='delay:[mem:64MiB],write=20ms')
    c = client(server)
    for i in range(10):
        c.ring.request(T_OUT, i, data=b'f' * 4096)
    c.ring.publish()
    c.ring.kick()
    assert server.stop() == 0


@pytest.mark.parametrize('mode', ['poll', 'adaptive', 'notify'])
@pytest.mark.parametrize('kind', ['split', 'packed'])
def test_each_mode(serve, client, mode, kind):
    c = client(serve(arguments=['--mode', mode]), kind=kind)
    for i in range(200):
        assert c.ring.write(i, b'm' * 512) == OK


def test_socket_mode_and_group(serve):
    group = grp.getgrgid(os.getgid()).gr_name
    server = serve(options=f',mode=0620,group={group}')
    found = os.stat(server.path)
    assert (stat.S_IMODE(found.st_mode), found.st_gid) == (0o620, os.getgid())


def test_inherited_socket(serve, client, folder):
    server = serve()
    path = os.path.join(folder, 'inherited')
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        number = listening.fileno()
        command = [server.command[0], 'serve', 'mem:1MiB', '--on', f'vhost-user:fd={number}']
        child = subprocess.Popen(command, pass_fds=[number], stdin=subprocess.DEVNULL, stdout=server.log, stderr=server.log)
    with FrontEnd(path) as front:
        assert front.ask_u64(GET_FEATURES) & F_FLUSH
    child.terminate()
    assert child.wait(60) == 0


@pytest.mark.parametrize('spec,words', [
    ('vhost-user:/nowhere/at/all/s', ['/nowhere/at/all/s']), ('vhost-user:' + '/tmp/' + 'x' * 120, ['107']),
    ('vhost-user:/tmp/x,serial=123456789012345678901', ['serial', '20']), ('vhost-user:/tmp/x,queues=257', ['queues', '256']),
    ('vhost-user:/tmp/x,clients=0', ['clients']), ('vhost-user:/tmp/x,group=no-such-group', ['no-such-group']),
    ('vhost-user:fd=5,mode=0660', ['fd=5', 'mode=', 'leave']), ('vhost-user:fd=5,group=root', ['fd=5', 'group=', 'leave']),
    ('vhost-user:mode=0660', ['path', 'fd']), ('vhost-user:/tmp/x,fd=5', ['fd', 'both']),
])
def test_bad_options_are_said_in_one_line(serve, spec, words):
    program = serve().command[0]
    done = subprocess.run([program, 'serve', 'mem:1MiB', '--on', spec], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=60, check=False)
    assert done.returncode in (1, 2)
    assert all(word in done.stderr for word in words), done.stderr
    lines = [line for line in done.stderr.splitlines() if 'io_uring' not in line]  # that it is denied is said, too
    assert len(lines) == 1


def test_socket_in_use_is_said(serve):
    server = serve()
    done = subprocess.run(server.command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode in (1, 2)
    assert server.path in done.stderr
    assert server.connect().ask_u64(GET_FEATURES), 'the server that was there goes on'


def test_backend_channel_is_taken(serve, client):
    c = client(serve(), protocol=P_ALL)
    ours, theirs = socket.socketpair()
    assert c.front.tell(SET_BACKEND_REQ_FD, fds=[theirs.fileno()]) == 0
    assert c.front.tell(SET_BACKEND_REQ_FD, fds=[theirs.fileno()]) == 0
    ours.send(b'garbage that nobody asked for')
    theirs.close()
    assert c.works()
    ours.close()
    assert c.works()
