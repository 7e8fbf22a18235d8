//! A service manager for tests that does what systemd does for a service that stores descriptors.

use std::fs;
use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, UnixAddr, recvmsg};
use nix::unistd::Pid;

use super::process::Process;
use super::{Instance, eventually};

/// Starts a program with up to three descriptors as its stdin, stdout and stderr.
const START: &str = "export LISTEN_PID=$$
log=$1
shift
case $LISTEN_FDS in
    0) exec \"$@\" < /dev/null >> \"$log\" 2>&1 ;;
    1) exec \"$@\" 3<&0 < /dev/null >> \"$log\" 2>&1 ;;
    2) exec \"$@\" 3<&0 4<&1 < /dev/null >> \"$log\" 2>&1 ;;
    3) exec \"$@\" 3<&0 4<&1 5<&2 < /dev/null >> \"$log\" 2>&1 ;;
esac";
/// Prefix of the names of mounts' connections.
const CONNECTION: &str = "pipsqueak-";

/// A descriptor in the store, and its name.
pub type Kept = (String, OwnedFd);

/// The manager. It keeps its descriptors as long as it exists.
pub struct Manager {
    folder: tempfile::TempDir,
    heard: Arc<Mutex<Heard>>,
    listener: Option<JoinHandle<()>>,
    main: Option<Child>,
    /// Variables of the service besides those of the instance.
    pub variables: Vec<(&'static str, String)>,
}

#[derive(Default)]
struct Heard {
    kept: Vec<Kept>,
    said: Vec<String>,
    is_over: bool,
}

impl Manager {
    /// Makes a manager without a service.
    pub fn new() -> Self {
        let folder = super::folder();
        let socket = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let heard = Arc::new(Mutex::new(Heard::default()));
        let hearing = heard.clone();
        let listener = thread::spawn(move || {
            while !hearing.lock().unwrap().is_over {
                if let Some((text, descriptor)) = receive(&socket) {
                    hearing.lock().unwrap().understand(&text, descriptor);
                }
            }
        });
        let (listener, variables) = (Some(listener), Vec::new());
        Self { folder, heard, listener, main: None, variables }
    }

    /// Starts the supervisor of an instance with the kept descriptors, and waits until it is ready.
    pub fn start(&mut self, instance: &Instance) {
        self.begin(instance);
        let heard = self.heard.clone();
        eventually("the service is ready", || {
            if let Some(ended) = self.main.as_mut().unwrap().try_wait().unwrap() {
                panic!("ended before it was ready: {ended}");
            }
            heard.lock().unwrap().said.iter().any(|line| line == "READY=1")
        });
    }

    /// Starts the supervisor without waiting.
    pub fn begin(&mut self, instance: &Instance) {
        assert!(self.main.is_none(), "it runs already");
        self.heard().said.clear();
        fs::create_dir_all(instance.run()).unwrap();
        let log = instance.run().join("pipsqueakd.log");
        let heard = self.heard();
        let names: Vec<_> = heard.kept.iter().map(|(name, _)| name.as_str()).collect();
        let mut streams = heard.kept.iter().map(|(_, kept)| Stdio::from(kept.try_clone().unwrap()));
        let mut command = instance.environment(Command::new("sh"));
        command
            .args(["-c", START, "sh"])
            .arg(log)
            .arg(instance.supervisor())
            .env("NOTIFY_SOCKET", self.folder.path().join("notify"))
            .env("LISTEN_FDS", names.len().to_string())
            .env("LISTEN_FDNAMES", names.join(":"))
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(streams.next().unwrap_or(Stdio::null()))
            .stdout(streams.next().unwrap_or(Stdio::null()))
            .stderr(streams.next().unwrap_or(Stdio::null()));
        drop(streams);
        drop(heard);
        self.main = Some(command.spawn().unwrap());
    }

