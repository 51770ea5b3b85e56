"""Which file system a path lies on: SQLite's write-ahead log does not work over a network (sqlite.org/wal.html)."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterable
from typing import Final

from otel_perfmon.errors import StoreError

_MOUNTS: Final = "/proc/self/mountinfo"
_REMOTE: Final = frozenset(
    (
        *("nfs", "nfs4", "cifs", "smb2", "smb3", "smbfs", "9p", "afs", "coda", "ncpfs", "davfs"),
        *("ceph", "glusterfs", "lustre", "beegfs", "gpfs", "orangefs", "pvfs2", "gfs", "ocfs2_dlmfs"),
    )
)
_REMOTE_FUSE: Final = frozenset(
    (
        *("sshfs", "glusterfs", "ceph", "ceph-fuse", "nfs", "smbnetfs", "curlftpfs", "davfs", "davfs2", "rclone"),
        *(
            "s3fs",
            "goofys",
            "mountpoint-s3",
            "gcsfuse",
            "blobfuse",
            "blobfuse2",
            "juicefs",
            "seaweedfs",
            "mfs",
            "moosefs",
        ),
    )
)
_ESCAPED: Final = re.compile(rb"\\([0-7]{3})")


def check_local(path: str) -> None:
    """Raise `StoreError` for a path on a network file system. Where the system does not say (not Linux), all pass."""
    kind = file_system_of(path)
    if kind is not None and is_remote(kind):
        message = (
            f"{path} lies on a network file system ({kind}), where SQLite's write-ahead log does not work and a store"
            " would be damaged. Choose a path on a local disk, one for each machine (argument path, or"
            " OTEL_PYTHON_PERFMON_PATH)."
        )
        raise StoreError(message)


def is_remote(kind: str) -> bool:
    """Whether files of that type of file system are kept, or may be changed, by another machine.

    Of FUSE only what is known to be remote: most of it (NTFS, ext4, encryption, overlays) is local.
    """
    prefix, _, name = kind.partition(".")
    return kind in _REMOTE or (prefix in ("fuse", "fuseblk") and name in _REMOTE_FUSE)


def file_system_of(path: str) -> str | None:
    """The type of the file system of a path, be there something at it or not, such as ``ext4``; None if unknown."""
    try:
        with io.open(_MOUNTS, "rb") as mounts:  # noqa: UP020 - the builtin is gone when a finaliser records at the end
            return find_type(os.fsencode(os.path.realpath(path)), mounts)
    except OSError:
        return None


def find_type(path: bytes, mountinfo: Iterable[bytes]) -> str | None:
    """The type of the mount that ``path`` is under, from the lines of proc(5)'s mountinfo: the last of the deepest."""
    found, depth = None, -1
    for line in mountinfo:
        before, separator, after = line.partition(b" - ")
        fields = before.split(b" ")
        if not separator or len(fields) < 5:  # noqa: PLR2004 - the fifth is the mount point
            continue
        point = _ESCAPED.sub(lambda match: bytes((int(match[1], 8) & 255,)), fields[4]).rstrip(b"/")
        if (path == point or path.startswith(point + b"/")) and len(point) >= depth:
            found, depth = after.split(b" ")[0].decode(errors="replace"), len(point)
    return found
