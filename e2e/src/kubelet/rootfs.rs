//! The skeleton of a container's root file system.
//!
//! The root is a directory of the container's own, holding mount points only; the host's programs and libraries are
//! bound into it read-only, so that mount points can appear under a read-only root and nothing else of the host shows.

use std::{
    fs, io,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
};

/// Makes the skeleton: links into /usr, a small /etc, and directories to mount on.
pub(crate) fn skeleton(rootfs: &Path) -> io::Result<()> {
    for dir in [
        "usr",
        "etc/ssl",
        "landfall/bin",
        "proc",
        "dev",
        "sys",
        "var",
        "run",
        "root",
    ] {
        fs::create_dir_all(rootfs.join(dir))?;
    }
    for dir in ["tmp", "var/tmp"] {
        fs::create_dir_all(rootfs.join(dir))?;
        fs::set_permissions(rootfs.join(dir), fs::Permissions::from_mode(0o1777))?;
    }
    symlink("/run", rootfs.join("var/run"))?;
    for name in ["bin", "sbin", "lib", "lib64"] {
        if let Ok(target) = fs::read_link(Path::new("/").join(name)) {
            symlink(target, rootfs.join(name))?;
        }
    }
    let etc = rootfs.join("etc");
    for name in ["ld.so.cache", "services", "protocols"] {
        if Path::new("/etc").join(name).exists() {
            fs::copy(Path::new("/etc").join(name), etc.join(name))?;
        }
    }
    fs::write(
        etc.join("passwd"),
        "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/usr/sbin/nologin\nnonroot:x:65532:65532:nonroot:/:/usr/sbin/nologin\n",
    )?;
    fs::write(
        etc.join("group"),
        "root:x:0:\nnogroup:x:65534:\nnonroot:x:65532:\n",
    )?;
    fs::write(
        etc.join("nsswitch.conf"),
        "passwd: files\ngroup: files\nhosts: files\n",
    )?;
    // The lab has no DNS server: names of Services are in /etc/hosts.
    fs::write(etc.join("resolv.conf"), "options attempts:1 timeout:1\n")
}
