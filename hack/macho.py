#!/usr/bin/env python3
"""Refuses a program for macOS that macOS would not start, as far as its bytes tell: a release is made on Linux.

    hack/macho.py arm64 11.0 PROGRAM LIBRARY.tbd…

Read are the processor, the oldest system, what loads it and where it begins; that each library is one of those named, and has
what the program takes from it, by its symbol table; and the signature, page by page, without which a Mac with Apple's processor kills a program.
"""

import hashlib
import re
import struct
import sys

CPUS = {"amd64": (0x01000007, "x86_64-macos"), "arm64": (0x0100000C, "arm64-macos")}
MAGIC, EXECUTE, TWOLEVEL, PIE, MACOS = 0xFEEDFACF, 2, 0x80, 0x200000, 1
SYMTAB, LOAD_DYLIB, LOAD_DYLINKER, CODE_SIGNATURE, BUILD_VERSION, MAIN = 0x2, 0xC, 0xE, 0x1D, 0x32, 0x80000028
OTHER_LIBRARIES = {0x18 | 0x80000000, 0x1F | 0x80000000, 0x20, 0x23 | 0x80000000}
STAB, EXTERNAL, TYPE = 0xE0, 0x01, 0x0E
EMBEDDED_SIGNATURE, CODE_DIRECTORY, ADHOC, SHA256 = 0xFADE0CC0, 0xFADE0C02, 0x2, 2


def refuse(why):
    sys.exit(f"macho: {sys.argv[3]}: {why}")


def text(data, start):
    return data[start : data.index(b"\0", start)].decode()


def exported(stub, target):
    """The name of the library that a stub describes, and what it has for a target, also from the libraries within it."""
    with open(stub, encoding="utf-8") as file:
        content = re.sub(r"#.*", "", file.read())
    lists = re.findall(r"targets:\s*\[([^]]*)\]\s*symbols:\s*\[([^]]*)\]", content)
    names = [re.findall(r"[^\s,']+", symbols) for targets, symbols in lists if target in re.split(r"[\s,]+", targets)]
    return re.search(r"^install-name:\s*'?([^\s']+)", content, re.MULTILINE).group(1), set(sum(names, []))


def load_commands(data, count):
    at = 32
    for _ in range(count):
        kind, length = struct.unpack_from("<II", data, at)
        yield kind, data[at : at + length]
        at += length


def imported(data, symtab):
    """Names of what the program takes from a library, each with the library's number among its load commands."""
    symbols, count, strings, _ = struct.unpack_from("<IIII", symtab, 8)
    for at in range(symbols, symbols + 16 * count, 16):
        name, kind, _, description, _ = struct.unpack_from("<IBBHQ", data, at)
        if kind & (STAB | TYPE | EXTERNAL) == EXTERNAL:
            yield text(data, strings + name), description >> 8


def check_header(data, cpu, oldest):
    """Refuses what is no program for this processor and system; returns its libraries, symbol table and signature."""
    if len(data) < 32:
        refuse("it is no program")
    magic, its_cpu, _, kind, count, _, flags, _ = struct.unpack_from("<8I", data)
    if magic != MAGIC or kind != EXECUTE:
        refuse("it is no program for macOS")
    if its_cpu != cpu:
        refuse("it is of another processor")
    if not flags & TWOLEVEL or not flags & PIE:
        refuse("it is not linked with two-level names, or not to be loaded anywhere")
    libraries, others, since = [], {}, None
    for kind, command in load_commands(data, count):
        if kind == LOAD_DYLIB:
            libraries.append(text(command, struct.unpack_from("<I", command, 8)[0]))
        elif kind in OTHER_LIBRARIES:
            refuse(f"it has a library by load command {kind:#x}")
        elif kind == BUILD_VERSION:
            platform, version = struct.unpack_from("<II", command, 8)
            since = platform, f"{version >> 16}.{version >> 8 & 0xFF}"
        else:
            others[kind] = command
    if since != (MACOS, oldest):
        refuse(f"it is for system {since}, and {(MACOS, oldest)} is promised")
    loader = others.get(LOAD_DYLINKER)
    if MAIN not in others or loader is None or text(loader, 12) != "/usr/lib/dyld":
        refuse("nothing says where it begins, or that dyld loads it")
    return libraries, others[SYMTAB], others.get(CODE_SIGNATURE)


def check_imports(data, symtab, libraries, known):
    for library in libraries:
        if library not in known:
            refuse(f"it needs {library}")
    giving = set()
    for symbol, number in imported(data, symtab):
        if not 1 <= number <= len(libraries):
            refuse(f"{symbol} comes from no library by name")
        if symbol not in known[libraries[number - 1]]:
            refuse(f"{symbol} is not in {libraries[number - 1]}")
        giving.add(libraries[number - 1])
    # Nothing would have been looked at: its symbols are not told.
    for library in libraries:
        if library not in giving:
            refuse(f"it takes nothing from {library}, as far as its symbols tell")


def check_signature(data, command):
    """Refuses a signature that is not ad hoc, or not of these bytes."""
    start, _ = struct.unpack_from("<II", command, 8)
    magic, _, count = struct.unpack_from(">III", data, start)
    blobs = [start + struct.unpack_from(">II", data, start + 12 + 8 * place)[1] for place in range(count)]
    directories = [at for at in blobs if struct.unpack_from(">I", data, at)[0] == CODE_DIRECTORY]
    if magic != EMBEDDED_SIGNATURE or len(directories) != 1:
        refuse("its signature is none")
    at = directories[0]
    flags, hashes, _, _, pages, limit = struct.unpack_from(">6I", data, at + 12)
    size, kind, _, page = struct.unpack_from("4B", data, at + 36)
    if not flags & ADHOC or (size, kind) != (32, SHA256):
        refuse("it is not signed ad hoc by SHA-256")
    if limit != start or pages != -(-limit >> page):
        refuse(f"{limit} of its {start} bytes are signed")
    for number in range(pages):
        begin = number << page
        actual = hashlib.sha256(data[begin : min(begin + (1 << page), limit)]).digest()
        if data[at + hashes + 32 * number :][:32] != actual:
            refuse(f"page {number} is not what was signed")


def main():
    arch, oldest, path, *stubs = sys.argv[1:]
    cpu, target = CPUS[arch]
    known = dict(exported(stub, target) for stub in stubs)
    with open(path, "rb") as file:
        data = file.read()
    libraries, symtab, signature = check_header(data, cpu, oldest)
    check_imports(data, symtab, libraries, known)
    if signature is not None:
        check_signature(data, signature)
    elif arch == "arm64":
        refuse("it is not signed")
    for library in libraries:
        print(library)


main()
