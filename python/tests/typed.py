# SPDX-License-Identifier: BSD-2-Clause
"""A program that mypy is asked about (python_types_test.py): what things are, and what must not be done. It is never run."""
import array
import typing

import weft
import weft.aio


class Disk:
    size = 1 << 20

    def read(self, offset: int, view: memoryview, /) -> None:
        view[:] = bytes(len(view))

    def write(self, offset: int, view: memoryview, /) -> None:
        pass

    def flush(self) -> None:
        pass


def what_things_are() -> None:
    with weft.open('mem:1MiB') as disk:
        typing.assert_type(disk, weft.Device)
        typing.assert_type(disk.read(0, 4096), bytes)
        typing.assert_type(disk.readinto(0, [bytearray(512), memoryview(bytearray(512))]), int)
        typing.assert_type(disk.info().size, int)
        typing.assert_type(disk.properties['size'], str)
        typing.assert_type([e.flags for e in disk.status()], typing.List[int])
        disk.write(0, array.array('Q', [0] * 64), flags=weft.FUA)
        disk.properties['iops'] = 5
        with disk.queue(16, mode='poll') as queue:
            typing.assert_type(queue, weft.Queue)
            typing.assert_type(queue.read(0, 512, tag='any'), weft.Request)
            typing.assert_type(queue.wait(2, 0.5), typing.List[weft.Request])
            typing.assert_type(queue.read_batch([0, 512], bytearray(1024), 512), int)
        with disk.serve('vhost-user:vm.sock') as export, weft.Instance(service=2, log='error') as other:
            typing.assert_type(export, weft.Export)
            typing.assert_type(other.event(None), typing.Optional[weft.Event])
            with other.memory(4096, pin=True) as memory:
                typing.assert_type(len(memory), int)
    with weft.register('disk', Disk()) as registration:
        typing.assert_type(registration, weft.Registration)


async def what_things_are_with_asyncio() -> None:
    async with weft.aio.open('mem:1MiB', depth=16) as disk:
        typing.assert_type(disk, weft.aio.Device)
        typing.assert_type(await disk.read(0, 512), bytes)
        typing.assert_type([e async for e in disk.status()], typing.List[weft.Extent])
    typing.assert_type(await weft.aio.open('mem:1MiB'), weft.aio.Device)


def what_must_not_be_done(disk: weft.Device, queue: weft.Queue) -> None:
    disk.read('0', 512)  # type: ignore[arg-type]
    disk.read(0)  # type: ignore[call-arg]
    disk.write(0, bytes(512), 1)  # type: ignore[misc]
    disk.size = 5  # type: ignore[misc]
    queue.wait(timeout='1')  # type: ignore[arg-type]
    queue.flush(flags=1)  # type: ignore[call-arg]
    disk.instance.open(5)  # type: ignore[arg-type]
    weft.Instance(2)  # type: ignore[misc]
    weft.register('disk', object())  # type: ignore[arg-type]
    weft.open('mem:1MiB').no_such()  # type: ignore[attr-defined]
