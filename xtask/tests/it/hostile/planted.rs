//! Links, hard links, other people's folders and files where the lab's own belong: nothing of them changes.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Planted, soon};

#[test]
fn a_folder_with_a_file_that_is_called_like_our_record_is_theirs() {
    for text in [r#"{"my": "notes"}"#, "notes", ""] {
        let lab = Planted::new("namesake");
        fs::create_dir_all(lab.file("photos")).unwrap();
        fs::write(lab.file("lab.json"), text).unwrap();
        fs::write(lab.file("photos/one"), "precious").unwrap();
        let ran = soon(&mut lab.command(&["teardown"]));
        assert!(ran.code != 0 && ran.stderr.contains("photos"), "{ran:?}");
        assert_eq!(fs::read_to_string(lab.file("photos/one")).unwrap(), "precious", "{ran:?}");
    }
}

/// Names, contents, modes, owners and times of everything below a folder.
fn snapshot(dir: &Path, found: &mut BTreeMap<PathBuf, String>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let meta = path.symlink_metadata().unwrap();
        let text = if meta.is_file() { fs::read_to_string(&path).unwrap() } else { String::new() };
        let (mode, owner, time) = (meta.permissions().mode(), meta.uid(), (meta.mtime(), meta.mtime_nsec()));
        found.insert(path.clone(), format!("{mode:o} {owner} {time:?} {text}"));
        if meta.is_dir() {
            snapshot(&path, found);
        }
    }
}

