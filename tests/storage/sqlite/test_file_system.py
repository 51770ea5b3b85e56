from __future__ import annotations

import os
import sys

import pytest

from otel_perfmon.errors import StoreError
from otel_perfmon.metrics_storage import MetricsStorage
from otel_perfmon.storage.sqlite import file_system
from otel_perfmon.storage.sqlite.file_system import check_local, file_system_of, find_type, is_remote

MOUNTS = b"""\
22 28 0:20 / / rw,relatime shared:1 - overlay overlay rw,lowerdir=/x - y
23 22 0:21 / /proc rw,nosuid shared:12 - proc proc rw
30 22 8:1 / /home rw,relatime shared:29 - ext4 /dev/sda1 rw
31 30 0:40 / /home/ada/office rw,relatime shared:30 master:1 - cifs //server/office rw
32 30 0:41 / /home/ada/with\\040space rw,relatime - nfs4 server:/export rw,vers=4.2
33 30 0:42 / /home/ada/far rw,relatime - fuse.sshfs ada@far:/ rw
34 30 0:43 / /home/ada/near rw,relatime - fuse.ext4 /dev/sdb1 rw
35 22 0:44 / /twice rw - nfs server:/a rw
36 35 0:45 / /twice rw - tmpfs tmpfs rw
""".splitlines(keepends=True)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/metrics.db", "overlay"),
        ("/home/ada/metrics.db", "ext4"),
        ("/home/ada/office/metrics.db", "cifs"),
        ("/home/ada/office", "cifs"),
        ("/home/ada/offices/metrics.db", "ext4"),
        ("/home/ada/with space/not/yet/there/metrics.db", "nfs4"),
        ("/home/ada/far/metrics.db", "fuse.sshfs"),
        ("/home/ada/near/metrics.db", "fuse.ext4"),
        ("/twice/metrics.db", "tmpfs"),
    ],
)
def test_the_file_system_of_a_path_is_that_of_the_deepest_mount_it_is_under(path, kind):
    assert find_type(path.encode(), MOUNTS) == kind


def test_lines_that_are_none_of_mountinfos_tell_nothing():
    assert find_type(b"/a", [b"", b"\n", b"1 2 3 - ext4 x rw\n", b"1 2 3 4 / rw\n"]) is None


@pytest.mark.parametrize(
    "kind", ["nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "lustre", "fuse.sshfs", "fuse.glusterfs", "fuse.rclone"]
)
def test_what_another_machine_keeps_is_remote(kind):
    assert is_remote(kind)


@pytest.mark.parametrize(
    "kind",
    ["ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay", "fuse", "fuse.ext4", "fuseblk", "fuse.overlayfs", "virtiofs"],
)
def test_what_this_machine_keeps_is_local(kind):
    assert not is_remote(kind)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says")
def test_this_machine_says_what_its_files_are_on_and_lets_them_pass(tmp_path):
    path = str(tmp_path / "not" / "there" / "metrics.db")
    assert file_system_of(path)
    check_local(path)
    assert file_system_of("/proc/self/status") == "proc"


def test_a_store_on_a_network_file_system_is_refused_before_anything_is_made_there(tmp_path, monkeypatch, caplog):
    point = os.fsencode(os.path.realpath(tmp_path))
    mounts = tmp_path / "mountinfo"
    mounts.write_bytes(b"".join(MOUNTS) + b"40 22 0:50 / " + point + b"/share rw - nfs4 server:/export rw\n")
    monkeypatch.setattr(file_system, "_MOUNTS", str(mounts))
    (tmp_path / "share").mkdir()
    with MetricsStorage(tmp_path / "share" / "metrics.db") as storage:
        for _ in range(3):
            storage.insert_metric("work", 1.0)
        assert not storage.recorder.flush(0.5)
        with pytest.raises(StoreError, match=r"network file system \(nfs4\).* Choose a path on a local disk"):
            storage.get_stats()
    assert os.listdir(tmp_path / "share") == []
    assert "3 spans were not kept" in caplog.text
