//! The lab's own files, opened as what they must be.

use std::fs::{File, Metadata, OpenOptions, Permissions, TryLockError};
use std::io::{Error, ErrorKind, Read, Result, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rustix::fs::OFlags;

/// The largest of the lab's own files that is read whole, in bytes: a state file has 8 MiB at most.
pub const READ_MAX: u64 = 64 * 1024 * 1024;

/// Opens one of the lab's own files. It must be a regular file of this user: a planted link is not followed, and a pipe
/// does not block.
///
/// # Errors
/// It is absent, is something else, or cannot be opened.
pub fn open_own(path: &Path, options: &mut OpenOptions) -> Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let opened = options.mode(0o600).custom_flags(flags.bits().cast_signed()).open(path);
    let file = match opened {
        // The kernel says "too many levels of symbolic links".
        Err(_) if path.is_symlink() => return Err(Error::other("it is a symbolic link")),
        opened => named(opened)?,
    };
    let meta = file.metadata()?;
    match alien(&meta) {
        None if meta.is_file() => Ok(file),
        None => Err(Error::other("it is not a regular file")),
        Some(why) => Err(Error::other(why)),
    }
}

/// Opens a file of the user's to read it. It may be a link, but must be a regular file: a pipe does not block.
///
/// # Errors
/// It is absent, is something else, or cannot be opened.
pub fn open_regular(path: &Path) -> Result<File> {
    open_regular_with(path, OpenOptions::new().read(true))
}

/// As [`open_regular`], in another way than to read it.
///
/// # Errors
/// As [`open_regular`].
pub fn open_regular_with(path: &Path, options: &mut OpenOptions) -> Result<File> {
    let file = named(options.custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path))?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(Error::other("it is not a regular file")),
    }
}

/// Names what the system answers for a socket, or for a pipe without a reader.
fn named(opened: Result<File>) -> Result<File> {
    opened.map_err(|error| match error.raw_os_error() == Some(rustix::io::Errno::NXIO.raw_os_error()) {
        true => Error::other("it is not a regular file"),
        false => error,
    })
}

/// Opens one of the lab's own files to write; creates it if it is absent.
///
/// # Errors
/// As [`open_own`], or it has another name, through which somebody else's file would change.
pub fn open_to_write(path: &Path, options: &mut OpenOptions) -> Result<File> {
    let file = open_own(path, options.create(true))?;
    match file.metadata()?.nlink() {
        0 | 1 => Ok(file),
        _ => Err(Error::other("it has another name, as a hard link")),
    }
}

/// Why something that is there was not made by this user.
pub fn alien(meta: &Metadata) -> Option<&'static str> {
    (meta.uid() != rustix::process::geteuid().as_raw()).then_some("it belongs to another user")
}

/// Reads one of the lab's own files; `None` if it is absent.
///
/// # Errors
/// As [`open_own`], or it is larger than [`READ_MAX`].
pub fn read_own(path: &Path) -> Result<Option<Vec<u8>>> {
    let file = match open_own(path, OpenOptions::new().read(true)) {
        Err(error) if [ErrorKind::NotFound, ErrorKind::NotADirectory].contains(&error.kind()) => return Ok(None),
        file => file?,
    };
    let mut bytes = Vec::new();
    file.take(READ_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > READ_MAX {
        return Err(Error::other(format!("it is larger than {} MiB", READ_MAX >> 20)));
    }
    Ok(Some(bytes))
}

/// Reads one of the lab's own files as text; `None` if it is absent.
///
/// # Errors
/// As [`read_own`], or it is not UTF-8.
pub fn read_own_text(path: &Path) -> Result<Option<String>> {
    let text = read_own(path)?.map(String::from_utf8).transpose();
    text.map_err(|_| Error::other("it is not text"))
}

/// Reads one of the lab's own files, such as a log, replacing what is not UTF-8; empty if it cannot be read.
pub fn read_lossy(path: &Path) -> String {
    let bytes = read_own(path).ok().flatten().unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Opens one of the lab's own files to add to its end; creates it if it is absent.
///
/// # Errors
/// As [`open_own`].
pub fn append_own(path: &Path) -> Result<File> {
    // Where a step has no log.
    if path == Path::new("/dev/null") {
        return OpenOptions::new().append(true).open(path);
    }
    open_to_write(path, OpenOptions::new().append(true))
}

/// Opens one of the lab's own files to write it anew; creates it if it is absent.
///
/// # Errors
/// As [`open_own`].
pub fn create_own(path: &Path) -> Result<File> {
    let file = open_to_write(path, OpenOptions::new().truncate(false).read(true).write(true))?;
    // Only now is it known to be ours.
    file.set_len(0)?;
    // One that an earlier command left behind keeps its mode.
    file.set_permissions(Permissions::from_mode(0o600))?;
    Ok(file)
}

/// Locks one of the lab's own files (flock(2)), which is created if it is absent. `None` if somebody else has it, or
/// removed it meanwhile.
///
/// # Errors
/// As [`open_own`].
pub fn try_lock_own(path: &Path) -> Result<Option<File>> {
    let file = create_own(path)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    let is_same =
        std::fs::metadata(path).is_ok_and(|there| file.metadata().is_ok_and(|ours| ours.ino() == there.ino()));
    Ok(is_same.then_some(file))
}

/// Writes one of the lab's own files anew.
///
/// # Errors
/// As [`open_own`], or the disk is full.
pub fn write_own(path: &Path, text: &[u8]) -> Result<()> {
    create_own(path)?.write_all(text)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn only_a_regular_file_with_one_name_is_the_labs_own() {
        let dir = std::env::temp_dir().join(format!("kafka-lab-own-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let (file, link, hard, pipe) = (dir.join("file"), dir.join("link"), dir.join("hard"), dir.join("pipe"));
        write_own(&file, b"precious").unwrap();
        symlink(&file, &link).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RWXU).unwrap();
        for (path, why) in [(&link, "a symbolic link"), (&pipe, "not a regular file")] {
            for error in [read_own(path).err(), append_own(path).err(), write_own(path, b"x").err()] {
                assert!(error.unwrap().to_string().contains(why), "{}", path.display());
            }
        }
        assert_eq!(read_own_text(&file).unwrap().as_deref(), Some("precious"));
        std::fs::hard_link(&file, &hard).unwrap();
        assert!(write_own(&hard, b"x").unwrap_err().to_string().contains("hard link"));
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");
        assert!(read_own(&dir.join("absent")).unwrap().is_none());
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