/// What somebody did before the lab's command is run. Paths are relative to a folder that has `theirs/` with precious
/// files, `state/` as XDG_STATE_HOME's `kafka-lab/` and `cache/`.
enum Planting {
    /// A link at the first path to the second.
    Link(&'static str, &'static str),
    /// Likewise, a hard link.
    Hard(&'static str, &'static str),
    /// Their files in a folder where the lab keeps its own.
    Copy(&'static str),
    /// The path belongs to another user.
    Owner(&'static str),
    /// Their folder is mounted in one of the lab's.
    Mount(&'static str),
}

use Planting::{Copy, Hard, Link, Mount, Owner};

const LAB: &str = "kafka-lab/lab";

const PLANTINGS: &[Planting] = &[
    Link("kafka-lab", "theirs"),
    Link("kafka-lab/lab", "theirs"),
    Link("kafka-lab/lab/kafka-0", "theirs"),
    Link("kafka-lab/lab/logs", "theirs"),
    Link("kafka-lab/lab/logs/steps", "theirs"),
    Link("kafka-lab/lab/kafka-0/data", "theirs"),
    Link("kafka-lab/lab/diagnostics", "theirs"),
    Link("kafka-lab/lab/kubeconfig", "theirs/file"),
    Link("kafka-lab/lab/drill", "theirs/file"),
    Link("kafka-lab/lab/lab.json", "theirs/file"),
    Link("kafka-lab/lab/lab.json.partial", "theirs/file"),
    Link("kafka-lab/lab.lock", "theirs/file"),
    Link("kafka-lab/lab.failed", "theirs"),
    Link("cache/kafka-lab", "theirs"),
    Link("cache/kafka-lab/class-data", "theirs"),
    Link("cache/kafka-lab/images", "theirs"),
    Link("cache/kafka-lab/lock", "theirs/file"),
    Link("cache/kafka-lab/kafka-1.2.3", "theirs/kafka-notes"),
    Hard("kafka-lab/lab/lab.json", "theirs/file"),
    Hard("kafka-lab/lab.lock", "theirs/file"),
    Hard("kafka-lab/lab/kafka-0/process.json", "theirs/file"),
    Hard("kafka-lab/lab/lab.json.partial", "theirs/file"),
    Copy("cache/kafka-lab/kafka-notes"),
    Copy("cache/kafka-lab/notes"),
    Copy("kafka-lab/notes"),
    Copy("kafka-lab/lab.failed"),
    Copy("kafka-lab/lab/photos"),
    Mount("kafka-lab/lab/logs/mounted"),
    Mount("kafka-lab/lab.failed/logs"),
    Mount("cache/kafka-lab/class-data"),
    Owner("kafka-lab/lab/lab.json"),
    Owner("kafka-lab/lab.lock"),
    Owner("cache/kafka-lab"),
];

impl Planting {
    /// Does it; `false` if that needs another user's rights. Returns the folders to watch.
    fn plant(&self, root: &Path) -> Option<Vec<PathBuf>> {
        let theirs = root.join("theirs");
        let clear = |at: &str| {
            let at = root.join(at);
            fs::create_dir_all(at.parent().unwrap()).unwrap();
            let _ = fs::remove_file(&at).or_else(|_| fs::remove_dir_all(&at));
            at
        };
        match self {
            Link(at, to) => symlink(root.join(to), clear(at)).unwrap(),
            Hard(at, to) => fs::hard_link(root.join(to), clear(at)).unwrap(),
            Copy(at) => {
                let at = clear(at);
                fs::create_dir(&at).unwrap();
                fs::write(at.join("file"), "precious").unwrap();
                return Some(vec![theirs, at]);
            }
            Mount(at) => {
                let at = root.join(at);
                fs::create_dir_all(&at).unwrap();
                let mounted = Command::new("mount").arg("--bind").arg(&theirs).arg(&at).output().ok()?;
                return mounted.status.success().then(|| vec![theirs, at]);
            }
            Owner(at) => {
                let at = root.join(at);
                fs::create_dir_all(at.parent().unwrap()).unwrap();
                if !at.exists() && at.ends_with("cache/kafka-lab") {
                    fs::create_dir_all(at.join("class-data")).unwrap();
                } else if !at.exists() {
                    fs::write(&at, "precious").unwrap();
                }
                chown(&at, Some(65534), Some(65534)).ok()?;
                // A folder's own files tell whether it was touched; a file's folder does.
                let watched = if at.is_dir() { at } else { theirs.clone() };
                return Some(vec![theirs, watched]);
            }
        }
        Some(vec![theirs])
    }

    fn name(&self) -> String {
        match self {
            Link(at, to) => format!("{at} is a link to {to}"),
            Hard(at, to) => format!("{at} is a hard link to {to}"),
            Copy(at) => format!("{at} is theirs"),
            Owner(at) => format!("{at} belongs to another user"),
            Mount(at) => format!("their folder is mounted at {at}"),
        }
    }
}

#[test]
fn nothing_that_somebody_planted_changes_by_a_byte() {
    let (mut planted, mut runs) = (0, 0);
    for planting in PLANTINGS {
        for args in [
            &["status"][..],
            &["clients", "scale", "consumer", "2"],
            &["up", "--dry-run"],
            &["teardown"],
            &["teardown", "--purge"],
        ] {
            let lab = Planted::new("planted");
            let root = &lab.state.0;
            fs::create_dir_all(root.join("theirs/kafka-notes")).unwrap();
            fs::create_dir_all(root.join("theirs/class-data")).unwrap();
            fs::create_dir_all(root.join(LAB).join("logs")).unwrap();
            for file in ["file", "lab.json", "lock", "kafka-notes/kafka-clients.jar", "class-data/kafka.jsa"] {
                fs::write(root.join("theirs").join(file), "precious").unwrap();
            }
            let Some(watched) = planting.plant(root) else {
                eprintln!("left out: {}: only root can do that", planting.name());
                break;
            };
            let look = || {
                let mut found = BTreeMap::new();
                watched.iter().for_each(|dir| snapshot(dir, &mut found));
                found
            };
            let before = look();
            let ran = soon(&mut lab.command(args));
            let after = look();
            if let Mount(at) = planting {
                assert!(Command::new("umount").arg(root.join(at)).status().unwrap().success());
            }
            assert_eq!(after, before, "{}, {args:?}: {ran:?}", planting.name());
            runs += 1;
        }
        planted += 1;
    }
    eprintln!("{planted} plantings, {runs} commands: nothing changed");
}
