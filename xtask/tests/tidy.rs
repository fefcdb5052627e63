//! Rules of the project that a compiler does not know.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test drives programs itself and fails by panicking"
)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

fn repo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

fn files(dir: &Path, extension: &str, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files(&path, extension, found);
        } else if path.extension().is_some_and(|ext| ext == extension) {
            found.push(path);
        }
    }
}

#[test]
fn xtask_stays_light() {
    let output = Command::new(option_env!("CARGO").unwrap_or("cargo"))
        .args([
            "tree",
            "--package",
            "xtask",
            "--edges",
            "normal,build",
            "--prefix",
            "none",
            "--locked",
            "--format",
            "{p}",
        ])
        .current_dir(repo())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).unwrap();
    let crates: BTreeSet<&str> =
        tree.lines().filter_map(|line| line.split(' ').next()).filter(|name| !name.is_empty()).collect();
    assert!(crates.contains("xshell") && crates.contains("duct"), "{crates:?}");
    for heavy in ["rdkafka", "rdkafka-sys", "tokio", "kube", "hyper", "reqwest", "openssl-sys", "ring", "cmake"] {
        assert!(!crates.contains(heavy), "{heavy} is in xtask's tree; what is heavy is a crate of its own");
    }
    assert!(crates.len() <= 70, "{} crates: {crates:?}", crates.len());
}

#[test]
fn only_the_clients_know_rdkafka_and_tokio() {
    let manifest = std::fs::read_to_string(repo().join("xtask/Cargo.toml")).unwrap();
    for line in manifest.lines().filter(|line| !line.trim_start().starts_with('#')) {
        for name in ["rdkafka", "tokio", "clients"] {
            assert!(!line.starts_with(name), "{line}");
        }
    }
}

#[test]
fn every_module_says_what_it_is_for() {
    let mut sources = Vec::new();
    for dir in ["xtask/src", "clients/src", "clients/ledger/src"] {
        files(&repo().join(dir), "rs", &mut sources);
    }
    assert!(sources.len() > 30);
    for path in sources {
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("//! "), "{} does not begin with its purpose", path.display());
    }
}

#[test]
fn one_module_each_for_yaml_and_bars() {
    let mut sources = Vec::new();
    files(&repo().join("xtask/src"), "rs", &mut sources);
    for (word, home) in [
        ("serde_yaml::", "yaml.rs"),
        ("indicatif::", "progress.rs"),
        ("duct::", "exec.rs"),
        ("hmac_sha256::", "sha256.rs"),
        ("use elf::", "program.rs"),
    ] {
        let users: Vec<&PathBuf> =
            sources.iter().filter(|path| std::fs::read_to_string(path).unwrap().contains(word)).collect();
        assert!(users.len() == 1 && users[0].ends_with(home), "{word} is used in {users:?}");
    }
}

#[test]
fn the_readme_tells_every_command_and_exit_code() {
    let readme = std::fs::read_to_string(repo().join("README.md")).unwrap();
    for command in ["up", "verify", "teardown", "status", "logs", "clients", "kafka-topics", "zookeeper-shell", "test"]
    {
        assert!(readme.contains(&format!("`{command}")), "README.md does not tell `{command}`");
    }
    for code in [0, 1, 2, 3, 4, 5, 6, 7, 130] {
        assert!(readme.contains(&format!("| {code} |")), "README.md does not tell exit code {code}");
    }
}

#[test]
fn the_map_names_every_module() {
    let map = std::fs::read_to_string(repo().join("docs/architecture.md")).unwrap();
    let mut sources = Vec::new();
    for dir in ["xtask/src", "clients/src", "clients/ledger/src"] {
        files(&repo().join(dir), "rs", &mut sources);
    }
    for path in sources {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        assert!(map.contains(&name), "docs/architecture.md does not name {}", path.display());
    }
}
