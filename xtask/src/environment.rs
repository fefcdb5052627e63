//! The environment of every program that we start. A variable of the caller's means something to the caller: `COUNT`, `TOPIC` or `CLASSPATH`
//! in a shell must not reach a client or a broker, nor must options for every JVM. So nothing is passed on but what this list names; what a step
//! sets for its program comes on top.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use crate::config::is_program;

/// What a program is started for, and so which of the caller's variables it is given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Purpose {
    /// It serves, counts or asks: ZooKeeper, brokers, clients, Kafka's tools, kubectl, git.
    #[default]
    Lab,
    /// It speaks to a container engine: docker, kind.
    Engine,
    /// It fetches or builds: mvn, cargo, go, apt-get, the recipes of images, which speak to an engine too.
    Build,
}

/// For every program: where programs and the user's files are, and the user's time. In a name, `*` stands for any characters.
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

/// The same for everybody, whatever language the user speaks: what programs print is read. In UTF-8, or a JVM before 18 cannot open a path with
/// letters outside ASCII.
const FIXED: &[(&str, &str)] = &[("LC_ALL", "C.UTF-8"), ("LANG", "C.UTF-8")];

/// For what reaches other machines: the way there, and whom to trust.
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
    // Engines and git repositories are reached through SSH too.
    "SSH_AUTH_SOCK",
];

/// For docker and kind: which engine is meant. Its program for passwords may be one of Windows', which WSL starts.
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

/// For builds: where sources come from, where what was fetched is kept, which tools compile. Not what would change the product or where it lands:
/// RUSTFLAGS, CARGO_BUILD_TARGET, GOOS and their kin.
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
    // Maven: its proxy, its trusted certificates and its settings file are named in these. JAVA_HOME only where a Java is.
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
    // What the project's own tests are told.
    "KAFKA_LAB_*",
    "XDG_STATE_HOME",
];

/// For a program that somebody sees and types to: what the terminal can do, and what the user likes to edit and compare with.
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

/// The environment of a program that is started for `purpose`; `interactive`, when somebody sees it and types.
pub fn given(purpose: Purpose, interactive: bool) -> Vec<(OsString, OsString)> {
    chosen(std::env::vars_os(), purpose, interactive)
}

fn chosen(
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
        lists.iter().copied().chain([interactive]).flatten().any(|pattern| is_meant(pattern, name))
    };
    let passed = ours.into_iter().filter(|(name, value)| name.to_str().is_some_and(listed) && is_sound(name, value));
    passed.chain(FIXED.iter().map(|(name, value)| (name.into(), value.into()))).collect()
}

/// Whether a name of the list means the variable `name`.
fn is_meant(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        Some((head, tail)) => name.len() >= head.len() + tail.len() && name.starts_with(head) && name.ends_with(tail),
        None => pattern == name,
    }
}

/// Whether a value can be meant. We take no relative folder of the XDG variables either, and look for a Java elsewhere where JAVA_HOME has none:
/// whom we start must come to the same.
fn is_sound(name: &OsStr, value: &OsStr) -> bool {
    let path = Path::new(value);
    match name.to_str().unwrap_or_default() {
        "JAVA_HOME" => is_program(&path.join("bin/java")),
        xdg if xdg.starts_with("XDG_") => path.is_absolute(),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is left of `names` for `purpose`.
    fn left(names: &[&str], purpose: Purpose, interactive: bool) -> Vec<String> {
        let ours = names.iter().map(|name| (OsString::from(name), OsString::from("/x")));
        let fixed = |name: &OsString| FIXED.iter().any(|(fixed, _)| fixed == name);
        let given = chosen(ours, purpose, interactive).into_iter().map(|(name, _)| name).filter(|name| !fixed(name));
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
        let german = [("LC_ALL", "de_DE.UTF-8"), ("LANG", "de_DE"), ("XDG_CACHE_HOME", "cache")];
        let german = german.map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let fixed: Vec<(OsString, OsString)> = FIXED.iter().map(|(name, value)| (name.into(), value.into())).collect();
        assert_eq!(chosen(german, Purpose::Build, true), fixed);
    }
}
