//! Shims: programs that stand for another, as version managers put them on the PATH.
//!
//! The program that a shim starts depends on its caller's working directory, home and PATH, and often
//! on files that a sandbox does not see. So the shim is asked once, here, in its user's surroundings.
//! From then on the program itself is used.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::{Pid, Uid, User};

use super::program::check_executable;

/// Longest time that a shim may take to answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// Time between two looks at a shim that has not ended.
const PACE: Duration = Duration::from_millis(5);
/// Most bytes of an answer that are read.
const MAX_ANSWER_BYTES: u64 = 64 << 10;

/// Program text that prints the executable of its interpreter.
const PYTHON: &str = "import sys; print(sys.executable)";
/// Program text that prints the path of the uv in the package `uv`.
const UV_OF_PACKAGE: &str = "import uv; print(uv.find_uv_bin())";
/// Shell text that prints the uv that has started it, which uv tells each program that it runs.
const UV: &str = "printf '%s\\n' \"$UV\"";

/// The interpreter that `path` starts: `path` itself, if that is one.
pub fn python(path: &Path) -> io::Result<PathBuf> {
    if is_itself(path, "python") {
        return Ok(path.to_owned());
    }
    let told = program_of(Command::new(path).args(["-I", "-S", "-c", PYTHON]), PATIENCE);
    told.map_err(|error| io::Error::other(format!("it is no Python: {error}")))
}

/// The uv that `path` starts: `path` itself, if that is one.
pub fn uv(path: &Path) -> io::Result<PathBuf> {
    if is_itself(path, "uv") {
        return Ok(path.to_owned());
    }
    let mut run = Command::new(path);
    run.args(["run", "--quiet", "--no-project", "--no-config", "--offline", "--no-cache"]);
    let said = program_of(run.args(["--", "sh", "-c", UV]), PATIENCE);
    // A uv that is too old to tell this may be pip's shim, which has a shim of Python beside it.
    said.or_else(|said| {
        let mut python = Command::new(path.with_file_name("python3"));
        program_of(python.args(["-c", UV_OF_PACKAGE]), PATIENCE).map_err(|_| said)
    })
}

/// True if a file is a compiled program whose own name, behind links, begins with `name`. A script may
/// start another program, and so may a program that looks at the name it was called by.
fn is_itself(path: &Path, name: &str) -> bool {
    let Ok(own) = std::fs::canonicalize(path) else { return false };
    let is_named = own.file_name().is_some_and(|own| own.to_string_lossy().starts_with(name));
    let mut magic = [0; 4];
    let read = File::open(&own).and_then(|mut file| file.read_exact(&mut magic));
    is_named && read.is_ok() && magic == *b"\x7fELF"
}

/// The program whose path a command prints.
fn program_of(command: &mut Command, patience: Duration) -> io::Result<PathBuf> {
    let untold = |reason: String| {
        io::Error::other(format!("it does not tell which program it starts: {reason}"))
    };
    let (status, stdout, stderr) =
        answer_of(command, patience).map_err(|error| untold(error.to_string()))?;
    if !status.success() {
        let reason = stderr.trim();
        let reason = if reason.is_empty() { stdout.trim() } else { reason };
        return Err(untold(format!("{status}: {reason}")));
    }
    // Other output, such as hints of a version manager, comes before.
    let path = PathBuf::from(stdout.lines().last().unwrap_or_default());
    if !path.is_absolute() {
        return Err(untold(format!("it answers `{}`", path.display())));
    }
    check_executable(&path).map_err(|error| untold(format!("{}: {error}", path.display())))?;
    Ok(path)
}

