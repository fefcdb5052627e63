//! The environment of every program that we start: only the listed variables of the caller are inherited. `COUNT`,
//! `TOPIC` or `CLASSPATH` in the caller's shell must not reach a client or a broker, nor options for every JVM.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use crate::config::is_program;

/// The purpose of a program. It decides which of the caller's variables the program inherits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Purpose {
    /// Part of the lab: ZooKeeper, brokers, clients, Kafka's tools, kubectl, git.
    #[default]
    Lab,
    /// Talks to a container engine: docker, kind.
    Engine,
    /// Downloads or builds: mvn, cargo, go, apt-get, and the image recipes, which also talk to an engine.
    Build,
}

/// For every program: where programs and the user's files are, and the time zone. `*` matches any characters.
const ALL: &[&str] = &[
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "TZ",
    "TMPDIR",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "XDG_RUNTIME_DIR",
];

/// Fixed for all, because we parse what programs print. UTF-8, because a JVM before 18 otherwise cannot open paths with
/// non-ASCII characters. kubectl 1.33 and newer: no flags and aliases from the user's `~/.kube/kuberc`, which may make
/// `delete` ask before it deletes.
const FIXED: &[(&str, &str)] = &[("LC_ALL", "C.UTF-8"), ("LANG", "C.UTF-8"), ("KUBERC", "off")];

/// For programs that use the network: proxies and certificates.
const NETWORK: &[&str] = &[
    "http_proxy",
    "https_proxy",
    "ftp_proxy",
    "all_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "FTP_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "NIX_SSL_CERT_FILE",
    "CURL_CA_BUNDLE",
    // Engines and git repositories may be reached through SSH.
    "SSH_AUTH_SOCK",
];

/// For docker and kind: which engine to use. On WSL, its credential helper may be a Windows program.
const ENGINE: &[&str] = &[
    "DOCKER_HOST",
    "DOCKER_CONTEXT",
    "DOCKER_CONFIG",
    "DOCKER_CERT_PATH",
    "DOCKER_TLS",
    "DOCKER_TLS_VERIFY",
    "DOCKER_API_VERSION",
    "WSL_INTEROP",
    "WSL_DISTRO_NAME",
];

/// For builds: where sources come from, where downloads are cached, which compilers to use. Nothing that changes the
/// product or its location, such as RUSTFLAGS, CARGO_BUILD_TARGET or GOOS.
const BUILD: &[&str] = &[
    // Cargo and rustup.
    "CARGO_HOME",
    "CARGO_TARGET_DIR",
    "CARGO_TARGET_*_LINKER",
    "CARGO_BUILD_JOBS",
    "CARGO_INCREMENTAL",
    "CARGO_NET_*",
    "CARGO_HTTP_*",
    "CARGO_REGISTRIES_*",
    "CARGO_REGISTRY_*",
    "CARGO_SOURCE_*",
    "RUSTUP_*",
    "RUST_BACKTRACE",
    "GIT_SSH",
    "GIT_SSH_COMMAND",
    "GIT_SSL_CAINFO",
    // librdkafka's compilers.
    "CC",
    "CXX",
    "AR",
    "RANLIB",
    "CFLAGS",
    "CXXFLAGS",
    "CPPFLAGS",
    "LDFLAGS",
    "CPATH",
    "C_INCLUDE_PATH",
    "CPLUS_INCLUDE_PATH",
    "LIBRARY_PATH",
    "LD_LIBRARY_PATH",
    "PKG_CONFIG_PATH",
    "DEVELOPER_DIR",
    "SDKROOT",
    "MACOSX_DEPLOYMENT_TARGET",
    // Maven: these name its proxy, certificates and settings file. JAVA_HOME only if it has a Java.
    "JAVA_HOME",
    "M2_HOME",
    "MAVEN_HOME",
    "MAVEN_OPTS",
    "MAVEN_ARGS",
    // Go.
    "GOPROXY",
    "GOPRIVATE",
    "GONOPROXY",
    "GOSUMDB",
    "GONOSUMDB",
    "GONOSUMCHECK",
    "GOINSECURE",
    "GOAUTH",
    "GOVCS",
    "GOFLAGS",
    "GOROOT",
    "GOPATH",
    "GOCACHE",
    "GOMODCACHE",
    "GOTMPDIR",
    "GOENV",
    "GOTOOLCHAIN",
    "NETRC",
    // Settings of the project's own tests.
    "KAFKA_LAB_*",
    "XDG_STATE_HOME",
];

/// For interactive programs: the terminal's abilities, and the user's editor, pager and diff tool.
const INTERACTIVE: &[&str] = &[
    "TERM",
    "TERMINFO",
    "TERMINFO_DIRS",
    "COLORTERM",
    "COLUMNS",
    "LINES",
    "NO_COLOR",
    "CLICOLOR",
    "CLICOLOR_FORCE",
    "CARGO_TERM_*",
    "EDITOR",
    "VISUAL",
    "PAGER",
    "KUBE_EDITOR",
    "KUBECTL_EXTERNAL_DIFF",
];

/// Returns the environment of a program with this `purpose`; `interactive` if it runs on the user's terminal.
pub fn inherited(purpose: Purpose, interactive: bool) -> Vec<(OsString, OsString)> {
    inherited_from(std::env::vars_os(), purpose, interactive)
}

