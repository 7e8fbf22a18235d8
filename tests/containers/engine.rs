//! Docker and Podman with everything in temporary folders, which are cleared in the end.

use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, PoisonError};

use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::{eventually, folder, remove_groups};

/// The image that both engines have, with this machine's CPython in `/usr/local`.
pub const IMAGE: &str = "python";
const IMPORT: [&str; 3] = ["import", "--change", "ENV PATH=/usr/local/bin"];

static ROOT: Mutex<Option<tempfile::TempDir>> = Mutex::new(None);

/// A Docker of its own: daemon, containerd, images and containers.
#[derive(Debug)]
pub struct Docker {
    folder: tempfile::TempDir,
    daemon: Mutex<Child>,
}

impl Docker {
    /// Starts a Docker that has the image.
    pub fn start() -> Self {
        let folder = folder();
        let daemon = Mutex::new(start_daemon(folder.path()));
        let docker = Self { folder, daemon };
        docker.await_daemon();
        ok(docker.command().args(IMPORT).arg(image()).arg(IMAGE));
        docker
    }

    /// The client, told where the daemon is.
    pub fn command(&self) -> Command {
        let mut command = Command::new("docker");
        command.env("DOCKER_HOST", format!("unix://{}/docker.sock", self.folder.path().display()));
        command
    }

    /// Runs Compose in a folder: the program of that name, or the client's own.
    pub fn compose(&self, folder: &Path) -> Command {
        let host = format!("unix://{}/docker.sock", self.folder.path().display());
        let alone = Command::new("docker-compose").arg("version").output();
        let mut command = if alone.is_ok_and(|output| output.status.success()) {
            Command::new("docker-compose")
        } else {
            let mut command = Command::new("docker");
            command.arg("compose");
            command
        };
        command.env("DOCKER_HOST", host).current_dir(folder);
        // A minute, if it is not told, after which a busy machine's engine is given up.
        command.env("COMPOSE_HTTP_TIMEOUT", "600");
        command
    }

    /// Runs a program in a new container; returns its output.
    pub fn run(&self, arguments: &[&str], program: &[&str]) -> String {
        let mut command = self.command();
        command.args(["run", "--rm", "--network", "none"]).args(arguments).arg(IMAGE);
        ok(command.args(program))
    }

    /// Starts a container that runs until the returned value is dropped.
    pub fn start_container(&self, arguments: &[&str], code: &str) -> Container {
        let mut command = self.command();
        command.args(["run", "--detach", "--network", "none"]).args(arguments);
        start(command, self.command(), code)
    }

    /// Kills the daemon as a fault would, with all that it has started besides containers.
    pub fn kill_daemon(&self) {
        let mut daemon = self.daemon.lock().unwrap();
        daemon.kill().unwrap();
        daemon.wait().unwrap();
        // Where nobody reaps it, the dead containerd is one that runs to the next daemon, which waits for it.
        let number = self.folder.path().join("exec/containerd/containerd.pid");
        std::fs::remove_file(number).unwrap();
    }

    /// Starts the daemon again, over the containers that run.
    pub fn restart_daemon(&self) {
        *self.daemon.lock().unwrap() = start_daemon(self.folder.path());
        self.await_daemon();
    }

    fn await_daemon(&self) {
        eventually("dockerd answers", || {
            let ended = self.daemon.lock().unwrap().try_wait().unwrap();
            let log = || std::fs::read_to_string(self.folder.path().join("log")).unwrap();
            assert!(ended.is_none(), "dockerd has ended with {ended:?}: {}", log());
            self.command().arg("version").output().unwrap().status.success()
        });
    }
}

/// The name of an engine's control groups.
fn name_of(folder: &Path) -> &str {
    folder.file_name().unwrap().to_str().unwrap()
}

fn start_daemon(folder: &Path) -> Child {
    // Of one that was killed.
    let _ = std::fs::remove_file(folder.join("docker.pid"));
    let log = File::options().create(true).append(true).open(folder.join("log")).unwrap();
    let place = |name: &str| folder.join(name).display().to_string();
    Command::new("dockerd")
        .args(["--data-root", &place("data"), "--exec-root", &place("exec")])
        .args(["--pidfile", &place("docker.pid")])
        .args(["--host", &format!("unix://{}", place("docker.sock"))])
        .args(["--cgroup-parent", &format!("/{}", name_of(folder))])
        .args(["--bridge=none", "--iptables=false", "--ip6tables=false", "--live-restore"])
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .expect("dockerd is needed; tools/containers installs it")
}

impl Drop for Docker {
    fn drop(&mut self) {
        // A failed test may have left it killed. Its containers run on, and only it knows them all.
        if !matches!(self.daemon.get_mut().unwrap().try_wait(), Ok(None)) {
            self.restart_daemon();
        }
        let left = self.command().args(["ps", "--all", "--quiet"]).output().unwrap();
        for id in String::from_utf8_lossy(&left.stdout).split_whitespace() {
            let _ = self.command().args(["rm", "--force", id]).output();
        }
        let daemon = self.daemon.get_mut().unwrap();
        let _ = kill(Pid::from_raw(daemon.id().cast_signed()), Signal::SIGTERM);
        let _ = daemon.wait();
        clear_mounts(self.folder.path());
        remove_groups(name_of(self.folder.path()));
    }
}

/// A Podman with storage of its own, of this user or another.
#[derive(Debug)]
pub struct Podman {
    folder: tempfile::TempDir,
    user: Option<u32>,
}

impl Podman {
    /// Podman of root.
    pub fn new() -> Self {
        Self::of(None)
    }

    /// Podman of a user without any privilege.
    pub fn rootless(user: u32) -> Self {
        Self::of(Some(user))
    }

