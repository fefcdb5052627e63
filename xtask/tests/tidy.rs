//! Rules of the project that a compiler does not know.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test drives programs itself and fails by panicking"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

fn repo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// The sources of each crate.
const SOURCES: [&str; 7] =
    ["xtask/src", "bench/src", "observer/src", "page/src", "clients/src", "clients/ledger/src", "clients/schema/src"];

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
fn xtask_knows_neither_rdkafka_nor_those_who_do() {
    let manifest = std::fs::read_to_string(repo().join("xtask/Cargo.toml")).unwrap();
    for line in manifest.lines().filter(|line| !line.trim_start().starts_with('#')) {
        for name in ["rdkafka", "tokio", "clients", "bench", "observer", "page"] {
            assert!(!line.starts_with(name), "{line}");
        }
    }
}

#[test]
fn every_module_says_what_it_is_for() {
    let mut sources = Vec::new();
    for dir in SOURCES {
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
        ("indicatif::", "bars.rs"),
        ("duct::", "exec.rs"),
        ("hmac_sha256::", "sha256.rs"),
        ("use elf::", "program.rs"),
    ] {
        let users: Vec<&PathBuf> =
            sources.iter().filter(|path| std::fs::read_to_string(path).unwrap().contains(word)).collect();
        assert!(users.len() == 1 && users[0].ends_with(home), "{word} is used in {users:?}");
    }
}

const COMMANDS: [&str; 20] = [
    "up",
    "verify",
    "teardown",
    "status",
    "doctor",
    "completions",
    "logs",
    "clients",
    "drill",
    "render",
    "kubectl",
    "kafka",
    "kafka-topics",
    "zookeeper-shell",
    "record",
    "dashboard",
    "replay",
    "report",
    "bench",
    "test",
];

