//! Image archives and their cache: [`from_engine`] packs an image of the engine for the nodes, [`from_program`] makes
//! an image of the clients' program.

pub mod from_engine;
pub mod from_program;
pub mod oci;
pub mod program;
pub mod tarball;

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::exec::Exec;
use crate::failure::{Exit, Failure, IoContext, Result};
use crate::files::own::open_own;
use crate::files::private_dir;
use crate::sha256::Hashing;
use crate::signal::Stop;
use tarball::Tarball;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Archives unused for longer than this are removed.
const KEPT: Duration = Duration::from_secs(30 * DAY.as_secs());

/// Everything needed to make an archive.
pub struct Packer<'a> {
    /// The project's folder in the cache.
    pub cache: &'a Path,
    /// Runs programs.
    pub exec: &'a dyn Exec,
    /// Where their output is logged.
    pub log: &'a Path,
    /// Whether to stop.
    pub stop: &'a Stop,
    /// How long each program may run.
    pub deadline: Duration,
    /// Receives the status of long operations.
    pub status: &'a dyn Fn(&str),
}

impl Packer<'_> {
    /// The cache folder for one kind of archive. None of the folders on the way may be a link or somebody else's.
    fn folder(&self, sort: &str) -> Result<PathBuf> {
        let images = self.cache.join("images");
        let folder = images.join(sort);
        for dir in [self.cache, &images, &folder] {
            private_dir(dir)?;
        }
        Ok(folder)
    }

    /// Turns failures caused by an interruption into [`Exit::Interrupted`].
    fn unless_interrupted<T>(&self, result: Result<T>) -> Result<T> {
        result.map_err(|failure| match failure.exit {
            Exit::Interrupted => failure,
            _ if self.stop.requested() => Failure::interrupted(),
            _ => failure,
        })
    }

    /// Writes a tar archive with the files that `add` adds. Returns its SHA-256 and size.
    fn tar(&self, path: &Path, add: impl FnOnce(&mut Tarball<Hashing<File>>) -> Result<()>) -> Result<(String, u64)> {
        let mut tarball = Tarball::new(Hashing::new(File::create(path).cannot("create", path)?));
        add(&mut tarball)?;
        Ok(tarball.finish().cannot("write", path)?.finish())
    }

    /// Adds a file under `name`.
    fn add(&self, tarball: &mut Tarball<Hashing<File>>, name: &str, mode: u32, file: &Path) -> Result<()> {
        let from = File::open(file).cannot("read", file)?;
        let size = from.metadata().cannot("read", file)?.len();
        tarball.file(name, mode, size, self.stop.reading(from)).cannot("pack", file)
    }

    /// Adds a text file under `name`.
    fn add_text(&self, tarball: &mut Tarball<Hashing<File>>, name: &str, text: &str) -> Result<()> {
        tarball.file(name, 0o644, text.len() as u64, text.as_bytes()).cannot("pack", Path::new(name))
    }
}

/// A folder for unfinished files, removed on drop.
struct Partial(PathBuf);

impl Partial {
    fn new(folder: &Path) -> Result<Self> {
        // Other steps and other processes pack at the same time.
        for number in 0.. {
            let path = folder.join(format!("partial.{}.{number}", std::process::id()));
            match fs::create_dir(&path) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                created => return created.cannot("create", &path).map(|()| Partial(path)),
            }
        }
        Err(Failure::step(format!("no free name for a folder in {}", folder.display())))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Marks a file of the cache as used just now; false if it is absent or empty. A lab's folder may link to it too.
fn touch(path: &Path) -> Result<bool> {
    let file = match open_own(path, File::options().append(true)) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        file => file.cannot("open", path)?,
    };
    file.set_modified(SystemTime::now()).cannot("date", path)?;
    Ok(file.metadata().cannot("read", path)?.len() > 0)
}

/// How long an entry of the cache is kept; `None` if its name is none that we give.
fn kept(name: &str) -> Option<Duration> {
    if name.starts_with("partial.") {
        return Some(DAY);
    }
    let (hash, extension) = name.split_once('.')?;
    let is_hash = hash.len() >= 12 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
    (is_hash && ["tar", "id"].contains(&extension)).then_some(KEPT)
}

/// Removes archives that are no longer used, and unfinished files of killed processes.
fn prune(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let Some(limit) = kept(&entry.file_name().to_string_lossy()) else { continue };
        let age = entry.metadata().and_then(|meta| meta.modified()).map(|modified| modified.elapsed());
        if !matches!(age, Ok(Ok(age)) if age > limit) {
            continue;
        }
        // Failing to remove one does no harm.
        let _ = fs::remove_file(entry.path()).or_else(|_| fs::remove_dir_all(entry.path()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A new folder; the test removes it.
    pub fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("kafka-lab-pack-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    /// A packer with its own cache.
    pub fn packer<'a>(cache: &'a Path, exec: &'a dyn Exec, stop: &'a Stop) -> Packer<'a> {
        Packer { cache, exec, log: Path::new("/dev/null"), stop, deadline: DAY, status: &|_| {} }
    }

    /// The names in a folder, in order.
    pub fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// The files of a tar archive, by name.
    pub fn files(archive: impl std::io::Read) -> std::collections::BTreeMap<String, Vec<u8>> {
        let mut archive = tar::Archive::new(archive);
        let entries = archive.entries().unwrap().map(|entry| {
            let (mut entry, mut bytes) = (entry.unwrap(), Vec::new());
            std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
            (entry.path().unwrap().display().to_string(), bytes)
        });
        entries.collect()
    }

    #[test]
    fn unfinished_files_are_removed() {
        let folder = folder("partial");
        let (first, second) = (Partial::new(&folder).unwrap(), Partial::new(&folder).unwrap());
        fs::create_dir(first.path("saved")).unwrap();
        fs::write(second.path("layer"), "x").unwrap();
        drop(first);
        assert!(second.path("layer").exists());
        drop(second);
        assert_eq!(names(&folder), Vec::<String>::new());
        assert!(Partial::new(&folder.join("nothing")).is_err());
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn archives_live_a_month_after_their_last_use_and_unfinished_ones_a_day() {
        let folder = folder("prune");
        let aged = |name: &str, days: u32| {
            let path = folder.join(name);
            if name.starts_with("partial") {
                fs::create_dir_all(path.join("saved")).unwrap();
            } else {
                fs::write(&path, "x").unwrap();
            }
            File::open(&path).unwrap().set_modified(SystemTime::now() - DAY * days).unwrap();
            path
        };
        let (new, old, used) = ("0123456789ab.tar", "123456789abc.id", "23456789abcd.tar");
        for (name, days) in [(new, 29), (old, 31), (used, 99), ("partial.1.0", 0), ("partial.1.1", 2), ("mine.tar", 99)]
        {
            aged(name, days);
        }
        assert!(touch(&folder.join(used)).unwrap() && !touch(&folder.join("absent")).unwrap());
        prune(&folder);
        assert_eq!(names(&folder), [new, used, "mine.tar", "partial.1.0"]);
        fs::remove_dir_all(&folder).unwrap();
    }
}
