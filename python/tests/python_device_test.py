# SPDX-License-Identifier: BSD-2-Clause
"""Devices: one request at a time, properties, size, errors."""
import errno
import json
import threading

import pytest

import weft

BLOCK = 4096


def test_data_comes_back(disk):
    disk.write(BLOCK, b'a' * BLOCK)
    assert disk.read(0, 2 * BLOCK) == bytes(BLOCK) + b'a' * BLOCK


def test_reads_land_in_the_buffer_itself(disk):
    disk.write(0, b'b' * BLOCK)
    buffer = bytearray(3 * BLOCK)
    assert disk.readinto(0, memoryview(buffer)[BLOCK:2 * BLOCK]) == BLOCK
    assert buffer == bytes(BLOCK) + b'b' * BLOCK + bytes(BLOCK)


def test_pieces_are_gathered_and_scattered(disk):
    disk.write(0, [b'c' * 512, memoryview(b'd' * 1024)])
    pieces = [bytearray(512) for _ in range(3)]
    assert disk.readinto(0, pieces) == 1536
    assert b''.join(pieces) == b'c' * 512 + b'd' * 1024


def test_many_pieces(disk):
    disk.write(0, bytes(range(256)) * 256)
    pieces = tuple(bytearray(512) for _ in range(128))
    disk.readinto(0, pieces)
    assert b''.join(pieces) == bytes(range(256)) * 256


def test_zero_discard_flush_copy(disk):
    disk.write(0, b'e' * (64 << 10), flags=weft.FUA)
    disk.copy(128 << 10, 0, 64 << 10)
    disk.zero(0, 64 << 10, flags=weft.NO_UNMAP)
    disk.discard(512 << 10, 64 << 10)
    disk.flush()
    assert disk.read(0, 64 << 10) == bytes(64 << 10)
    assert disk.read(128 << 10, 64 << 10) == b'e' * (64 << 10)


def test_compare_and_write(instance, disk):
    with instance.open('compare-write:[mem:1MiB]') as device:
        device.compare_write(BLOCK, bytes(BLOCK), b'n' * BLOCK)
        with pytest.raises(weft.MiscompareError):
            device.compare_write(BLOCK, bytes(BLOCK), b'o' * BLOCK)
        assert device.read(BLOCK, BLOCK) == b'n' * BLOCK
        assert device.info().max_compare == 64 << 10
        with pytest.raises(weft.Error) as e:
            device.compare_write(0, bytes(128 << 10), bytes(128 << 10))
        assert e.value.errno == errno.EMSGSIZE
    with pytest.raises(weft.UnsupportedError):
        disk.compare_write(0, bytes(BLOCK), bytes(BLOCK))
    assert disk.info().max_compare == 0


