# SPDX-License-Identifier: BSD-2-Clause
"""What the library refuses, as exceptions: an OSError each, with errno and a sentence that names the remedy."""
import errno
import os


class Error(OSError):
    """Whatever went wrong in weft. Where Python has a class for the errno, it is one of that, too."""


class BusyError(Error):
    """EBUSY: something uses it still."""


class ClosedError(Error, ValueError):
    """EBADF: it has been closed."""


class ThreadError(Error, PermissionError):
    """EPERM: not from this thread, or not in this process."""


class NotFoundError(Error, FileNotFoundError):
    """ENOENT"""


class ExistsError(Error, FileExistsError):
    """EEXIST"""


class AccessError(Error, PermissionError):
    """EACCES"""


class FullError(Error, BlockingIOError):
    """EAGAIN: the queue has no room; take completions."""


class PendingError(Error):
    """EINPROGRESS: the request has not ended."""


class CanceledError(Error):
    """ECANCELED: it was asked to end sooner, and did."""


class TimedOutError(Error, TimeoutError):
    """ETIMEDOUT"""


class RangeError(Error):
    """ERANGE: beyond the device."""


class ReadOnlyError(Error):
    """EROFS: the device cannot be written."""


class MiscompareError(Error):
    """EILSEQ: compare_write found other bytes."""


class UnsupportedError(Error, NotImplementedError):
    """EOPNOTSUPP: this device cannot."""


CLASSES = {errno.EBUSY: BusyError, errno.EBADF: ClosedError, errno.EPERM: ThreadError, errno.ENOENT: NotFoundError,
           errno.EEXIST: ExistsError, errno.EACCES: AccessError, errno.EAGAIN: FullError, errno.EINPROGRESS: PendingError,
           errno.ECANCELED: CanceledError, errno.ETIMEDOUT: TimedOutError, errno.ERANGE: RangeError,
           errno.EROFS: ReadOnlyError, errno.EILSEQ: MiscompareError, errno.EOPNOTSUPP: UnsupportedError}

# What a completion's errno means, and what to do.
REMEDIES = {
    errno.ERANGE: "reaches beyond the device's end: stay below its size",
    errno.EINVAL: 'is not of whole blocks: use multiples of info().block for offset and length',
    errno.EROFS: 'would write to a device that can only be read: open it otherwise',
    errno.EOPNOTSUPP: 'is nothing that this device can do: see info().ops',
    errno.EILSEQ: 'was not done: the device holds other bytes than those to compare with',
    errno.ECANCELED: 'was cancelled',
    errno.ETIMEDOUT: 'took too long, and was given up',
    errno.ENOSPC: 'found no space: make room below the device',
}


def error(number: int, text: str) -> Error:
    """The exception for an errno; a text without a sentence (of a completion) is given one."""
    if ': ' not in text and number in REMEDIES:
        text = f'{text} {REMEDIES[number]}'
    elif ': ' not in text:
        text = f'{text}: {os.strerror(number)}'
    return CLASSES.get(number, Error)(number, text)
