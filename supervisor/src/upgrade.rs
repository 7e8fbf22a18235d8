//! An upgrade: this process becomes the program that is installed now.
//!
//! Descriptors are handed to the next program as a service manager would do it (`sd_listen_fds(3)`), so
//! that a supervisor takes over in only one way.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sched::{CloneFlags, unshare};
use pipsqueak_kernel::descriptor;

/// Flag that is for one run of a supervisor only, and takes a value.
const READY_FLAG: &str = "--ready-fd";
/// Suffix that Linux gives to an executable's path after the file was replaced.
const DELETED: &str = " (deleted)";

/// Reason that this process cannot become the installed program.
#[derive(Debug, thiserror::Error)]
pub enum UpgradeError {
    /// The supervisor is a service, which its manager restarts.
    #[error(
        "this supervisor is a service, whose manager restarts it so that the mount and clients wait: \
        `systemctl restart` it"
    )]
    Service,
    /// The program does not run.
    #[error("{}: {reason}; install a program that runs there first", path.display())]
    Program {
        /// The program.
        path: PathBuf,
        /// The program's complaint, or the reason that it could not be started.
        reason: String,
    },
}

/// The program that this process becomes, and the descriptors that it gets.
#[derive(Debug)]
pub struct Successor {
    program: PathBuf,
    handed: Vec<(String, OwnedFd)>,
}

/// Path at which the supervisor's program is installed, even if another file is there by now.
pub fn program() -> io::Result<PathBuf> {
    let path = std::env::current_exe()?;
    let text = path.to_string_lossy();
    Ok(text.strip_suffix(DELETED).map(PathBuf::from).unwrap_or(path.clone()))
}

/// Checks that a program can be started. Blocks.
pub fn check(path: &Path) -> Result<(), UpgradeError> {
    let failed = |reason| UpgradeError::Program { path: path.to_owned(), reason };
    let said = Command::new(path).arg("--version").output();
    let said = said.map_err(|error| failed(error.to_string()))?;
    if said.status.success() {
        return Ok(());
    }
    let complaint = String::from_utf8_lossy(&said.stderr).trim().to_owned();
    Err(failed(format!("{}: {complaint}", said.status)))
}

impl Successor {
    /// The program that is installed now, with named descriptors.
    pub fn new(handed: Vec<(String, OwnedFd)>) -> io::Result<Self> {
        Ok(Self { program: program()?, handed })
    }

    /// Becomes the program, with the arguments of this process. Returns only an error.
    ///
    /// The last call of a process: all other descriptors are closed.
    pub fn become_it(self) -> io::Error {
        let names: Vec<_> = self.handed.iter().map(|(name, _)| name.as_str()).collect();
        let mut command = Command::new(&self.program);
        command
            .args(arguments(std::env::args_os().skip(1)))
            .env("LISTEN_PID", std::process::id().to_string())
            .env("LISTEN_FDS", names.len().to_string())
            .env("LISTEN_FDNAMES", names.join(":"));
        let streams = (io::stdin(), io::stdout(), io::stderr());
        let mut descriptors = vec![streams.0.as_fd(), streams.1.as_fd(), streams.2.as_fd()];
        descriptors.extend(self.handed.iter().map(|(_, handed)| handed.as_fd()));
        // Other threads may run until the end, and close descriptors by numbers that this thread is
        // about to reuse. So this thread gets a descriptor table of its own.
        let arranged = unshare(CloneFlags::CLONE_FILES)
            .map_err(io::Error::from)
            .and_then(|()| descriptor::arrange(&descriptors, None::<BorrowedFd<'_>>));
        // The numbers belong to other descriptors by now.
        self.handed.into_iter().for_each(|(_, handed)| std::mem::forget(handed));
        match arranged {
            Ok(()) => command.exec(),
            Err(error) => error,
        }
    }
}

/// The arguments without those that are for one run only.
fn arguments(own: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut own = own.peekable();
    let mut kept = Vec::new();
    while let Some(argument) = own.next() {
        if argument == READY_FLAG {
            own.next();
        } else if !argument.to_string_lossy().starts_with(&format!("{READY_FLAG}=")) {
            kept.push(argument);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_for_one_life_is_left_out() {
        let all = |texts: &[&str]| texts.iter().map(OsString::from).collect::<Vec<_>>();
        let own = all(&["--run", "/r", "--ready-fd", "5", "--mount", "/m", "--ready-fd=7"]);
        assert_eq!(arguments(own.into_iter()), all(&["--run", "/r", "--mount", "/m"]));
    }

    /// Variable that makes this test, started by itself, become the program that it names.
    const BECOME: &str = "PIPSQUEAK_TEST_BECOME";

    const SCRIPT: &str = "#!/bin/sh\nprintf 'begun '\n\
        for number in 3 4 5 6 7 8 9; do eval \"head -c 1 <&$number\"; done\n";

    #[test]
    fn what_is_handed_over_arrives_whatever_other_threads_do() {
        if let Some(program) = std::env::var_os(BECOME) {
            let begun = std::sync::Arc::new(std::sync::Barrier::new(5));
            for _ in 0..4 {
                let begun = begun.clone();
                std::thread::spawn(move || {
                    begun.wait();
                    loop {
                        drop(std::fs::File::open("/dev/null"));
                    }
                });
            }
            begun.wait();
            let program = PathBuf::from(program);
            let open = |_| ("one".to_owned(), std::fs::File::open(&program).unwrap().into());
            let handed = (3..=9).map(open).collect();
            panic!("{}", Successor { program, handed }.become_it());
        }
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("program");
        std::fs::write(&program, SCRIPT).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&program, mode).unwrap();
        for round in 0..100 {
            let said = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "--nocapture"])
                .arg("upgrade::tests::what_is_handed_over_arrives_whatever_other_threads_do")
                .env(BECOME, &program)
                .output()
                .unwrap();
            let text = String::from_utf8_lossy(&said.stdout);
            assert!(text.contains("begun #######"), "round {round}: {said:?}");
        }
    }

    #[test]
    fn what_does_not_run_is_no_successor() {
        check(&program().unwrap()).unwrap_err();
        check(Path::new("/bin/true")).unwrap();
        let missing = check(Path::new("/nonexistent/pipsqueakd")).unwrap_err();
        assert!(missing.to_string().contains("/nonexistent/pipsqueakd: No such file"), "{missing}");
    }
}
