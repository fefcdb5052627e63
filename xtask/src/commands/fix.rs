//! `--fix`: shows the commands that install what is missing, then runs them.

use std::time::Duration;

use crate::config::Env;
use crate::environment::Purpose;
use crate::exec::{Cmd, Exec};
use crate::failure::{Exit, Failure, Result};
use crate::findings::{UPDATE, as_root, install_line};
use crate::show::tell;

/// Installs `packages` with apt-get, as root or through sudo.
///
/// # Errors
/// There is no apt-get or no sudo, or apt-get fails.
pub fn install(packages: &[&str], env: &Env, exec: &dyn Exec) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    let line = install_line(packages);
    // A machine that has just booted often runs apt itself.
    let patient = line.replacen("apt-get ", "apt-get -o DPkg::Lock::Timeout=300 ", 1);
    if env.find("apt-get").is_none() {
        return Err(Failure::new(
            Exit::Preflight,
            format!("--fix needs apt-get, which is missing; to install: {}", packages.join(", ")),
        )
        .fix("install your system's equivalents of these Debian packages, then rerun the command"));
    }
    if !env.root && env.find("sudo").is_none() {
        return Err(Failure::new(Exit::Preflight, "--fix needs root or sudo")
            .fix(format!("ask an administrator to run `apt-get update && {line}`")));
    }
    for words in [UPDATE, &patient] {
        let words = as_root(words, env);
        tell(&format!("--fix runs: {words}"));
        let mut words = words.split_whitespace();
        let cmd = Cmd::new(words.next().unwrap_or_default(), Duration::ZERO)
            .args(words)
            .purpose(Purpose::Build)
            .env("DEBIAN_FRONTEND", "noninteractive");
        let code = exec.attached(&cmd)?;
        if code != 0 {
            let fix = match env.root {
                true => "see its own message above".into(),
                false => format!("if you may not use sudo, ask an administrator to run `apt-get update && {line}`"),
            };
            return Err(Failure::new(Exit::Preflight, format!("{cmd} exited with {code}")).fix(fix));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::sample;
    use crate::exec::Output;
    use crate::exec::fake::FakeExec;

    fn with_apt(code: i32) -> (Env, FakeExec<impl Fn(&Cmd) -> Result<Output>>) {
        let mut env = sample::lab().env;
        // Tests run side by side, and each removes its folder.
        let thread = std::thread::current().id();
        let dir = std::env::temp_dir().join(format!("kafka-lab-fix-{}-{thread:?}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let apt = dir.join("apt-get");
        std::fs::write(&apt, "#!/bin/sh\n").unwrap();
        std::fs::set_permissions(&apt, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        env.path = vec![dir];
        (env, FakeExec::new(move |_| Ok(Output { code: Some(code), ..Output::default() })))
    }

    #[test]
    fn nothing_missing_runs_nothing() {
        let (env, exec) = with_apt(0);
        install(&[], &env, &exec).unwrap();
        assert!(exec.asked.lock().unwrap().is_empty());
        std::fs::remove_dir_all(&env.path[0]).unwrap();
    }

    #[test]
    fn the_line_shown_is_the_line_run() {
        let (env, exec) = with_apt(0);
        install(&["maven"], &env, &exec).unwrap();
        let asked: Vec<String> = exec.asked.lock().unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(
            asked[1],
            "DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -y --no-install-recommends maven"
        );
        std::fs::remove_dir_all(&env.path[0]).unwrap();
    }

    #[test]
    fn a_failing_apt_is_a_preflight_failure() {
        let (env, exec) = with_apt(100);
        assert_eq!(install(&["maven"], &env, &exec).unwrap_err().exit, Exit::Preflight);
        std::fs::remove_dir_all(&env.path[0]).unwrap();
    }

    #[test]
    fn without_apt_or_root_the_fix_is_told() {
        let (mut env, exec) = with_apt(0);
        env.root = false;
        let failure = install(&["maven"], &env, &exec).unwrap_err();
        assert!(failure.fix.unwrap().ends_with("`apt-get update && apt-get install -y --no-install-recommends maven`"));
        std::fs::remove_dir_all(&env.path[0]).unwrap();
        env.path.clear();
        assert!(install(&["maven"], &env, &exec).unwrap_err().message.contains("maven"));
    }
}
