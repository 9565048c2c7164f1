# SPDX-License-Identifier: BSD-2-Clause
"""weft with asyncio.

    async with weft.aio.open('file:disk.img') as disk:
        data = await disk.read(0, 4096)

A device belongs to the loop that opened it. When a task is cancelled, its request is asked to end, and the task goes on at once;
the buffer of readinto or write stays held until the request has ended (`await disk.drain()` waits for that).
"""
import asyncio
import collections
import errno
import typing
import weakref

import weft
from weft import _core


class _Events:
    """An instance's events, taken by a loop as long as devices of it are open there."""

    def __init__(self, instance: weft.Instance, loop: asyncio.AbstractEventLoop):
        self.instance, self.loop, self.users = instance, loop, 0

    def hold(self) -> None:
        self.users += 1
        if self.users == 1:
            self.loop.add_reader(self.instance.event_fd(), self._take)

    def let_go(self) -> None:
        self.users -= 1
        if self.users == 0:
            self.loop.remove_reader(self.instance.event_fd())
            del _events[self.loop][self.instance]

    def _take(self) -> None:
        while self.instance.event(0) is not None:
            pass

    @classmethod
    def of(cls, instance: weft.Instance, loop: asyncio.AbstractEventLoop) -> '_Events':
        found = _events.setdefault(loop, {})
        if instance not in found:
            found[instance] = cls(instance, loop)
        return found[instance]

    async def ended(self, begin: typing.Callable[..., None], *arguments: typing.Any) -> typing.Any:
        """Begins something, and waits for its event -> the device that it is about."""
        future: '_Future' = self.loop.create_future()

        def tell(status: int, device: typing.Optional[weft.Device], why: str) -> None:
            if device is not None and not hasattr(device, '_lock'):
                device._begin()
            try:
                self.loop.call_soon_threadsafe(settle, status, device, why)
            except RuntimeError:  # the loop is closed, nobody waits
                if begin == self.instance._open_begin and device is not None:
                    device.close()

        def settle(status: int, device: typing.Optional[weft.Device], why: str) -> None:
            self.let_go()
            if future.done():  # nobody waits any more
                if begin == self.instance._open_begin and device is not None:
                    device.close()
            elif status:
                future.set_exception(weft._errors.error(-status, why))
            else:
                future.set_result(device)

        begin(*arguments, tell)
        self.hold()
        return await future


_Future = asyncio.Future[typing.Any]
_ByInstance = typing.Dict[weft.Instance, _Events]
_events: 'weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _ByInstance]' = weakref.WeakKeyDictionary()  # by loop


