//! An instance in temporary folders. Dropping it stops it and checks that nothing is left.

use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::leftovers::Footprint;
use super::manager::Manager;
use super::{binary, cache, eventually, folder, patience};

/// Longest time that a supervisor may take to end, in seconds.
const DOWN_SECONDS: u32 = 70;

/// Options of an instance's start.
#[derive(Debug, Default)]
pub struct Options {
    /// Tiers in use; all if absent.
    pub tiers: Option<&'static str>,
    /// Memory budget.
    pub memory: Option<&'static str>,
    /// Variables of the commands and the supervisor, including those that give the instance's place.
    pub variables: Vec<(&'static str, String)>,
    /// The folder with the programs; that of the tests' binaries if absent.
    pub programs: Option<PathBuf>,
    /// True if the instance serves volumes and devices to container engines, under a name of its own.
    pub engines: bool,
}

/// The outcome of a command.
#[derive(Debug)]
pub struct Output {
    /// Exit code; -1 if the command was killed.
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
    variables: Vec<(&'static str, String)>,
    invoker: PathBuf,
    group: Option<String>,
}

impl Instance {
    /// Starts an instance.
    pub fn start(options: &Options) -> Self {
        let mut instance = Self::new(options);
        instance.up();
        instance.group = instance.status()["group"].as_str().map(ToOwned::to_owned);
        instance
    }

    /// Starts an instance by a service manager, with no flags.
    pub fn start_managed(options: &Options, manager: &mut Manager) -> Self {
        let mut instance = Self::new(options);
        manager.start(&instance);
        instance.group = instance.status()["group"].as_str().map(ToOwned::to_owned);
        instance
    }

    fn new(options: &Options) -> Self {
        let mut flags = Vec::new();
        for (flag, value) in [("--tiers", options.tiers), ("--memory", options.memory)] {
            flags.extend(value.into_iter().flat_map(|value| [flag.to_owned(), value.to_owned()]));
        }
        let invoker = match &options.programs {
            Some(programs) => programs.join("pipsqueak"),
            None => binary("pipsqueak"),
        };
        let variables = options.variables.clone();
        let mut instance =
            Self { folder: folder(), options: flags, variables, invoker, group: None };
        if options.engines {
            let socket = instance.docker_plugin().to_str().unwrap().to_owned();
            let devices = instance.cdi().to_str().unwrap().to_owned();
            instance.variables.push(("PIPSQUEAK_DOCKER_PLUGIN", socket));
            instance.variables.push(("PIPSQUEAK_CDI", devices));
        }
        instance
    }

    /// Starts the instance again after it was stopped or killed.
    pub fn up(&self) {
        let mut arguments = vec!["up"];
        arguments.extend(self.options.iter().map(String::as_str));
        self.ok(&arguments);
    }

    /// The folder of the sockets.
    pub fn run(&self) -> PathBuf {
        self.folder.path().join("run")
    }

    /// The folder of the state.
    pub fn state(&self) -> PathBuf {
        let said = self.variables.iter().find(|(name, _)| *name == "PIPSQUEAK_STATE");
        said.map_or_else(|| self.folder.path().join("state"), |(_, place)| place.into())
    }

    /// The place of the mount.
    pub fn mount(&self) -> PathBuf {
        self.folder.path().join("packages")
    }

    /// The name of the volume driver, by which container engines know the instance.
    pub fn driver(&self) -> &str {
        self.folder.path().file_name().unwrap().to_str().unwrap()
    }

    /// The socket of the volume driver.
    pub fn docker_plugin(&self) -> PathBuf {
        Path::new("/run/docker/plugins").join(self.driver()).with_extension("sock")
    }

    /// The CDI file that describes environments as devices.
    pub fn cdi(&self) -> PathBuf {
        Path::new("/var/run/cdi").join(self.driver()).with_extension("json")
    }

