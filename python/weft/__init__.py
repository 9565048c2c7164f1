# SPDX-License-Identifier: BSD-2-Clause
"""weft: block devices inside Python.

    with weft.open('file:disk.img') as disk:
        disk.write(0, bytes(4096))
        data = disk.read(0, 4096)

Devices are written as on the command line (weft-grammar(7)). A device's own methods may be called from any thread and take
turns; for many requests at once, open a queue, which belongs to one thread. weft.aio has the same for asyncio.
"""
import atexit
import collections.abc
import contextlib
import os
import sys
import threading
import typing
import weakref

# Components that are loaded into weft take their symbols from the one libweft of the process.
_flags = sys.getdlopenflags()
sys.setdlopenflags(_flags | os.RTLD_GLOBAL)
try:
    from weft import _core
finally:
    sys.setdlopenflags(_flags)

from weft._core import FAST, FUA, HOLE, IOV_MAX, MAX_LEN, NO_UNMAP, ZERO, Memory, Request  # noqa: E402
from weft._errors import (AccessError, BusyError, CanceledError, ClosedError, Error, ExistsError, FullError,  # noqa: E402
                          MiscompareError, NotFoundError, PendingError, RangeError, ReadOnlyError, ThreadError, TimedOutError,
                          UnsupportedError)

__version__ = _core.version
__all__ = ['FAST', 'FUA', 'HOLE', 'IOV_MAX', 'MAX_LEN', 'NO_UNMAP', 'ZERO', 'AccessError', 'BusyError', 'CanceledError',
           'ClosedError', 'Device', 'Error', 'Event', 'ExistsError', 'Export', 'Extent', 'FullError', 'Info', 'Instance', 'Kind',
           'Memory', 'MiscompareError', 'NotFoundError', 'PendingError', 'Properties', 'Property', 'PythonDevice', 'Queue',
           'RangeError', 'ReadOnlyError', 'Registration', 'Request', 'ThreadError', 'TimedOutError', 'UnsupportedError',
           'instance', 'open', 'register']

if sys.version_info >= (3, 12):
    Buffer = collections.abc.Buffer
else:
    Buffer = typing.Union[bytes, bytearray, memoryview, Memory, typing.Any]
Buffers = typing.Union[Buffer, typing.Sequence[Buffer]]


class Info(typing.NamedTuple):
    """What a device is; sizes in bytes."""

    size: int
    block: int
    physical: int
    optimal: int
    align: int
    max_len: int
    max_segs: int
    discard_align: int
    ops: int
    ops_own: int
    flags_own: int
    readonly: bool
    volatile_cache: bool
    rotational: bool
    name: str
    max_compare: int


class Extent(typing.NamedTuple):
    """A part of a device; flags: HOLE (no space is allocated), ZERO (reads as zeroes)."""

    offset: int
    length: int
    flags: int


class Property(typing.NamedTuple):
    """What can be said of a device, and changed: type as 'SIZE' or 'auto|on|off', default as a user would write it."""

    name: str
    type: str
    default: typing.Optional[str]
    help: typing.Optional[str]
    readable: bool
    writable: bool
    opening: bool

    @classmethod
    def of(cls, raw: typing.Dict[str, typing.Any]) -> 'Property':
        return cls(raw['name'], raw['type'], raw['default'], raw['help'], bool(raw['access'] & 1), bool(raw['access'] & 2),
                   bool(raw['stage'] & 1))


class Kind(typing.NamedTuple):
    """A kind of device or export, with the options that it takes."""

    name: str
    summary: str
    options: typing.List[Property]


class Event(typing.NamedTuple):
    """What happened to a device by itself: `size` bytes are in it now."""

    device: 'Device'
    size: int


class PythonDevice(typing.Protocol):
    """A device written in Python. Only `size` and `read` are needed; without `write` it can only be read, with `flush` its
    writes are taken to be volatile until then. `discard(offset, length)`, `zero(offset, length)` and `compare_write(offset,
    compare, write)` (bytes; raises MiscompareError) may be there, too, and the numbers `block`, `physical`, `optimal` and
    `rotational`. One thread calls all methods. OSError ends a request with its errno.
    """

    size: int

    def read(self, offset: int, view: memoryview, /) -> None:
        """Fills the view; it is released when this returns."""

    def write(self, offset: int, view: memoryview, /) -> None:
        ...

    def flush(self) -> None:
        ...


