//! Keeps a client's memory small, and allocates early what it will need.
#![cfg_attr(
    target_os = "linux",
    expect(unsafe_code, reason = "calls into the C library; every block says why it is sound")
)]

use std::hint::black_box;

/// Maximum heap to reserve, in bytes. Only consumers of very many partitions can need more.
const RESERVE_MAX: usize = 16 * 1024 * 1024;

/// Limits glibc's malloc. It would otherwise create an arena for each of librdkafka's threads and keep request and
/// response buffers of some hundred kilobytes in each. Memory taken by [`reserve`] is not returned to the system. Does
/// nothing with other C libraries.
pub fn settle_allocator() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        // SAFETY: only changes parameters of the allocator, before any thread starts. Rejected values change nothing.
        unsafe {
            libc::mallopt(libc::M_ARENA_MAX, 1);
            libc::mallopt(libc::M_MMAP_THRESHOLD, 128 * 1024);
            libc::mallopt(libc::M_TRIM_THRESHOLD, 2 * RESERVE_MAX as i32);
        }
    }
}

/// Grows the heap by `bytes`, up to 16 MiB, for later allocations. Memory that will certainly be needed is then not
/// requested when the machine may have none left, and any growth after that is unexpected growth.
pub fn reserve(bytes: usize) {
    // Below glibc's mmap threshold: larger blocks would be returned when freed.
    const PIECE: usize = 64 * 1024;
    let pieces: Vec<Vec<u8>> = (0..bytes.min(RESERVE_MAX) / PIECE).map(|_| vec![1; PIECE]).collect();
    drop(black_box(pieces));
}

/// Maps all pages of the program file now. Otherwise each page is mapped when its code first runs: often at the moment
/// when a broker dies, with a busy disk, and it looks like growing memory. Does nothing before Linux 5.14 and on other
/// systems.
pub fn map_program() {
    #[cfg(target_os = "linux")]
    {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
        let program = std::env::current_exe().unwrap_or_default();
        for (from, to) in mapped(&maps, &program) {
            // SAFETY: the kernel only makes readable pages present. It changes nothing in them and rejects unmapped
            // addresses.
            unsafe {
                libc::madvise(std::ptr::with_exposed_provenance_mut(from), to - from, libc::MADV_POPULATE_READ);
            }
        }
    }
}

/// The readable mappings of a file, from the lines of proc_pid_maps(5): `FROM-TO PERMISSIONS OFFSET DEVICE INODE PATH`.
#[cfg(target_os = "linux")]
fn mapped(maps: &str, file: &std::path::Path) -> Vec<(usize, usize)> {
    let number = |text: &str| usize::from_str_radix(text, 16).ok();
    let range = |line: &str| {
        let path = line.find('/').map(|at| &line[at..])?;
        let (range, rest) = line.split_once(' ')?;
        let (from, to) = range.split_once('-')?;
        (file == path && rest.starts_with('r')).then_some((number(from)?, number(to)?))
    };
    maps.lines().filter_map(range).collect()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
    use super::*;

    #[test]
    fn only_the_readable_parts_of_the_program_are_meant() {
        let maps = "\
55d0c8a00000-55d0c8b22000 r--p 00000000 fe:00 1180 /a dir/clients\n\
55d0c8b22000-55d0c8e80000 r-xp 00121000 fe:00 1180 /a dir/clients\n\
55d0c8e80000-55d0c8e81000 ---p 0047f000 fe:00 1180 /a dir/clients\n\
55d0ca000000-55d0ca021000 rw-p 00000000 00:00 0 [heap]\n\
7f1200000000-7f1200021000 r-xp 00000000 fe:00 77 /lib/libc.so.6\n";
        let expected = [(0x55d0_c8a0_0000, 0x55d0_c8b2_2000), (0x55d0_c8b2_2000, 0x55d0_c8e8_0000)];
        assert_eq!(mapped(maps, "/a dir/clients".as_ref()), expected);
    }

    #[test]
    fn all_of_the_program_is_mapped_afterwards() {
        map_program();
        let program = std::env::current_exe().unwrap();
        let code = format!("{} ", program.display());
        let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut lines =
            smaps.lines().skip_while(|line| !(line.contains(" r-xp ") && format!("{line} ").ends_with(&code)));
        let mut kib = |field| {
            let line = lines.find_map(|line| line.strip_prefix(field)).unwrap();
            line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap()
        };
        let (size, resident) = (kib("Size:"), kib("Rss:"));
        assert!(resident * 10 >= size * 9, "{resident} of {size} KiB");
    }
}