def test_no_count_of_several_threads_is_lost(instance):
    """Each has a queue of its own; the one who comes too late looks again."""
    def count():
        with device.queue() as queue:
            for _ in range(100):
                while True:
                    was = queue.read(0, 512).wait()
                    try:
                        queue.compare_write(0, was, (int.from_bytes(was, 'little') + 1).to_bytes(512, 'little')).wait()
                        break
                    except weft.MiscompareError:
                        pass
            counted.append(100)

    counted = []
    with instance.open('compare-write:[mem:1MiB]') as device:
        threads = [threading.Thread(target=count) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert counted == [100] * 3 and int.from_bytes(device.read(0, 512), 'little') == 300


def test_status_tells_holes_from_data(disk):
    disk.write(512 << 10, b'i' * (64 << 10))
    extents = list(disk.status())
    assert sum(e.length for e in extents) == disk.size
    data = [e for e in extents if not e.flags & weft.ZERO]
    assert [(e.offset, e.length) for e in data] == [(512 << 10, 64 << 10)]


def test_info(disk):
    info = disk.info()
    assert (info.size, info.block, info.readonly) == (1 << 20, 512, False)
    assert info.ops & 1 and info.name.startswith('mem')


def test_a_device_as_json(instance):
    with instance.open(json.dumps({'kind': 'mem', 'options': {'size': '2MiB'}})) as disk:
        assert disk.size == 2 << 20


def test_properties_are_a_mapping(disk):
    properties = disk.properties
    assert properties['size'] == '1MiB' and 'block' in properties and len(properties) == len(list(properties))
    assert 'no-such' not in properties
    with pytest.raises(KeyError, match='no-such'):
        properties['no-such'] = 1
    with pytest.raises(weft.ThreadError, match='read'):
        properties['name'] = 'x'
    with pytest.raises(TypeError, match='not removed'):
        del properties['size']


def test_properties_are_described(disk):
    described = {p.name: p for p in disk.properties.list()}
    assert described['block'].type == 'SIZE' and described['block'].opening and not described['name'].writable


def test_a_live_property_is_changed(instance):
    with instance.open('limit:[mem:1MiB],iops=1000') as disk:
        disk.properties['iops'] = 2000
        assert disk.properties['iops'] in ('2000', '2k')
        with pytest.raises(weft.Error):
            disk.properties['iops'] = 'many'


def test_resizing_is_an_event(instance, tmp_path):
    with instance.open(f'file:{tmp_path}/disk.img,create=1MiB') as disk:
        disk.resize(2 << 20)
        event = instance.event(10)
        assert event == (disk, 2 << 20) and disk.size == 2 << 20
        assert instance.event() is None
        with pytest.raises(weft.Error, match='multiple'):
            disk.resize(1000)


def test_kinds_have_options(instance):
    kinds = {k.name: k for k in instance.kinds()}
    assert {'file', 'mem', 'python', 'slice'} <= set(kinds)
    assert 'path' in [o.name for o in kinds['file'].options]
    assert 'vhost-user' in [k.name for k in instance.export_kinds()]


def test_statistics_count(disk):
    for _ in range(5):
        disk.read(0, BLOCK)
    stats = disk.stats()
    assert stats['read']['requests'] == 5 and stats['read']['bytes'] == 5 * BLOCK
    assert stats['read']['latency_ns']['p50'] > 0


@pytest.mark.parametrize('text, kind, number, says', [
    ('nix:', weft.Error, errno.EINVAL, 'nix'),
    ('mem:1MiB,size=2MiB', weft.Error, errno.EINVAL, 'size'),
    ('file:/no/such/folder/disk.img', weft.NotFoundError, errno.ENOENT, '/no/such'),
    ('python:nobody', weft.NotFoundError, errno.ENOENT, 'nobody'),
])
def test_what_cannot_be_opened_says_why(instance, text, kind, number, says):
    with pytest.raises(kind) as e:
        instance.open(text)
    assert e.value.errno == number and says in e.value.strerror
    assert isinstance(e.value, OSError)


def test_errors_are_pythons_as_well(instance):
    with pytest.raises(FileNotFoundError):
        instance.open('file:/no/such/folder/disk.img')


@pytest.mark.parametrize('call, kind, says', [
    (lambda d: d.read(1 << 20, 512), weft.RangeError, "beyond the device's end"),
    (lambda d: d.read(2**64 - 512, 512), weft.RangeError, 'size'),
    (lambda d: d.read(1, 512), weft.Error, 'whole blocks'),
    (lambda d: d.read(0, 1), weft.Error, 'whole blocks'),
    (lambda d: d.write(0, b'x' * 512, flags=64), weft.Error, 'flags 0x40'),
])
def test_what_a_device_refuses_has_a_remedy(disk, call, kind, says):
    with pytest.raises(kind, match=says):
        call(disk)


def test_read_only(instance, tmp_path):
    (tmp_path / 'disk.img').write_bytes(bytes(1 << 20))
    with instance.open(f'file:{tmp_path}/disk.img,readonly=on') as disk, pytest.raises(weft.ReadOnlyError):
        disk.write(0, bytes(512))


def test_threads_share_a_device(disk):
    def work(n):
        for i in range(50):
            disk.write(n * BLOCK, bytes([n]) * BLOCK)
            assert disk.read(n * BLOCK, BLOCK) == bytes([n]) * BLOCK, i
            done[n] += 1

    done = [0] * 4
    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert done == [50] * 4


def test_the_processs_own_instance():
    with weft.open('null:1GiB') as disk:
        assert disk.instance is weft.instance()
