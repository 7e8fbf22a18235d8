//! `pipsqueak up`: start the supervisor, and wait until it serves.

mod ready;

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, pipe2, setsid};
use pipsqueak::client::{Client, ClientError, socket_path};
use pipsqueak::process::Process;
use pipsqueak::settings::Settings;
use ready::Word;

use super::args::{Places, Up};
use super::failure::{Exit, Failure};
use super::{doctor, output, supervisor};

/// Longest time until the socket of a supervisor that was killed is gone, or another's.
const END_PATIENCE: Duration = Duration::from_secs(10);
/// Lines of the log that are shown if the supervisor ends without a word.
const TAIL_LINES: usize = 20;

/// Carries the verb out.
pub fn run(places: Places, up: Up) -> Result<Exit, Failure> {
    let foreground = up.foreground;
    let settings = Settings::resolve(up.flags.at(places))?;
    refuse_if_running(&settings.run)?;
    let program = supervisor::find()?;
    let arguments = settings.flags();
    if foreground {
        let error = Command::new(&program).args(arguments).exec();
        return Err(Failure::system(format!("starting {}", program.display()))(error));
    }
    start(&settings, &program, arguments)?;
    for line in doctor::missing_limits() {
        output::aside(&format!("warning: {line}"));
    }
    output::line(format!(
        "ready: packages at {}, socket {}, state in {}",
        settings.mount.display(),
        socket_path(&settings.run).display(),
        settings.state.display()
    ))
}

/// Becomes `program` in a session of its own, so that it outlives the terminal.
pub fn detach(program: &[OsString]) -> Result<Exit, Failure> {
    let [name, arguments @ ..] = program else { return Err(Failure::Input("no program".into())) };
    setsid().map_err(Failure::system("making a session"))?;
    let error = Command::new(name).args(arguments).exec();
    Err(Failure::system(format!("starting {}", name.display()))(error))
}

fn refuse_if_running(run: &Path) -> Result<(), Failure> {
    let until = Instant::now() + END_PATIENCE;
    loop {
        let client = match Client::connect(run) {
            Err(ClientError::NoSupervisor { .. }) => return Ok(()),
            Err(other) => return Err(other.into()),
            Ok(client) => client,
        };
        let peer = client.peer_pid().map(Process::numbered);
        let step = "looking at the process that serves";
        let has_ended =
            peer.map(|peer| peer.is_running()).transpose().map_err(Failure::system(step))?
                == Some(false);
        if !has_ended {
            return Err(Failure::Input(format!(
                "a supervisor{} serves {} already; `pipsqueak down` stops it, --run names another \
                 place",
                peer.map_or_else(String::new, |peer| format!(" (process {})", peer.pid)),
                socket_path(run).display()
            )));
        }
        // A killed supervisor has its socket until the last of its threads is gone. If a service
        // manager has the socket, the next supervisor serves it at once. Otherwise the next one waits
        // for that end.
        if Instant::now() > until {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn start(settings: &Settings, program: &Path, arguments: Vec<OsString>) -> Result<(), Failure> {
    let log_path = settings.run.join(supervisor::LOG);
    let log = open_log(&log_path).map_err(Failure::system(log_path.display().to_string()))?;
    let log_start = log.metadata().map_or(0, |metadata| metadata.len());
    let (reader, writer) = ready_pipe().map_err(Failure::system("making a pipe"))?;
    let step = || format!("starting {}", program.display());
    let child = Command::new("/proc/self/exe")
        .args(["detach", "--"])
        .arg(program)
        .args(arguments)
        .arg("--ready-fd")
        .arg(writer.as_raw_fd().to_string())
        // The supervisor is no part of a service that may have started this program.
        .env_remove("NOTIFY_SOCKET")
        .stdin(Stdio::null())
        .stdout(log.try_clone().map_err(Failure::system(step()))?)
        .stderr(log)
        .spawn()
        .map_err(Failure::system(step()))?;
    // Only the child may hold the writing end, or this process would not notice its end.
    drop(writer);
    let failed = |exit, message| Err(Failure::Start { exit, message });
    match ready::wait(&reader).map_err(Failure::system("waiting for the supervisor"))? {
        Word::Ready => Ok(()),
        Word::Failed { exit, message } => failed(exit, message),
        Word::Silence => {
            let message = format!(
                "the supervisor ended before it was ready; the end of its log {}:\n{}",
                log_path.display(),
                tail(&log_path, log_start)
            );
            failed(Exit::Internal, message)
        }
        Word::Late => {
            let id = child.id();
            if let Ok(pid) = i32::try_from(id) {
                let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
            }
            let message = format!(
                "the supervisor (process {id}) was not ready after {} s and was told to end; the \
                 end of its log {}:\n{}",
                ready::PATIENCE.as_secs(),
                log_path.display(),
                tail(&log_path, log_start)
            );
            failed(Exit::Internal, message)
        }
    }
}

fn open_log(path: &Path) -> io::Result<File> {
    if let Some(run) = path.parent() {
        std::fs::create_dir_all(run)?;
    }
    OpenOptions::new().create(true).append(true).open(path)
}

/// A pipe of which a child inherits the writing end only.
fn ready_pipe() -> nix::Result<(OwnedFd, OwnedFd)> {
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC)?;
    fcntl(&writer, FcntlArg::F_SETFD(FdFlag::empty()))?;
    Ok((reader, writer))
}

/// The last lines of a log, from `start` on, because earlier runs wrote the lines before.
fn tail(path: &Path, start: u64) -> String {
    let read = || -> io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let begin = start.max(file.metadata()?.len().saturating_sub(64 << 10));
        file.seek(SeekFrom::Start(begin))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    match read() {
        Ok(bytes) if bytes.is_empty() => "(nothing)".to_owned(),
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes);
            let lines: Vec<&str> = text.lines().collect();
            lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
        }
        Err(error) => format!("(cannot be read: {error})"),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn only_what_the_last_run_wrote_is_shown() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"old\n").unwrap();
        assert_eq!(tail(file.path(), 4), "(nothing)");
        for number in 0..30 {
            writeln!(file, "line {number}").unwrap();
        }
        let shown = tail(file.path(), 4);
        assert!(shown.starts_with("line 10\n") && shown.ends_with("line 29"), "{shown}");
        assert!(tail(Path::new("/nowhere"), 0).starts_with("(cannot be read"));
    }
}
