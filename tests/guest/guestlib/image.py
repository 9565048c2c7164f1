# SPDX-License-Identifier: BSD-2-Clause
"""The kernel and the first file system that every guest boots from, made once and kept in build/guest/."""

import contextlib
import fcntl
import functools
import glob
import hashlib
import os
import re
import shutil
import subprocess
import tempfile

from . import cpio, kernel

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(HERE)))
CACHE = os.path.join(ROOT, "build", "guest")

# Lists of modules; "boot" is loaded by init, the others on the command `load LIST` (xfs alone takes half a second).
# crc32c_* because the file systems ask for crc32c by name at run time, which no module tells.
MODULES = {
    "boot": ["virtio_pci", "virtio_blk"],
    "ext4": ["crc32c_generic", "crc32c_intel", "ext4"],
    "xfs": ["crc32c_generic", "crc32c_intel", "xfs"],
}
BUSYBOX = "/bin/busybox"
# What busybox has no applet for, or a poorer one. fio brings 64 libraries: it has an image of its own.
PROGRAMS = ["mkfs.ext4", "mkfs.xfs", "fstrim", "blkdiscard"]
FIO = "fio"
SEARCH = "/usr/sbin:/usr/bin:/sbin:/bin"


class Missing(Exception):
    """Something that must have been installed is not there; says what to do."""


class Kit:
    """What a machine boots from: paths of the kernel, and of the images without and with fio."""

    def __init__(self, folder):
        self.kernel = os.path.join(folder, "vmlinux")
        self.small = os.path.join(folder, "small.cpio")
        self.large = os.path.join(folder, "large.cpio")


@functools.lru_cache
def kit():
    """The kit, made now if it is not there or stale; several processes may ask at once."""
    deb = cached_package()
    if not deb:
        raise Missing(f"no kernel package in {CACHE}: run tests/guest/fetch-kernel")
    name = "kit-" + fingerprint(deb)
    folder = os.path.join(CACHE, name)
    if os.path.isdir(folder):
        return Kit(folder)
    # Whoever may not write there (root installed, another user tests) has a folder of their own.
    home = CACHE if os.access(CACHE, os.W_OK) else own_folder()
    folder = os.path.join(home, name)
    with locked(home):
        if not os.path.isdir(folder):
            for old in os.listdir(home):
                if old.startswith(("kit-", "draft-")):
                    shutil.rmtree(os.path.join(home, old))
            build(deb, folder)
    return Kit(folder)


def own_folder():
    home = os.path.join(tempfile.gettempdir(), f"weft-guest-{os.getuid()}")
    os.makedirs(home, mode=0o700, exist_ok=True)
    if os.stat(home, follow_symlinks=False).st_uid != os.getuid():
        raise Missing(f"{home} belongs to another user: set TMPDIR")
    return home


def cached_package():
    """The newest kernel package in the cache, or None."""
    def version(path):
        return [int(n) for n in re.findall(r"\d+", os.path.basename(path))]
    found = glob.glob(os.path.join(glob.escape(CACHE), "linux-image-*.deb"))
    return max(found, key=version, default=None)


@contextlib.contextmanager
def locked(folder):
    with open(os.path.join(folder, "lock"), "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def fingerprint(deb):
    """Changes whenever anything changes that goes into the kit."""
    digest = hashlib.sha256(repr((os.path.basename(deb), MODULES)).encode())
    for path in sorted(glob.glob(os.path.join(HERE, "*"))):
        if os.path.basename(path) in ("init.sh", "image.py", "kernel.py", "cpio.py"):
            with open(path, "rb") as source:
                digest.update(source.read())
    for path in [BUSYBOX, *map(program, [*PROGRAMS, FIO])]:
        facts = os.stat(path)
        digest.update(repr((path, facts.st_size, facts.st_mtime_ns)).encode())
    return digest.hexdigest()[:16]


def program(name):
    path = shutil.which(name, path=SEARCH)
    if not path:
        raise Missing(f"{name} is not installed: run tools/install-deps test")
    return path


def build(deb, folder):
    """Makes the kit under another name first, so that a half-made one is never found."""
    draft = tempfile.mkdtemp(prefix="draft-", dir=os.path.dirname(folder))
    try:
        package = kernel.Package(deb)
        made = Kit(draft)
        with open(made.kernel, "wb") as out:
            out.write(kernel.unpack_bzimage(package.image))
        write_image(made.small, package, PROGRAMS)
        write_image(made.large, package, [*PROGRAMS, FIO])
        for path in (made.kernel, made.small, made.large):
            os.chmod(path, 0o644)
        os.chmod(draft, 0o755)
        os.rename(draft, folder)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def write_image(path, package, programs):
    with open(path, "wb") as out:
        archive = cpio.Archive(out)
        for name in ("dev", "proc", "sys", "run", "tmp", "mnt", "root"):
            archive.folder(name)
        archive.file("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n")
        archive.file("etc/group", b"root:x:0:\n")
        archive.link("etc/mtab", "/proc/mounts")
        add_busybox(archive, taken={os.path.basename(name) for name in programs})
        for name in programs:
            add_program(archive, name)
        for title, wanted in MODULES.items():
            order = package.in_order(wanted)
            archive.file(f"modules/{title}", "".join(f"{name}\n" for name in order).encode())
            for name in order:
                if not archive.has(f"modules/{name}.ko"):
                    archive.file(f"modules/{name}.ko", package.modules[name])
        with open(os.path.join(HERE, "init.sh"), "rb") as script:
            archive.file("init", script.read(), 0o755)
        archive.close()


def add_busybox(archive, taken):
    archive.file("bin/busybox", read(BUSYBOX), 0o755)
    applets = subprocess.run([BUSYBOX, "--list"], stdout=subprocess.PIPE, check=True, timeout=30, text=True).stdout
    for name in applets.split():
        if name != "busybox" and name not in taken:
            archive.link(f"bin/{name}", "busybox")


def add_program(archive, name):
    path = program(name)
    archive.file(f"bin/{name}", read(path), 0o755)
    listed = subprocess.run(["ldd", path], stdout=subprocess.PIPE, check=True, timeout=30, text=True).stdout
    for library in re.findall(r"(/\S+) \(0x", listed):
        if not archive.has(library):
            archive.file(library, read(library), 0o755)


def read(path):
    with open(path, "rb") as file:
        return file.read()