class Properties(typing.MutableMapping[str, str]):
    """A device's properties by name; values are text, as on the command line. What cannot be changed raises weft.Error."""

    def __init__(self, device: 'Device'):
        self._device = device

    def __getitem__(self, name: str) -> str:
        try:
            return self._device._get(name)
        except NotFoundError as e:
            raise KeyError(str(e)) from None

    def __setitem__(self, name: str, value: typing.Union[str, int, bool]) -> None:
        text = ('off', 'on')[value] if isinstance(value, bool) else str(value)
        try:
            self._device._set(name, text)
        except NotFoundError as e:
            raise KeyError(str(e)) from None

    def __delitem__(self, name: str) -> None:
        raise TypeError(f'{name}: a property can be changed, not removed')

    def __iter__(self) -> typing.Iterator[str]:
        return (p.name for p in self.list())

    def __len__(self) -> int:
        return len(self.list())

    def list(self) -> typing.List[Property]:
        """With their types, defaults and help. Of two with the same name the first counts, as for values."""
        found: typing.Dict[str, Property] = {}
        n = 0
        while (raw := self._device._property(n)) is not None:
            found.setdefault(raw['name'], Property.of(raw))
            n += 1
        return [*found.values()]


class _Closable(typing.Protocol):
    def close(self) -> None:
        ...


class _Closing:
    """A `with` statement closes it."""

    def __enter__(self) -> typing.Self:
        return self

    def __exit__(self: _Closable, *_: object) -> None:
        self.close()


class Export(_Closing, _core.Export):
    """A device that is served, until it is closed."""


class Queue(_Closing, _core.Queue):
    """Many requests at once, of one thread. A request is staged, sent by submit, poll or wait, and delivered by poll or wait."""

    def drain(self) -> typing.List[Request]:
        """Waits for all, and delivers them."""
        return self.wait(self.outstanding)

    def __exit__(self, *_: object) -> None:
        if not self.closed:
            self.cancel_all()
            self.drain()
        self.close()


class Device(_Closing, _core.Device):
    """An open device, with all that is below it."""

    _lock: threading.RLock  # the methods of one request take turns; a signal's handler may come in between
    _turns: typing.Optional[_core.Queue]  # what they use
    _resized: typing.List[typing.Callable[[int], None]]  # whom to tell

    def _begin(self) -> 'Device':
        """Once, when the library has opened it."""
        self._lock, self._turns, self._resized = threading.RLock(), None, []
        _open_things.add(self)
        return self

    @property
    def properties(self) -> Properties:
        return Properties(self)

    def info(self) -> Info:
        return Info(*self._info())

    def queue(self, depth: int = 128, *, mode: str = 'adaptive') -> Queue:
        """A queue of the calling thread. mode: how its waits wait: 'poll', 'adaptive', 'notify'."""
        return Queue(self, depth, mode=mode)

    def serve(self, text: str) -> Export:
        """Serves it: 'vhost-user:/run/vm.sock'."""
        export = Export(self, text)
        _open_things.add(export)
        return export

    def close(self) -> None:
        with self._lock:
            queue, self._turns = self._turns, None
            if queue is not None:
                queue.adopt()
                if queue.outstanding:  # of calls that were interrupted
                    queue.cancel_all()
                    queue.wait(queue.outstanding)
                queue.close()
            super().close()

    # ---- one request at a time, from any thread ----

    def _run(self, method: typing.Callable[..., Request], *arguments: typing.Any, **more: typing.Any) -> typing.Any:
        with self._lock:
            queue = self._turns
            if queue is None:
                queue = self._turns = _core.Queue(self, 16, hold=False)
            queue.adopt()
            if queue.outstanding:  # of calls that were interrupted twice
                queue.poll()
            request = method(queue, *arguments, **more)
            try:
                return request.wait()
            except BaseException:  # a signal's handler has raised, or the request has ended so
                if not request.done:
                    request.cancel()
                    with contextlib.suppress(Error):
                        request.wait()
                raise

    def read(self, offset: int, length: int) -> bytes:
        return self._run(_core.Queue.read, offset, length)

    def readinto(self, offset: int, buffer: Buffers) -> int:
        """Into a writable buffer, or a list of them, without a copy. How many bytes."""
        return self._run(_core.Queue.readinto, offset, buffer)

    def write(self, offset: int, buffer: Buffers, *, flags: int = 0) -> None:
        """flags: FUA: durable afterwards."""
        self._run(_core.Queue.write, offset, buffer, flags=flags)

    def flush(self) -> None:
        self._run(_core.Queue.flush)

    def discard(self, offset: int, length: int) -> None:
        self._run(_core.Queue.discard, offset, length)

    def zero(self, offset: int, length: int, *, flags: int = 0) -> None:
        """flags: FUA, NO_UNMAP: space stays allocated, FAST: UnsupportedError rather than writing zeroes."""
        self._run(_core.Queue.zero, offset, length, flags=flags)

    def compare_write(self, offset: int, compare: Buffer, write: Buffer) -> None:
        """Writes if the device holds `compare`, atomically; else MiscompareError."""
        self._run(_core.Queue.compare_write, offset, compare, write)

    def copy(self, offset: int, source: int, length: int) -> None:
        """Within the device, from `source` to `offset`."""
        self._run(_core.Queue.copy, offset, source, length)

    def status(self, offset: int = 0, length: typing.Optional[int] = None) -> typing.Iterator[Extent]:
        """What is allocated and what is zero, in order, to the end of the range (default: of the device)."""
        end = self.size if length is None else offset + length
        while offset < end:
            extents = self._run(_core.Queue.status, offset, end - offset)
            if not extents:
                return
            yield from map(Extent._make, extents)
            offset = sum(extents[-1][:2])


