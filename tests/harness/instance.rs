//! An instance in temporary folders. Dropping it stops it and checks that nothing is left.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::leftovers::{Footprint, wait_until_gone};
use super::{binary, cache, eventually, folder};

/// How an instance is started.
#[derive(Debug, Default)]
pub struct Options {
    /// Tiers in use; all where absent.
    pub tiers: Option<&'static str>,
    /// Memory budget.
    pub memory: Option<&'static str>,
}

/// What a command has said.
#[derive(Debug)]
pub struct Output {
    /// Exit code; -1 where it was killed.
    pub code: i32,
    /// stdout.
    pub stdout: String,
    /// stderr.
    pub stderr: String,
}

/// A running instance.
#[derive(Debug)]
pub struct Instance {
    folder: tempfile::TempDir,
    options: Vec<String>,
    group: String,
}

impl Instance {
    /// Starts one.
    pub fn start(options: &Options) -> Self {
        let mut flags = Vec::new();
        for (flag, value) in [("--tiers", options.tiers), ("--memory", options.memory)] {
            flags.extend(value.into_iter().flat_map(|value| [flag.to_owned(), value.to_owned()]));
        }
        let mut instance = Self { folder: folder(), options: flags, group: String::new() };
        instance.up();
        instance.status()["group"].as_str().unwrap().clone_into(&mut instance.group);
        instance
    }

    /// Starts it again, after it was stopped or killed.
    pub fn up(&self) {
        let mut arguments = vec!["up"];
        arguments.extend(self.options.iter().map(String::as_str));
        self.ok(&arguments);
    }

    /// Where its sockets are.
    pub fn run(&self) -> PathBuf {
        self.folder.path().join("run")
    }

    /// Where its state is.
    pub fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// Where its packages are mounted.
    pub fn mount(&self) -> PathBuf {
        self.folder.path().join("packages")
    }

    /// A folder for the test's own files.
    pub fn scratch(&self) -> PathBuf {
        let path = self.folder.path().join("scratch");
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    /// The invoker, told where this instance is.
    pub fn command(&self) -> Command {
        let mut command = Command::new(binary("pipsqueak"));
        command
            .env("PIPSQUEAK_STATE", self.state())
            .env("PIPSQUEAK_RUN", self.run())
            .env("PIPSQUEAK_MOUNT", self.mount())
            .env("PIPSQUEAK_CACHE", cache());
        command
    }

    /// Runs a command.
    pub fn call(&self, arguments: &[&str]) -> Output {
        finish(self.command().args(arguments), "")
    }

    /// Runs a command with text on its stdin.
    pub fn call_with(&self, arguments: &[&str], stdin: &str) -> Output {
        finish(self.command().args(arguments), stdin)
    }

    /// Runs a command as another user.
    pub fn call_as(&self, user: u32, arguments: &[&str]) -> Output {
        finish(self.command().args(arguments).uid(user).gid(user), "")
    }

    /// Runs a command that must succeed; its stdout.
    pub fn ok(&self, arguments: &[&str]) -> String {
        let output = self.call(arguments);
        assert_eq!(output.code, 0, "{arguments:?}: {output:?}");
        output.stdout
    }

    /// Runs a command that must succeed and print JSON.
    pub fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.ok(arguments)).unwrap()
    }

    /// What `status --json` says.
    pub fn status(&self) -> Value {
        self.json(&["status", "--json"])
    }

    /// Invokes a function; what `invoke --json` prints, whatever the exit code.
    pub fn invoke(&self, function: &str, payload: &Value) -> Value {
        let output = self.call(&["invoke", function, "-d", &payload.to_string(), "--json"]);
        serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
    }

    /// Deploys a function of one file.
    pub fn deploy(&self, name: &str, code: &str, flags: &[&str]) {
        let path = super::write(&self.scratch(), &format!("{name}.py"), code);
        let mut arguments = vec!["deploy", name, path.to_str().unwrap()];
        arguments.extend(flags);
        self.ok(&arguments);
    }

    /// Waits until as many zygotes are ready as there are.
    pub fn await_zygotes(&self) {
        eventually("zygotes are ready", || {
            let status = self.status();
            let zygotes = status["zygotes"].as_array().unwrap();
            assert!(zygotes.iter().all(|zygote| zygote["state"] != "failed"), "{zygotes:?}");
            !zygotes.is_empty() && zygotes.iter().all(|zygote| zygote["state"] == "ready")
        });
    }

    /// What of the machine it uses now.
    pub fn footprint(&self) -> Footprint {
        Footprint::of(self)
    }

    /// Name of its control groups.
    pub fn group(&self) -> &str {
        &self.group
    }

    /// Its folder, which is in the command line of each of its processes.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        let footprint = self.footprint();
        let output = self.call(&["down"]);
        if std::thread::panicking() {
            footprint.clear();
            return;
        }
        // 3: the test has stopped it already.
        assert!(matches!(output.code, 0 | 3), "{output:?}");
        wait_until_gone(&footprint);
    }
}

fn finish(command: &mut Command, stdin: &str) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that does not read its stdin may be gone.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    let output = child.wait_with_output().unwrap();
    Output {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