    /// A folder for the test's own files.
    pub fn scratch(&self) -> PathBuf {
        let path = self.folder.path().join("scratch");
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    /// The invoker, with the variables of this instance.
    pub fn command(&self) -> Command {
        self.environment(Command::new(&self.invoker))
    }

    /// The supervisor's executable.
    pub fn supervisor(&self) -> PathBuf {
        self.invoker.with_file_name("pipsqueakd")
    }

    /// A command with the variables of this instance.
    pub fn environment(&self, mut command: Command) -> Command {
        command
            .env("PIPSQUEAK_STATE", self.state())
            .env("PIPSQUEAK_RUN", self.run())
            .env("PIPSQUEAK_MOUNT", self.mount())
            .env("PIPSQUEAK_CACHE", cache())
            .envs(self.variables.iter().map(|(name, value)| (name, value)));
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

    /// Runs a command as another user, even if that user cannot enter the program's folder.
    pub fn call_as(&self, user: u32, arguments: &[&str]) -> Output {
        let program = std::fs::File::open(&self.invoker).unwrap();
        let opened = format!("/proc/self/fd/{}", program.as_raw_fd());
        let mut command = self.environment(Command::new(opened));
        finish(command.args(arguments).current_dir("/").uid(user).gid(user), "")
    }

    /// Runs a command that must succeed; returns its stdout.
    pub fn ok(&self, arguments: &[&str]) -> String {
        let output = self.call(arguments);
        assert_eq!(output.code, 0, "{arguments:?}: {output:?}");
        output.stdout
    }

    /// Runs a command that must succeed and print JSON.
    pub fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.ok(arguments)).unwrap()
    }

    /// The output of `status --json`.
    pub fn status(&self) -> Value {
        self.json(&["status", "--json"])
    }

    /// Invokes a function; returns the output of `invoke --json`, whatever the exit code.
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

    /// Waits until all zygotes that the invocations so far call for are ready.
    pub fn await_zygotes(&self) {
        eventually("zygotes are ready", || {
            let status = self.status();
            let zygotes = status["zygotes"].as_array().unwrap();
            assert!(zygotes.iter().all(|zygote| zygote["state"] != "failed"), "{zygotes:?}");
            !zygotes.is_empty() && status["growing"] == false
        });
    }

    /// Waits until no work on zygotes is under way. Some may have failed, and be tried again later.
    pub fn await_growth(&self) {
        eventually("no zygote is being made", || self.status()["growing"] == false);
    }

    /// Stops the instance; returns the exit code, or `None` if the supervisor did not end.
    fn end(&self) -> Option<i32> {
        let mut down =
            self.command().arg("down").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let until = Instant::now() + patience(DOWN_SECONDS);
        while Instant::now() < until {
            if let Some(status) = down.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = down.kill();
        let _ = down.wait();
        None
    }

    /// The resources of the machine that the instance uses now.
    pub fn footprint(&self) -> Footprint {
        Footprint::of(self)
    }

    /// Processes in the instance's sandboxes, holders included.
    pub fn sandboxed(&self) -> Vec<i32> {
        let group = self.group().unwrap();
        let roots = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"].into_iter();
        let top = roots.map(|root| Path::new(root).join(group)).find(|top| top.exists());
        let sandboxes = std::fs::read_dir(top.unwrap()).unwrap().flatten();
        let listed = sandboxes.map(|sandbox| {
            std::fs::read_to_string(sandbox.path().join("cgroup.procs")).unwrap_or_default()
        });
        listed
            .flat_map(|text| text.lines().map(|pid| pid.parse().unwrap()).collect::<Vec<_>>())
            .collect()
    }

    /// Name of the instance's control groups; absent if it never came up.
    pub fn group(&self) -> Option<&str> {
        self.group.as_deref()
    }

    /// The instance's folder, which is in the command line of each of its processes.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        let footprint = self.footprint();
        let code = self.end();
        // 3: the test has stopped it already.
        let left = if matches!(code, Some(0 | 3)) && footprint.is_soon_gone() {
            None
        } else {
            Some(footprint.clear())
        };
        // What a killed supervisor leaves where all instances of the machine are.
        for path in [self.docker_plugin(), self.cdi()] {
            for path in [path.with_extension("lock"), path] {
                let _ = std::fs::remove_file(path);
            }
        }
        if std::thread::panicking() || left.is_some() {
            let log = std::fs::read_to_string(self.run().join("pipsqueakd.log"));
            eprintln!("the supervisor's log:\n{}", log.unwrap_or_default());
        }
        if !std::thread::panicking() {
            assert_eq!(left, None, "left behind, and cleared now; down ended with {code:?}");
        }
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
