//! Why a program could not be started in a sandbox.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Cause;

/// Why a hand could not start a program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum LaunchError {
    /// The order came with fewer descriptors than a program has.
    #[error("the order came with only {0} descriptors for a program")]
    Descriptors(usize),
    /// An argument or a variable that no program can be given.
    #[error("{0:?} holds a zero byte")]
    Zero(String),
    /// The order names no program.
    #[error("the order names no program")]
    NoProgram,
    /// write(2) to `cgroup.procs`.
    #[error("joining the sandbox's cgroup: {0}")]
    Group(#[source] Cause),
    /// setns(2).
    #[error("joining the sandbox's namespaces: {0}")]
    Namespaces(#[source] Cause),
    /// prctl(2), `PR_SET_DUMPABLE`.
    #[error("becoming readable: {0}")]
    Readable(#[source] Cause),
    /// socketpair(2).
    #[error("making a socket to the program's process: {0}")]
    Socket(#[source] Cause),
    /// fork(2).
    #[error("forking the program's process: {0}")]
    Fork(#[source] Cause),
    /// `pidfd_open(2)`.
    #[error("opening the program's process: {0}")]
    Open(#[source] Cause),
    /// recvmsg(2).
    #[error("hearing from the program's process: {0}")]
    Hear(#[source] Cause),
    /// ptrace(2), until the exec.
    #[error("tracing the program's process: {0}")]
    Trace(#[source] Cause),
    /// sendmsg(2).
    #[error("waking the program's process: {0}")]
    Wake(#[source] Cause),
    /// The program's process ended and said nothing.
    #[error("the program's process ended without a word")]
    Wordless,
    /// ptrace(2), after the exec.
    #[error("taking the program's capability away: {0}")]
    Owner(#[source] Cause),
    /// The program's own steps.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// The program's process said something that is no error of this build's.
    #[error("the program's process said what cannot be read: {0:?}")]
    Garbled(String),
}

/// Why a process could not become a program: the variants are in the order of the steps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum ProgramError {
    /// setrlimit(2).
    #[error("limiting resources: {0}")]
    Limits(#[source] Cause),
    /// setresuid(2), capset(2) and what belongs to them.
    #[error("giving up privileges: {0}")]
    Privileges(#[source] Cause),
    /// chdir(2).
    #[error("entering the working directory {}: {source}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The cause.
        source: Cause,
    },
    /// Landlock.
    #[error("restricting what files can be changed: {0}")]
    Files(#[source] Cause),
    /// seccomp(2).
    #[error("installing the filter of system calls: {0}")]
    Filter(#[source] Cause),
    /// sendmsg(2) of the descriptor on which a zygote's questions are heard.
    #[error("sending the descriptor on which questions are heard: {0}")]
    Listener(#[source] Cause),
    /// execve(2).
    #[error("executing {program}: {source}")]
    Exec {
        /// The program.
        program: String,
        /// The cause.
        source: Cause,
    },
}