/// The end of a command, and its output.
fn answer_of(
    command: &mut Command,
    patience: Duration,
) -> io::Result<(ExitStatus, String, String)> {
    // Version managers keep their data in the home folder, which services are not told.
    if std::env::var_os("HOME").is_none()
        && let Ok(Some(user)) = User::from_uid(Uid::effective())
    {
        command.env("HOME", user.dir);
    }
    let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.process_group(0).spawn()?;
    let (stdout, stderr) = (read(child.stdout.take()), read(child.stderr.take()));
    let until = Instant::now() + patience;
    let process = Pid::from_raw(child.id().cast_signed());
    let ended = has_ended(process, until);
    // Processes that the command has left would keep its output open. Its number cannot belong to
    // another process, because it has not been reaped.
    let _ = killpg(process, Signal::SIGKILL);
    let status = child.wait()?;
    if !ended? {
        return Err(io::Error::other(format!("it has not answered within {patience:?}")));
    }
    let rest = |stream: Receiver<String>| {
        stream.recv_timeout(until.saturating_duration_since(Instant::now())).unwrap_or_default()
    };
    Ok((status, rest(stdout), rest(stderr)))
}

/// Waits until a process has ended, and leaves it to be reaped; false if it does not end in time.
fn has_ended(process: Pid, until: Instant) -> io::Result<bool> {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    while waitid(Id::Pid(process), flags)? == WaitStatus::StillAlive {
        if Instant::now() > until {
            return Ok(false);
        }
        thread::sleep(PACE);
    }
    Ok(true)
}

/// Reads a stream to its end meanwhile.
fn read(stream: Option<impl Read + Send + 'static>) -> Receiver<String> {
    let (sender, receiver) = channel();
    if let Some(stream) = stream {
        thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = stream.take(MAX_ANSWER_BYTES).read_to_end(&mut bytes);
            let _ = sender.send(String::from_utf8_lossy(&bytes).into_owned());
        });
    }
    receiver
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    /// A folder with a script of that name.
    fn script(name: &str, text: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        (folder, path)
    }

    #[test]
    fn compiled_programs_of_the_name_are_themselves_also_behind_links() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::copy("/bin/true", at("uv-1.2")).unwrap();
        symlink("uv-1.2", at("uv")).unwrap();
        std::fs::copy("/bin/true", at("manager")).unwrap();
        symlink("manager", at("python3")).unwrap();
        assert_eq!(uv(&at("uv")).unwrap(), at("uv"));
        assert!(!is_itself(&at("python3"), "python"));
        // A program that looks at its name, and says nothing of use.
        let error = python(&at("python3")).unwrap_err().to_string();
        assert!(error.contains("it answers ``"), "{error}");
    }

    #[test]
    fn a_script_is_asked_what_it_starts() {
        let (_folder, shim) = script("python3", "echo 'a hint'; exec /usr/bin/env python3 \"$@\"");
        let told = python(&shim).unwrap();
        assert!(told.is_absolute() && told != shim, "{}", told.display());
        // Set here as uv sets it for the programs that it runs.
        let (_folder, shim) =
            script("uv", "while [ \"$1\" != -- ]; do shift; done; shift\nUV=/bin/true \"$@\"");
        assert_eq!(uv(&shim).unwrap(), Path::new("/bin/true"));
        let (folder, shim) = script("uv", "exit 2");
        let python = folder.path().join("python3");
        std::fs::write(&python, "#!/bin/sh\necho /bin/false\n").unwrap();
        std::fs::set_permissions(&python, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(uv(&shim).unwrap(), Path::new("/bin/false"));
    }

    #[test]
    fn what_is_no_answer_says_why() {
        for (text, says) in [
            ("echo uv: command not found >&2; exit 127", "127: uv: command not found"),
            ("echo told on stdout; exit 1", "told on stdout"),
            ("echo relative/uv", "it answers `relative/uv`"),
            ("echo /nowhere/uv", "/nowhere/uv: No such file"),
            ("kill -9 $$", "signal"),
        ] {
            let (_folder, shim) = script("uv", text);
            let error = uv(&shim).unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
        let (_folder, shim) = script("uv", "sleep 1000");
        let late = program_of(&mut Command::new(&shim), Duration::from_millis(50)).unwrap_err();
        assert!(late.to_string().contains("not answered within"), "{late}");
        // The command has ended, but a process that it has left has not.
        let (_folder, shim) = script("uv", "sleep 1000 & echo /bin/true");
        assert_eq!(program_of(&mut Command::new(&shim), PATIENCE).unwrap(), Path::new("/bin/true"));
    }
}
