//! Methods that only a local lab has.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::lab::Lab;
use super::wait_for;

impl Lab {
    pub fn new(name: &str) -> Self {
        Self::in_folder(name, "state")
    }

    pub fn pid(&self, process: &str) -> Pid {
        let text = std::fs::read_to_string(self.folder().join(process).join("process.json")).unwrap();
        let record: Value = serde_json::from_str(&text).unwrap();
        Pid::from_raw(i32::try_from(record["identity"]["pid"].as_i64().unwrap()).unwrap()).unwrap()
    }

    /// Kills a process and waits until it is dead, which takes a while on a busy machine.
    pub fn kill(&self, process: &str) -> Pid {
        let pid = self.pid(process);
        kill_process(pid, Signal::KILL).unwrap();
        let stat = format!("/proc/{}/stat", pid.as_raw_nonzero());
        wait_for("its death", 30, || {
            let state = std::fs::read_to_string(&stat).ok().and_then(|text| Some(text.rsplit_once(')')?.1.to_string()));
            state.is_none_or(|state| state.trim_start().starts_with(['Z', 'X']))
        });
        pid
    }
}