    fn of(user: Option<u32>) -> Self {
        let folder = folder();
        // More open files and processes than a test may have are what it would ask for.
        let configuration = "[containers]\n\
             default_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n\
             [engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"none\"\nruntime = \"runc\"\n";
        std::fs::write(folder.path().join("containers.conf"), configuration).unwrap();
        let home = folder.path().join("home");
        std::fs::create_dir(&home).unwrap();
        if let Some(user) = user {
            let open = std::fs::Permissions::from_mode(0o755);
            std::fs::set_permissions(folder.path(), open).unwrap();
            std::os::unix::fs::chown(&home, Some(user), Some(user)).unwrap();
        }
        let podman = Self { folder, user };
        ok(podman.command().args(IMPORT).arg(image()).arg(IMAGE));
        podman
    }

    /// The client.
    pub fn command(&self) -> Command {
        let home = self.home();
        let mut command = Command::new("podman");
        if let Some(user) = self.user {
            command = Command::new("setpriv");
            command.args([format!("--reuid={user}"), format!("--regid={user}")]);
            command.args(["--clear-groups", "podman"]);
        }
        command
            .env("CONTAINERS_CONF", self.folder.path().join("containers.conf"))
            .env("HOME", &home)
            .env("XDG_RUNTIME_DIR", &home)
            .current_dir(&home);
        command.args(["--storage-driver", "vfs", "--root"]).arg(home.join("root"));
        command.arg("--runroot").arg(home.join("run")).arg("--tmpdir").arg(home.join("tmp"));
        command
    }

    /// Runs a program in a new container; returns its output.
    pub fn run(&self, arguments: &[&str], program: &[&str]) -> String {
        let mut command = self.command();
        command.args(["run", "--rm", "--network", "none"]).args(self.groups()).args(arguments);
        command.arg(IMAGE);
        ok(command.args(program))
    }

    /// Starts a container that runs until the returned value is dropped.
    pub fn start_container(&self, arguments: &[&str], code: &str) -> Container {
        let mut command = self.command();
        command.args(["run", "--detach", "--network", "none"]).args(self.groups()).args(arguments);
        start(command, self.command(), code)
    }

    /// The flag for the parent control group of root's containers; `None` for another user.
    pub fn groups(&self) -> Option<String> {
        let name = name_of(self.folder.path());
        self.user.is_none().then(|| format!("--cgroup-parent=/{name}"))
    }

    fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        let _ = self.command().args(["rm", "--all", "--force", "--time", "0"]).output();
        // A user's Podman leaves a process that holds its namespaces.
        if let Ok(text) = std::fs::read_to_string(self.home().join("tmp/pause.pid"))
            && let Ok(pid) = text.trim().parse()
        {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        clear_mounts(self.folder.path());
        remove_groups(name_of(self.folder.path()));
    }
}

/// A container that runs until it is dropped.
#[derive(Debug)]
pub struct Container {
    client: Command,
    id: String,
}

impl Container {
    /// Runs code in the container; returns its output.
    pub fn python(&self, code: &str) -> String {
        ok(&mut self.exec(code))
    }

    /// A command that runs code in the container.
    pub fn exec(&self, code: &str) -> Command {
        let mut command = copy(&self.client);
        command.args(["exec", &self.id, "python3", "-c", code]);
        command
    }

    /// The engine's id of the container.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The host's number of the container's main process.
    pub fn pid(&self) -> i32 {
        let mut command = copy(&self.client);
        ok(command.args(["inspect", "--format", "{{.State.Pid}}", &self.id]))
            .trim()
            .parse()
            .unwrap()
    }

    /// Ends the container and waits until it is removed.
    pub fn remove(self) {
        drop(self);
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let mut command = copy(&self.client);
        let output = command.args(["rm", "--force", &self.id]).output().unwrap();
        if !std::thread::panicking() {
            assert!(output.status.success(), "{output:?}");
        }
    }
}

fn start(mut command: Command, client: Command, code: &str) -> Container {
    let id = ok(command.args([IMAGE, "python3", "-c", code])).trim().to_owned();
    Container { client, id }
}

/// A copy of a command.
fn copy(command: &Command) -> Command {
    let mut copy = Command::new(command.get_program());
    copy.args(command.get_args());
    for (name, value) in command.get_envs() {
        copy.env(name, value.unwrap());
    }
    if let Some(folder) = command.get_current_dir() {
        copy.current_dir(folder);
    }
    copy
}

/// Runs a command that must succeed; returns its stdout.
pub fn ok(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| {
        panic!("{command:?}: {error}; tools/containers installs what is needed")
    });
    assert!(output.status.success(), "{command:?}: {}", said(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// Runs a command that must fail; returns its stderr.
pub fn fails(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(!output.status.success(), "{command:?}: {}", said(&output));
    said(&output)
}

fn said(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned()).concat()
}

/// The path of the image's root, which all engines of a run share.
fn image() -> PathBuf {
    let mut root = ROOT.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = root.get_or_insert_with(|| {
        let folder = folder();
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(folder.path(), open).unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let mut command = Command::new("python3");
        command.arg(script.join("tools/container_image.py")).arg(folder.path().join("image.tar"));
        ok(&mut command);
        folder
    });
    folder.path().join("image.tar")
}

/// Removes the image's root.
pub fn remove_image() {
    drop(ROOT.lock().unwrap_or_else(PoisonError::into_inner).take());
}

/// Unmounts what an engine has left below a folder, the last first.
fn clear_mounts(folder: &Path) {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    let places: Vec<_> = mounts.lines().filter_map(|line| line.split(' ').nth(1)).collect();
    for place in places.into_iter().rev().filter(|place| Path::new(place).starts_with(folder)) {
        let _ = umount2(place, MntFlags::MNT_DETACH);
    }
}