    /// Kills the supervisor without a warning and, if `all`, every process in its control group.
    pub fn kill(&mut self, all: bool) {
        let mut main = self.main.take().unwrap();
        let group = if all { group_of(main.id()) } else { Vec::new() };
        main.kill().unwrap();
        for pid in group {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        main.wait().unwrap();
    }

    /// Sends the supervisor a signal, and waits for its end.
    pub fn end(&mut self, signal: Signal) -> ExitStatus {
        kill(Pid::from_raw(self.pid()), signal).unwrap();
        self.await_end()
    }

    /// Waits for the end of the supervisor.
    pub fn await_end(&mut self) -> ExitStatus {
        let mut main = self.main.take().unwrap();
        let mut ended = None;
        eventually("the supervisor has ended", || {
            ended = main.try_wait().unwrap();
            ended.is_some()
        });
        ended.unwrap()
    }

    /// The supervisor's process.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.main.as_ref().unwrap().id()).unwrap()
    }

    /// Names of the kept connections of mounts.
    pub fn kept(&self) -> Vec<String> {
        self.copies().into_iter().map(|(name, _)| name).collect()
    }

    /// True if nothing is kept.
    pub fn keeps_nothing(&self) -> bool {
        self.heard().kept.is_empty()
    }

    /// Copies of the kept connections of mounts.
    pub fn copies(&self) -> Vec<Kept> {
        let heard = self.heard();
        let connections = heard.kept.iter().filter(|(name, _)| name.starts_with(CONNECTION));
        connections.map(|(name, kept)| (name.clone(), kept.try_clone().unwrap())).collect()
    }

    /// Keeps a descriptor that the service has not given.
    pub fn plant(&self, kept: Kept) {
        self.heard().kept.push(kept);
    }

    /// True if the service has sent a line since its start.
    pub fn has_heard(&self, line: &str) -> bool {
        self.heard().said.iter().any(|said| said == line)
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap()
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        self.heard.lock().unwrap_or_else(std::sync::PoisonError::into_inner).is_over = true;
        drop(self.listener.take().map(JoinHandle::join));
        if let Some(mut main) = self.main.take() {
            let _ = main.kill();
            let _ = main.wait();
        }
    }
}

impl Heard {
    fn understand(&mut self, text: &str, descriptor: Option<OwnedFd>) {
        let lines: Vec<_> = text.lines().collect();
        let name = lines.iter().find_map(|line| line.strip_prefix("FDNAME=")).unwrap_or("stored");
        if lines.contains(&"FDSTOREREMOVE=1") {
            self.kept.retain(|(kept, _)| kept != name);
        }
        if let Some(descriptor) = descriptor.filter(|_| lines.contains(&"FDSTORE=1")) {
            // systemd knows a descriptor that it has, whatever its name.
            if self.kept.iter().all(|(kept, _)| kept != name) {
                self.kept.push((name.to_owned(), descriptor));
            }
        }
        self.said.extend(lines.into_iter().map(ToOwned::to_owned));
    }
}

fn receive(socket: &UnixDatagram) -> Option<(String, Option<OwnedFd>)> {
    let mut buffer = [0; 4096];
    let mut space = nix::cmsg_space!([RawFd; 4]);
    let mut slices = [IoSliceMut::new(&mut buffer)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let received =
        recvmsg::<UnixAddr>(socket.as_raw_fd(), &mut slices, Some(&mut space), flags).ok()?;
    let numbers = received.cmsgs().unwrap().find_map(|control| match control {
        ControlMessageOwned::ScmRights(numbers) => Some(numbers),
        _ => None,
    });
    let length = received.bytes;
    let descriptor =
        numbers.map(|numbers| pipsqueak_kernel::descriptor::inherited(numbers[0]).unwrap());
    Some((String::from_utf8_lossy(&buffer[..length]).into_owned(), descriptor))
}

/// Descendants of a process, as far as they have stayed in its control groups.
fn group_of(main: u32) -> Vec<i32> {
    let groups = |pid: i32| fs::read_to_string(format!("/proc/{pid}/cgroup")).ok();
    let main = i32::try_from(main).unwrap();
    let own = groups(main);
    let all = Process::all();
    let mut found = vec![main];
    let mut next = 0;
    while let Some(above) = found.get(next).copied() {
        let children = all.iter().filter(|one| one.parent == above && groups(one.pid) == own);
        found.extend(children.map(|one| one.pid));
        next += 1;
    }
    found.split_off(1)
}
