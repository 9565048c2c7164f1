# SPDX-License-Identifier: BSD-2-Clause
"""What lies inside a distribution's kernel package: the kernel proper, and the modules with what they need."""

import bz2
import lzma
import os
import shutil
import struct
import subprocess
import tarfile
import zlib

ELF = b"\x7fELF"


def unpack_bzimage(image):
    """The uncompressed ELF kernel inside a bzImage. Source: Documentation/arch/x86/boot.rst, protocol 2.08."""
    if image[0x202:0x206] != b"HdrS":
        raise ValueError("not a bzImage: no HdrS at 0x202")
    sectors = image[0x1f1] or 4
    start, length = struct.unpack_from("<II", image, 0x248)
    start += (sectors + 1) * 512
    packed = image[start:start + length]
    if len(packed) != length:
        raise ValueError(f"bzImage is cut short: {length} bytes at {start} are not there")
    kernel = _decompress(packed)
    if not kernel.startswith(ELF):
        raise ValueError("the payload of the bzImage is not an ELF file")
    return kernel


def _decompress(packed):
    # The payload is followed by its unpacked size, so only stream decoders that stop at their own end will do.
    if packed.startswith(ELF):
        return packed
    if packed.startswith(b"\x1f\x8b"):
        return zlib.decompressobj(wbits=31).decompress(packed)
    if packed.startswith(b"\xfd7zXZ\0"):
        return lzma.LZMADecompressor(lzma.FORMAT_XZ).decompress(packed)
    if packed.startswith(b"\x5d\0\0"):
        return lzma.LZMADecompressor(lzma.FORMAT_ALONE).decompress(packed)
    if packed.startswith(b"BZh"):
        return bz2.BZ2Decompressor().decompress(packed)
    for magic, tool in ((b"\x28\xb5\x2f\xfd", "zstd"), (b"\x02\x21\x4c\x18", "lz4")):
        if packed.startswith(magic):
            if not shutil.which(tool):
                raise ValueError(f"the kernel is packed with {tool}, which is not installed")
            done = subprocess.run([tool, "-dc"], input=packed[:-4], stdout=subprocess.PIPE, check=True, timeout=120)
            return done.stdout
    raise ValueError(f"the kernel is packed in an unknown way (it begins with {packed[:6].hex()})")


def module_facts(data):
    """What a kernel module says of itself in its .modinfo section: {key: [values]}."""
    facts = {}
    for item in _section(data, b".modinfo").split(b"\0"):
        key, equals, value = item.decode("ascii", "replace").partition("=")
        if equals:
            facts.setdefault(key, []).append(value)
    return facts


def _section(data, wanted):
    """The bytes of one section of a 64-bit little-endian ELF file."""
    if data[:6] != ELF + b"\x02\x01":
        raise ValueError("not a 64-bit little-endian ELF file")
    table, = struct.unpack_from("<Q", data, 0x28)
    size, count, names = struct.unpack_from("<HHH", data, 0x3a)
    headers = [struct.unpack_from("<IIQQQQ", data, table + i * size) for i in range(count)]
    names_at = headers[names][4]
    for name, _, _, _, offset, length in headers:
        if data[names_at + name:names_at + name + len(wanted) + 1] == wanted + b"\0":
            return data[offset:offset + length]
    raise ValueError(f"the ELF file has no section {wanted.decode()}")


class Package:
    """An unpacked kernel package."""

    def __init__(self, deb):
        self.deb = deb
        self.release = None
        self.image = None
        self.modules = {}
        self._read()

    def _read(self):
        reader = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", self.deb], stdout=subprocess.PIPE)
        with tarfile.open(fileobj=reader.stdout, mode="r|") as archive:
            for member in archive:
                name = os.path.basename(member.name)
                if name.startswith("vmlinuz-"):
                    self.release = name[len("vmlinuz-"):]
                    self.image = archive.extractfile(member).read()
                elif name.endswith(".ko") and member.isfile():
                    self.modules[name[:-3].replace("-", "_")] = archive.extractfile(member).read()
        if reader.wait() or not self.image:
            raise ValueError(f"{self.deb} is not a kernel package, or is damaged")

    def in_order(self, wanted):
        """The wanted modules and all that they depend on, each after what it depends on."""
        order = []

        def add(name):
            name = name.replace("-", "_")
            if name in order:
                return
            facts = module_facts(self.modules[name])
            for other in filter(None, ",".join(facts.get("depends", [])).split(",")):
                add(other)
            order.append(name)

        for name in wanted:
            add(name)
        return order