fn inherited_from(
    ours: impl IntoIterator<Item = (OsString, OsString)>,
    purpose: Purpose,
    interactive: bool,
) -> Vec<(OsString, OsString)> {
    let lists: &[&[&str]] = match purpose {
        Purpose::Lab => &[ALL],
        Purpose::Engine => &[ALL, NETWORK, ENGINE],
        Purpose::Build => &[ALL, NETWORK, ENGINE, BUILD],
    };
    let listed = |name: &str| {
        let interactive: &[&str] = if interactive { INTERACTIVE } else { &[] };
        lists.iter().copied().chain([interactive]).flatten().any(|pattern| matches(pattern, name))
    };
    let passed = ours.into_iter().filter(|(name, value)| name.to_str().is_some_and(listed) && is_usable(name, value));
    passed.chain(FIXED.iter().map(|(name, value)| (name.into(), value.into()))).collect()
}

/// Whether `pattern` matches the variable `name`.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        Some((head, tail)) => name.len() >= head.len() + tail.len() && name.starts_with(head) && name.ends_with(tail),
        None => pattern == name,
    }
}

/// Whether a value is usable. Programs that we start must come to the same conclusion as we do: we ignore relative XDG
/// folders and a JAVA_HOME without a Java.
fn is_usable(name: &OsStr, value: &OsStr) -> bool {
    let path = Path::new(value);
    match name.to_str().unwrap_or_default() {
        "JAVA_HOME" => is_program(&path.join("bin/java")),
        xdg if xdg.starts_with("XDG_") => path.is_absolute(),
        // A program opens the file that it names, and a pipe would block it.
        "TZ" => {
            let file = value.to_str().map_or(path, |text| Path::new(text.trim_start_matches(':')));
            !file.is_absolute() || file.is_file()
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns which of `names` a program inherits.
    fn left(names: &[&str], purpose: Purpose, interactive: bool) -> Vec<String> {
        let ours = names.iter().map(|name| (OsString::from(name), OsString::from("/x")));
        let fixed = |name: &OsString| FIXED.iter().any(|(fixed, _)| fixed == name);
        let given =
            inherited_from(ours, purpose, interactive).into_iter().map(|(name, _)| name).filter(|name| !fixed(name));
        given.map(|name| name.into_string().unwrap()).collect()
    }

    #[test]
    fn what_means_something_to_the_caller_reaches_nobody() {
        let names = [
            // Of clients.
            "ROLE",
            "TOPIC",
            "KAFKA_BROKER",
            "RATE",
            "COUNT",
            "FORMAT",
            "RUN_ID",
            "STATE_FILE",
            "VALUE_SIZE",
            "LINGER_MS",
            // Of Kafka and Java.
            "KAFKA_OPTS",
            "KAFKA_HEAP_OPTS",
            "KAFKA_NUM_PARTITIONS",
            "CLASSPATH",
            "JAVA_TOOL_OPTIONS",
            "_JAVA_OPTIONS",
            "JDK_JAVA_OPTIONS",
            "JAVA_OPTS",
            "LOG_DIR",
            "JMX_PORT",
            "ZOOKEEPER_OPTS",
            // Of shells and their tools.
            "BASH_ENV",
            "ENV",
            "CDPATH",
            "IFS",
            "POSIXLY_CORRECT",
            "GREP_OPTIONS",
            "TAR_OPTIONS",
            "ZSTD_CLEVEL",
            "LD_PRELOAD",
            "BASH_FUNC_cd%%",
            "LANGUAGE",
            "LC_NUMERIC",
            "GIT_DIR",
            // Of clusters and builds.
            "KUBECONFIG",
            "KUBECTL_KUBERC",
            "KIND_EXPERIMENTAL_PROVIDER",
            "KIND_CLUSTER_NAME",
            "RUSTFLAGS",
            "CARGO_BUILD_TARGET",
            "CARGO_ENCODED_RUSTFLAGS",
            "CARGO_PROFILE_RELEASE_LTO",
            "CARGO_PKG_NAME",
            "GOOS",
            "GOARCH",
            "CGO_ENABLED",
            "JAVA_HOME",
        ];
        for purpose in [Purpose::Lab, Purpose::Engine, Purpose::Build] {
            assert_eq!(left(&names, purpose, true), Vec::<String>::new(), "{purpose:?}");
        }
    }

    #[test]
    fn each_gets_what_it_needs() {
        assert_eq!(left(&["HOME", "PATH", "DOCKER_HOST", "TERM"], Purpose::Lab, false), ["HOME", "PATH"]);
        assert_eq!(left(&["TERM", "EDITOR", "NO_COLOR"], Purpose::Lab, true), ["TERM", "EDITOR", "NO_COLOR"]);
        let engine = ["DOCKER_CONTEXT", "https_proxy", "NO_PROXY", "SSH_AUTH_SOCK"];
        assert_eq!(left(&engine, Purpose::Engine, false), engine);
        let build =
            ["CARGO_NET_OFFLINE", "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER", "GOPROXY", "CC", "RUSTUP_TOOLCHAIN"];
        assert_eq!(left(&[&build[..], &engine].concat(), Purpose::Build, false), [&build[..], &engine].concat());
        assert_eq!(left(&build, Purpose::Engine, false), Vec::<String>::new());
    }

    #[test]
    fn the_language_is_the_same_for_everybody() {
        let german = [("LC_ALL", "de_DE.UTF-8"), ("LANG", "de_DE"), ("XDG_CACHE_HOME", "cache"), ("KUBERC", "/mine")];
        let german = german.map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let fixed: Vec<(OsString, OsString)> = FIXED.iter().map(|(name, value)| (name.into(), value.into())).collect();
        assert_eq!(inherited_from(german, Purpose::Build, true), fixed);
    }
}