class Instance(_Closing, _core.Instance):
    """A core with its threads. One per process is enough: weft.open makes it (weft.instance()).

    service: threads for exports, and devices that live on one; mode: how they wait ('poll', 'adaptive', 'notify'); slots:
    requests in flight of each; log: 'error', 'warn', 'info' or 'debug' to standard error; quiet: nothing is logged.
    """

    def __init__(self, *, service: int = 1, mode: str = 'adaptive', slots: int = 1024, log: str = 'warn', quiet: bool = False):
        super().__init__(service=service, mode=mode, slots=slots, log=log, quiet=quiet)
        _open_things.add(self)

    def open(self, text: str) -> Device:
        """Opens a device, as the command line writes it, or as JSON."""
        return self._open(Device, text)._begin()

    def kinds(self) -> typing.List[Kind]:
        """The kinds of devices that can be opened."""
        return [Kind(name, summary, [Property.of(o) for o in options]) for name, summary, options in self._kinds()]

    def export_kinds(self) -> typing.List[Kind]:
        return [Kind(name, summary, [Property.of(o) for o in options]) for name, summary, options in self._export_kinds()]

    def event(self, timeout: typing.Optional[float] = 0) -> typing.Optional[Event]:
        """The oldest event: a device was resized, by whomever; None: there was none in time."""
        while (raw := self._event(Device, timeout)) is not None:
            kind, status, tag, device, size, why = raw
            if kind != _core.RESIZED:
                tag(status, device, why)
                continue
            if device is None:
                continue  # it has been closed meanwhile
            for called in device._resized:
                called(size)
            return Event(device, size)
        return None


_open_things: 'weakref.WeakSet[typing.Union[Export, Device, Instance]]' = weakref.WeakSet()
_registrations: 'typing.Dict[str, Registration]' = {}
_instance: typing.Optional[Instance] = None
_instance_lock = threading.Lock()


def instance() -> Instance:
    """The process's own instance, which weft.open uses."""
    global _instance
    with _instance_lock:
        if _instance is None or _instance.closed:
            _instance = Instance()
        return _instance


def open(text: str) -> Device:
    """Opens a device: 'file:disk.img', 'mem:1GiB', 'slice:[vhost-user:/run/vm.sock],offset=1MiB'."""
    return instance().open(text)


# ---- devices written in Python ----

class Registration(_Closing):
    """A Python object that can be opened as python:NAME, until this is closed."""

    def __init__(self, name: str, device: PythonDevice):
        self.name = name
        self._served = _core.Served(name, device, device.size, getattr(device, 'block', 512), getattr(device, 'physical', 0),
                                    getattr(device, 'optimal', 0), getattr(device, 'rotational', False))
        self._thread = threading.Thread(target=self._served.run, name=f'weft/{name}', daemon=True)
        self._thread.start()
        _registrations[name] = self

    def close(self) -> None:
        """weft.BusyError: devices that use it are open."""
        self._served.remove()
        _registrations.pop(self.name, None)
        if self._thread is not threading.current_thread():
            self._thread.join()


def register(name: str, device: PythonDevice) -> Registration:
    """`device` can be opened as 'python:NAME' from now on, in any instance, alone or below other devices."""
    return Registration(name, device)


@atexit.register
def _close_all() -> None:
    """Exports go first, that their sockets go, too; then devices, then what runs them."""
    for kind in (Export, Device):
        for thing in [t for t in _open_things if isinstance(t, kind)]:
            with contextlib.suppress(Error):
                thing.close()
    for registration in list(_registrations.values()):
        with contextlib.suppress(Error):
            registration.close()
    for thing in [t for t in _open_things if isinstance(t, Instance)]:
        with contextlib.suppress(Error):
            thing.close()
