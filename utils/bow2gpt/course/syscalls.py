"""System calls that a notebook never needs and an attacker does, refused by the kernel itself (seccomp, Linux).

Refused are memory that no process is charged for, looking into other processes, new namespaces, and large and little
tried parts of the kernel.

But: nothing happens on machines other than x86-64 and 64-bit ARM; there the namespaces alone have to hold.
"""

from __future__ import annotations

import ctypes
import errno
import platform
import struct

# Numbers on x86-64 (from 0xC000003E) and on 64-bit ARM (from 0xC00000B7), as in the kernel's tables of system calls.
_REFUSED = {
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "shmget": (29, 194),
    "msgget": (68, 186),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "pidfd_getfd": (438, 438),
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "fsopen": (430, 430),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "mount_setattr": (442, 442),
    "userfaultfd": (323, 282),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "io_uring_setup": (425, 425),
}
_CLONE, _CLONE3 = (56, 220), (435, 435)
_NAMESPACES = 0x7E020000  # the flags of clone that ask for new namespaces
_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7), "arm64": (1, 0xC00000B7)}
_X32 = 0x40000000  # the other numbers of x86-64, which nothing uses

# Instructions of the filter, and where in a call's description they look.
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCHITECTURE, _FLAGS = 0, 4, 16
_ALLOW, _FAIL, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _FILTER = 38, 22, 2


def restrict() -> bool:
    """Refuse these calls to this process and to all that it starts, for good.

    Returns:
        False where there is no filter for this kind of machine.

    Raises:
        OSError: if the kernel does not take the filter.
    """
    known = _ARCHITECTURES.get(platform.machine())
    if known is None:
        return False
    program = _program(*known)

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))

    libc = ctypes.CDLL(None, use_errno=True)
    wanted = Program(len(program) // 8, program)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if libc.prctl(_PR_SET_SECCOMP, _FILTER, ctypes.byref(wanted), 0, 0):
        raise OSError(ctypes.get_errno(), "no filter of system calls")
    return True


def _program(column: int, architecture: int) -> bytes:
    """The filter, in the instructions of the kernel's packet filter: operation, jump if true, jump if false, value."""
    fail = (_RETURN, 0, 0, _FAIL | errno.EPERM)
    steps = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
        (_AT_LEAST, 0, 1, _X32),
        fail,
        # With clone3 the flags are out of a filter's reach: the C library falls back on clone.
        (_EQUAL, 0, 1, _CLONE3[column]),
        (_RETURN, 0, 0, _FAIL | errno.ENOSYS),
    ]
    for numbers in _REFUSED.values():
        steps += [(_EQUAL, 0, 1, numbers[column]), fail]
    steps += [
        (_EQUAL, 1, 0, _CLONE[column]),
        (_RETURN, 0, 0, _ALLOW),
        (_LOAD, 0, 0, _FLAGS),
        (_ANY_BIT, 0, 1, _NAMESPACES),
        fail,
        (_RETURN, 0, 0, _ALLOW),
    ]
    return b"".join(struct.pack("HBBI", *step) for step in steps)