#[test]
fn the_readme_and_the_reference_tell_every_command_and_exit_code() {
    let readme = std::fs::read_to_string(repo().join("README.md")).unwrap();
    let reference = std::fs::read_to_string(repo().join("docs/reference.md")).unwrap();
    let help = Command::new(env!("CARGO_BIN_EXE_xtask")).arg("help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let listed: Vec<&str> = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next())
        .filter(|command| *command != "help")
        .collect();
    assert_eq!(BTreeSet::from(COMMANDS), listed.into_iter().collect());
    for command in COMMANDS {
        let example = format!("cargo xtask {command}");
        assert!(readme.contains(&example), "README.md does not show `{example}`");
        assert!(reference.contains(&format!("| `{command}")), "docs/reference.md does not tell `{command}`");
    }
    for code in [0, 1, 2, 3, 4, 5, 6, 7, 130] {
        assert!(reference.contains(&format!("| {code} |")), "docs/reference.md does not tell exit code {code}");
    }
}

/// Text in lines of at most 120 characters, those after the first indented by two.
fn wrapped(text: &str) -> String {
    let (mut lines, mut line) = (String::new(), String::new());
    for word in text.split_whitespace() {
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > 120 {
            lines += &format!("{line}\n");
            line = "  ".into();
        } else if !line.is_empty() {
            line.push(' ');
        }
        line += word;
    }
    lines + &line + "\n"
}

#[test]
fn the_page_of_modules_is_made_of_their_first_lines() {
    let mut page = String::from(
        "# Modules\n\nEvery source file and what it is for: its own first lines. [architecture.md](architecture.md) tells\nhow \
         they fit together. `UPDATE_EXPECT=1 cargo test -p xtask --test tidy` writes this page.\n",
    );
    for dir in SOURCES {
        let mut sources = Vec::new();
        files(&repo().join(dir), "rs", &mut sources);
        // A folder comes after the files beside it.
        sources.sort_by_key(|path| (path.parent().unwrap().to_path_buf(), path.clone()));
        let mut folder = PathBuf::new();
        for path in sources {
            let file = path.strip_prefix(repo()).unwrap();
            if file.parent().unwrap() != folder {
                folder = file.parent().unwrap().to_path_buf();
                page += &format!("\n## {}/\n\n", folder.display());
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let first: Vec<&str> = text.lines().map_while(|line| line.strip_prefix("//! ")).collect();
            // Links lead nowhere outside rustdoc.
            let first = first.join(" ").replace("[`", "`").replace("`]", "`");
            page += &wrapped(&format!("- `{}`: {first}", file.file_name().unwrap().display()));
        }
    }
    expect_test::expect_file!["../../docs/modules.md"].assert_eq(&page);
}

/// README.md and the pages of docs/, each by its path and its text.
fn pages() -> Vec<(PathBuf, String)> {
    let mut pages = vec![repo().join("README.md")];
    files(&repo().join("docs"), "md", &mut pages);
    assert!(pages.len() > 5, "{pages:?}");
    pages.into_iter().map(|page| (page.clone(), std::fs::read_to_string(page).unwrap())).collect()
}

/// The lines outside code fences, with their numbers.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    text.lines().enumerate().map(|(at, line)| (at + 1, line)).filter(move |(_, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

#[test]
fn the_readme_is_short_and_no_line_of_prose_is_long() {
    for (page, text) in pages() {
        for (at, line) in prose(&text).filter(|(_, line)| !line.starts_with('|') && !line.contains("://")) {
            let length = line.chars().count();
            assert!(length <= 120, "{}:{at} has {length} characters", page.display());
        }
        if page.ends_with("README.md") {
            let lines = text.lines().count();
            assert!(lines <= 150, "README.md has {lines} lines; move details to a page of docs/");
        }
    }
}

/// The files of the repository, as git lists them.
fn tracked() -> Vec<PathBuf> {
    let output = Command::new("git").args(["ls-files", "-z"]).current_dir(repo()).output().unwrap();
    assert!(output.status.success(), "git ls-files: {}", String::from_utf8_lossy(&output.stderr));
    let names = String::from_utf8(output.stdout).unwrap();
    names.split_terminator('\0').map(|name| repo().join(name)).filter(|path| path.is_file()).collect()
}

#[test]
fn no_line_of_a_comment_is_long() {
    let mut seen = 0;
    for path in tracked() {
        // What is no text has no comments.
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        let name = path.file_name().unwrap().to_string_lossy();
        let marks: &[&str] = match path.extension().and_then(|extension| extension.to_str()) {
            Some("rs" | "go" | "java") => &["//", "/*", " *"],
            Some("yml" | "toml") => &["#"],
            None if text.starts_with("#!") || name == "Dockerfile" => &["#"],
            _ => continue,
        };
        for (at, line) in text.lines().enumerate() {
            let comment = marks.iter().any(|mark| line.trim_start().starts_with(mark.trim_start()));
            // A table and an address cannot be wrapped.
            let whole = line.contains("| ") || line.contains("://");
            seen += usize::from(comment);
            let length = line.chars().count();
            assert!(!comment || whole || length <= 120, "{}:{} has {length} characters", path.display(), at + 1);
        }
    }
    assert!(seen > 1000, "only {seen} comments were found");
}

/// The name by which a link finds a heading: lower case, without punctuation, with dashes for spaces.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

#[test]
fn every_relative_link_leads_somewhere() {
    let mut seen = 0;
    for (page, text) in pages() {
        for (at, line) in prose(&text) {
            let targets = line.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target);
            for target in targets.filter(|target| !target.contains("://")) {
                let (path, heading) = target.split_once('#').unwrap_or((target, ""));
                let file = if path.is_empty() { page.clone() } else { page.parent().unwrap().join(path) };
                assert!(file.is_file(), "{}:{at} links to {target}, which is not there", page.display());
                if !heading.is_empty() {
                    let linked = std::fs::read_to_string(&file).unwrap();
                    let found = prose(&linked)
                        .any(|(_, line)| line.starts_with('#') && anchor(line.trim_start_matches('#')) == heading);
                    assert!(found, "{}:{at} links to {target}, and no heading is called so", page.display());
                }
                seen += 1;
            }
        }
    }
    assert!(seen > 20, "only {seen} links were found");
}

#[test]
fn the_readme_leads_to_every_page() {
    let (_, readme) = pages().swap_remove(0);
    for (page, _) in pages().into_iter().skip(1) {
        let path = page.strip_prefix(repo()).unwrap().display().to_string();
        assert!(readme.contains(&format!("]({path})")), "README.md does not link {path}");
    }
}

#[test]
fn every_behaviour_has_a_test_that_exists() {
    let text = std::fs::read_to_string(repo().join("docs/behaviour.md")).unwrap();
    let rows: Vec<&str> = text.lines().filter(|line| line.starts_with("| ")).skip(2).collect();
    assert_eq!(rows.len(), 20);
    let folder = repo().join("xtask/tests/it");
    for row in rows {
        let tests: Vec<&str> = row.split('`').skip(1).step_by(2).filter(|code| code.contains("::")).collect();
        assert!(!tests.is_empty(), "no test: {row}");
        for test in tests {
            // A test is in the file of its module, or in that of a module around it.
            let parts: Vec<&str> = test.split("::").collect();
            let (name, modules) = parts.split_last().unwrap();
            let files = (1..=modules.len()).map(|depth| folder.join(modules[..depth].join("/")).with_extension("rs"));
            let declared = format!("#[test]\nfn {name}()");
            let is_there =
                |file: PathBuf| std::fs::read_to_string(file).is_ok_and(|text| unindented(&text).contains(&declared));
            assert!(files.into_iter().any(is_there), "{test} does not exist: {row}");
        }
    }
}

fn unindented(text: &str) -> String {
    text.lines().map(|line| format!("{}\n", line.trim_start())).collect()
}

/// A source without comments, tests and what only the documentation needs: everything that rustfmt puts under such an
/// attribute at the margin.
fn code(text: &str) -> String {
    let mut lines = text.lines();
    let mut code = String::new();
    while let Some(line) = lines.next() {
        if line == "#[cfg(test)]" || line == "#[cfg(doc)]" {
            if lines.next().is_some_and(|item| item.ends_with('{')) {
                lines.by_ref().take_while(|line| *line != "}").for_each(drop);
            }
        } else if !line.trim_start().starts_with("//") {
            code += &format!("{line}\n");
        }
    }
    code
}

/// The paths that a `use` or an expression spells from here on, as segments: `a::{b, c::d}` is two.
fn paths(text: &str, before: &[String], found: &mut Vec<Vec<String>>) -> usize {
    let mut path = before.to_vec();
    let mut at = 0;
    loop {
        let rest = &text[at..];
        let word = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        if word > 0 {
            path.push(rest[..word].to_string());
            at += word;
        } else if rest.starts_with('{') {
            at += 1;
            while !text[at..].starts_with('}') {
                at += text[at..].find(|c: char| !c.is_whitespace() && c != ',').unwrap_or(0);
                if !text[at..].starts_with('}') {
                    at += paths(&text[at..], &path, found).max(1);
                }
            }
            return at + 1;
        }
        if !text[at..].starts_with("::") {
            found.push(path);
            return at;
        }
        at += 2;
    }
}

/// Which modules of a crate each of its modules uses, from its `crate::`, `super::` and `self::` paths.
fn imports(root: &Path) -> BTreeMap<String, BTreeSet<String>> {
    let mut sources = Vec::new();
    files(root, "rs", &mut sources);
    let lib = sources.iter().any(|path| path.ends_with("lib.rs"));
    let name = |path: &PathBuf| -> Option<String> {
        let name = path.strip_prefix(root).unwrap().with_extension("").to_string_lossy().replace('/', "::");
        match name.as_str() {
            "main" if lib => None,
            "lib" | "main" => Some(String::new()),
            _ => Some(name),
        }
    };
    let modules: BTreeMap<String, &PathBuf> = sources.iter().filter_map(|path| Some((name(path)?, path))).collect();
    let of = |(module, path): (&String, &&PathBuf)| {
        let code = code(&std::fs::read_to_string(path).unwrap());
        let mut found = Vec::new();
        for start in ["crate::", "super::", "self::"] {
            for (at, _) in code.match_indices(start) {
                let word = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
                if !code[..at].ends_with(word) {
                    let line = code[..at].rsplit('\n').next().unwrap();
                    // The parent of a module within the file is the file.
                    let inner = start == "super::" && line.trim() == "use" && line.starts_with(' ');
                    paths(&code[at + if inner { start.len() } else { 0 }..], &[], &mut found);
                }
            }
        }
        let used = found.into_iter().map(|path| {
            let mut here: Vec<&str> = module.split("::").filter(|part| !part.is_empty()).collect();
            for part in &path {
                match part.as_str() {
                    "crate" => here.clear(),
                    "super" => drop(here.pop()),
                    "self" => {}
                    name => here.push(name),
                }
            }
            while !modules.contains_key(&here.join("::")) {
                here.pop();
            }
            here.join("::")
        });
        (module.clone(), used.filter(|used| used != module).collect())
    };
    modules.iter().map(of).collect()
}

#[test]
fn imports_go_in_no_circle() {
    for dir in ["bench/src", "observer/src", "page/src", "clients/src", "clients/ledger/src", "xtask/src"] {
        let mut left = imports(&repo().join(dir));
        assert!(left.values().any(|used| !used.is_empty()), "{dir}: no imports found");
        // What uses none of those that are left is in no circle.
        while let Some(done) = left.iter().find(|(_, used)| used.is_empty()).map(|(module, _)| module.clone()) {
            left.remove(&done);
            left.values_mut().for_each(|used| used.retain(|module| *module != done));
        }
        assert!(left.is_empty(), "{dir}: a circle is among {left:#?}");
    }
}

/// The sources of xtask by their paths, without comments and tests.
fn sources_of_xtask() -> Vec<(String, String)> {
    let (root, mut sources) = (repo().join("xtask/src"), Vec::new());
    files(&root, "rs", &mut sources);
    let relative = |path: &Path| path.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
    sources.iter().map(|path| (relative(path), code(&std::fs::read_to_string(path).unwrap()))).collect()
}

#[test]
fn few_files_know_the_backends_apart() {
    let home = |file: &str| ["local/", "kind/", "k8s/"].iter().any(|folder| file.starts_with(folder));
    let names = |code: &str| code.match_indices("Backend::").any(|(at, _)| !code[at..].starts_with("Backend::ALL"));
    let all = sources_of_xtask();
    let files: Vec<&String> = all
        .iter()
        .filter(|(file, code)| !home(file) && file != "plan.rs" && names(code))
        .map(|(file, _)| file)
        .collect();
    assert!(files.len() > 1 && files.len() <= 6, "these know a backend, and others ask its driver: {files:?}");
}

#[test]
fn nothing_below_the_choice_of_a_backend_knows_the_choice() {
    for (file, code) in sources_of_xtask() {
        let above = ["main.rs", "drivers.rs", "commands/", "fuzz.rs"].iter().any(|above| file.starts_with(above));
        assert!(above || !code.contains("drivers::"), "{file} uses drivers.rs; it has `ctx.driver`");
        let k8s = file.starts_with("k8s/");
        assert!(!k8s || !["docker", "kind::"].iter().any(|word| code.contains(word)), "{file} knows Docker or kind");
    }
}

#[test]
fn few_files_know_who_coordinates() {
    let home = |file: &str| file.starts_with("coordination");
    // The fuzzer and the test of the manifests are tests as a whole.
    let tests = ["fuzz.rs", "config/restricted.rs"];
    let all = sources_of_xtask();
    let naming = |coordinators: &[&str]| -> Vec<&String> {
        let names = |code: &str| coordinators.iter().any(|name| code.to_lowercase().contains(name));
        let files = all.iter().filter(|(file, code)| !home(file) && !tests.contains(&&**file) && names(code));
        files.map(|(file, _)| file).collect()
    };
    for (coordinators, most) in [(&["zookeeper"][..], 10), (&["zookeeper", "kraft"], 16)] {
        let files = naming(coordinators);
        let said = format!("these name {}, and others ask coordination.rs: {files:?}", coordinators.join(" or "));
        assert!(files.len() > 1 && files.len() <= most, "{} files, at most {most}: {said}", files.len());
    }
}

#[test]
fn every_schema_is_declared_once() {
    let mut sources = Vec::new();
    for dir in SOURCES {
        files(&repo().join(dir), "rs", &mut sources);
    }
    let mut declared: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    // What the fuzzer mangles are whole lines.
    for path in sources.into_iter().filter(|path| !path.ends_with("xtask/src/fuzz.rs")) {
        let code = code(&std::fs::read_to_string(&path).unwrap());
        for (at, mark) in code.match_indices("\"kafka-lab.") {
            let name = code[at + mark.len()..].split('"').next().unwrap();
            if name.split_once('/').is_some_and(|(_, version)| version.parse::<u32>().is_ok()) {
                declared.entry(name.to_string()).or_default().push(path.clone());
            }
        }
    }
    assert!(declared.len() >= 13, "{declared:#?}");
    for (name, places) in declared {
        assert!(places.len() == 1, "kafka-lab.{name} is declared in {places:?}");
    }
}

#[test]
fn shellcheck_accepts_every_shell_script() {
    let git = Command::new("git").args(["ls-files", "-z"]).current_dir(repo()).output().unwrap();
    let files = String::from_utf8(git.stdout).unwrap();
    let is_script = |file: &&str| {
        let first = std::fs::read(repo().join(file)).unwrap_or_default();
        let first = String::from_utf8_lossy(first.split(|byte| *byte == b'\n').next().unwrap_or_default()).into_owned();
        first.starts_with("#!") && first.ends_with("sh")
    };
    let scripts: Vec<&str> = files.split('\0').filter(|file| !file.is_empty()).filter(is_script).collect();
    assert!(scripts.contains(&".ci/run") && scripts.len() > 5, "{scripts:?}");
    let check = ["--external-sources", "--severity=style"];
    match Command::new("shellcheck").args(check).args(&scripts).current_dir(repo()).output() {
        Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout)),
        // `cargo xtask test` reports the check as skipped, and `--fix` installs the program.
        Err(error) => eprintln!("skipped: cannot run shellcheck: {error}"),
    }
}