class Device:
    """An open device. Everything that does not wait is the plain one's: `disk.device.info()`, `.properties`, `.serve(...)`."""

    def __init__(self, device: weft.Device, depth: int, events: _Events):
        self.device = device
        self._events, self._loop = events, events.loop
        self._queue = weft.Queue(device, depth)
        self._waiting: typing.Deque[_Future] = collections.deque()
        self._idle: typing.List[_Future] = []
        self._sizes: typing.List[_Future] = []
        self._turn_comes = self._notified = self._closing = False
        self._fd = self._queue.fileno()
        self._loop.add_reader(self._fd, self._turn)
        device._resized.append(self._was_resized)
        events.hold()

    # ---- turns of the loop ----

    def _turn(self) -> None:
        """Sends what was staged, delivers what has ended. Only while something is in flight the queue is asked to notify."""
        self._turn_comes = False
        if self._queue.closed:
            return
        for request in self._queue.poll():
            future = request.tag
            if future.done():
                continue  # cancelled
            try:
                future.set_result(request.result())
            except weft.Error as e:
                future.set_exception(e)
        busy = self._queue.outstanding
        for _ in range(min(len(self._waiting), self._queue.depth - busy)):
            self._next_waiting()
        if (busy > 0) != self._notified:
            self._notified = busy > 0
            self._queue.notify(self._notified)
        if not busy:
            while self._idle:
                self._idle.pop().cancel()

    def _kick(self) -> None:
        if not self._turn_comes:
            self._turn_comes = True
            self._loop.call_soon(self._turn)

    def _next_waiting(self) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    async def _room(self) -> None:
        waiter = self._loop.create_future()
        self._waiting.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self._next_waiting()
            raise

    async def _do(self, method: typing.Callable[..., weft.Request], *arguments: typing.Any, **more: typing.Any) -> typing.Any:
        future = self._loop.create_future()
        while True:
            if self._closing:
                raise weft.ClosedError(errno.EBADF, 'device: it is being closed: open it again')
            try:
                request = method(self._queue, *arguments, tag=future, **more)
                break
            except weft.FullError:
                await self._room()
        self._kick()
        try:
            return await future
        except asyncio.CancelledError:
            if not request.done:
                request.cancel()
                self._kick()
            raise

    # ---- requests ----

    async def read(self, offset: int, length: int) -> bytes:
        return await self._do(_core.Queue.read, offset, length)

    async def readinto(self, offset: int, buffer: weft.Buffers) -> int:
        return await self._do(_core.Queue.readinto, offset, buffer)

    async def write(self, offset: int, buffer: weft.Buffers, *, flags: int = 0) -> None:
        await self._do(_core.Queue.write, offset, buffer, flags=flags)

    async def flush(self) -> None:
        await self._do(_core.Queue.flush)

    async def discard(self, offset: int, length: int) -> None:
        await self._do(_core.Queue.discard, offset, length)

    async def zero(self, offset: int, length: int, *, flags: int = 0) -> None:
        await self._do(_core.Queue.zero, offset, length, flags=flags)

    async def compare_write(self, offset: int, compare: weft.Buffer, write: weft.Buffer) -> None:
        await self._do(_core.Queue.compare_write, offset, compare, write)

    async def copy(self, offset: int, source: int, length: int) -> None:
        await self._do(_core.Queue.copy, offset, source, length)

    async def status(self, offset: int = 0, length: typing.Optional[int] = None) -> typing.AsyncIterator[weft.Extent]:
        """What is allocated and what is zero, in order, to the end of the range (default: of the device)."""
        end = self.device.size if length is None else offset + length
        while offset < end:
            extents = await self._do(_core.Queue.status, offset, end - offset)
            if not extents:
                return
            for extent in map(weft.Extent._make, extents):
                yield extent
            offset = sum(extents[-1][:2])

    async def drain(self) -> None:
        """Until nothing is in flight, cancelled requests neither."""
        while not self._queue.closed and self._queue.outstanding:
            idle = self._loop.create_future()
            self._idle.append(idle)
            self._kick()
            await asyncio.wait([idle])

    # ---- size ----

    @property
    def size(self) -> int:
        return self.device.size

    async def resize(self, size: int) -> None:
        await self._events.ended(self.device._resize_begin, size)

    async def resized(self) -> int:
        """The size, once it has changed again, by whomever."""
        future = self._loop.create_future()
        self._sizes.append(future)
        return await future

    def _was_resized(self, size: int) -> None:
        """From whichever thread took the event."""
        self._loop.call_soon_threadsafe(self._tell_size, size)

    def _tell_size(self, size: int) -> None:
        waiting, self._sizes = self._sizes, []
        for future in waiting:
            if not future.done():
                future.set_result(size)

    # ---- end ----

    async def close(self) -> None:
        """Requests in flight are cancelled, and waited for."""
        if self._closing:
            return
        self._closing = True
        while self._waiting:
            self._next_waiting()
        self._queue.cancel_all()
        await self.drain()
        self._loop.remove_reader(self._fd)
        self._queue.close()
        for future in self._sizes:
            future.cancel()
        self.device._resized.clear()
        await self._events.ended(self.device._close_begin)
        self._events.let_go()


class _Opening:
    """open(...): to be awaited, or the context of an `async with`."""

    def __init__(self, text: str, depth: int, instance: typing.Optional[weft.Instance]):
        self._text, self._depth, self._instance = text, depth, instance
        self._device: typing.Optional[Device] = None

    async def _open(self) -> Device:
        loop = asyncio.get_running_loop()
        instance = self._instance
        if instance is None:
            instance = await loop.run_in_executor(None, weft.instance)
        events = _Events.of(instance, loop)
        events.hold()
        try:
            device = await events.ended(instance._open_begin, self._text)
            try:
                return Device(device, self._depth, events)
            except BaseException:
                device.close()
                raise
        finally:
            events.let_go()

    def __await__(self) -> typing.Generator[typing.Any, None, Device]:
        return self._open().__await__()

    async def __aenter__(self) -> Device:
        self._device = await self._open()
        return self._device

    async def __aexit__(self, *_: object) -> None:
        if self._device is not None:
            await self._device.close()


def open(text: str, *, depth: int = 128, instance: typing.Optional[weft.Instance] = None) -> _Opening:
    """Opens a device in the running loop. depth: requests at once; further ones wait for room."""
    return _Opening(text, depth, instance)
