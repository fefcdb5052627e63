//! This machine's time, memory and free disk space.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Bytes in a mebibyte.
pub const MIB: u64 = 1024 * 1024;

/// Returns the time, in milliseconds since the Unix epoch.
pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

/// Returns MemAvailable or what the control group still allows, whichever is less, in bytes.
pub fn available_memory() -> Option<u64> {
    let info = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = info.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let machine = line.trim().trim_end_matches(" kB").parse::<u64>().ok()? * 1024;
    let read = |path: &str| std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let group = [
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ]
    .iter()
    .find_map(|(limit, used)| Some(read(limit)?.saturating_sub(read(used)?)));
    Some(group.map_or(machine, |group| machine.min(group)))
}

/// Returns a problem if fewer than the `need` bytes for `what` are free in `dir`.
pub fn lack_of_space(dir: &Path, need: u64, what: &str) -> Option<String> {
    let free = free_space(dir).filter(|free| *free < need)?;
    Some(format!("{} MiB are free in {}, {what} needs {} MiB", free / MIB, dir.display(), need / MIB))
}

/// Returns the free bytes in `dir`, or in its nearest existing parent.
pub fn free_space(dir: &Path) -> Option<u64> {
    let mut dir: PathBuf = dir.into();
    while !dir.exists() {
        dir = dir.parent()?.into();
    }
    let stat = rustix::fs::statvfs(&dir).ok()?;
    Some(stat.f_bavail * stat.f_frsize)
}

/// Whether another file system, or another folder, is mounted at `dir`. Unknown means no.
#[cfg(target_os = "linux")]
pub fn is_mount_point(dir: &Path) -> bool {
    use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};
    statx(CWD, dir, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::empty()).is_ok_and(|found| {
        let known = found.stx_attributes_mask.contains(StatxAttributes::MOUNT_ROOT);
        known && found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)
    })
}

/// Whether another file system is mounted at `dir`. Unknown means no.
#[cfg(not(target_os = "linux"))]
pub fn is_mount_point(dir: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let device = |dir: &Path| dir.symlink_metadata().map(|meta| meta.dev()).ok();
    dir.parent().is_some_and(|parent| device(parent) != device(dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_space_is_that_of_the_nearest_parent() {
        assert!(free_space(Path::new("/nonexistent/a/b")).is_some());
        assert!(available_memory().is_some_and(|bytes| bytes > 0));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_mount_point_is_known() {
        assert!(is_mount_point(Path::new("/proc")));
        assert!(!is_mount_point(Path::new("/proc/self")) && !is_mount_point(Path::new("/nonexistent")));
    }
}
