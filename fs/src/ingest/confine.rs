//! Jobs that handle what comes from elsewhere. This library says what they are; whoever
//! uses it says where: the supervisor runs them in sandboxes.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Runs jobs where they can do no harm.
pub trait Confine: Sync {
    /// Runs a job to its end. When it returns nothing that the job has started runs any more.
    fn run(&self, job: &Job) -> Result<JobOutput, ConfineError> {
        self.run_heard(job, &mut |_| {})
    }

    /// Variant of [`Self::run`] whose `heard` is given lines of the job's stderr meanwhile, though maybe
    /// not all.
    fn run_heard(&self, job: &Job, heard: &mut dyn FnMut(&str)) -> Result<JobOutput, ConfineError>;
}

/// A program to be run.
#[derive(Debug, Clone)]
pub struct Job {
    /// Name of the job in messages.
    pub label: String,
    /// Program and arguments; not empty.
    pub argv: Vec<OsString>,
    /// The whole environment.
    pub variables: Vec<(OsString, OsString)>,
    /// Files that the job sees besides the system and the interpreter.
    pub binds: Vec<Bind>,
    /// Reach of the network; no network if it is absent.
    pub network: Option<Reach>,
    /// Stdin.
    pub input: Input,
    /// Working directory inside.
    pub directory: PathBuf,
    /// Longest time that it may take.
    pub timeout: Duration,
    /// Ends it before that.
    pub stop: Stop,
}

/// The end of jobs before their time, once it is known that nobody needs what they make. A clone is the
/// same one.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Ends the jobs that have it, and those that begin with it from now on.
    pub fn now(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// True if they are to end.
    pub fn is_called(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Reach of a job that downloads: public addresses at the ports of the web, and these hosts at
/// these ports, wherever they are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reach {
    /// Hosts in small letters, each with a port, that the user or the configuration has named.
    pub named: BTreeSet<(String, u16)>,
}

/// Stdin of a job, read once: the place for what is secret.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Input(pub Vec<u8>);

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// A folder of the host that a job sees.
#[derive(Debug, Clone)]
pub struct Bind {
    /// Path on the host.
    pub host: PathBuf,
    /// Path in the job.
    pub inside: PathBuf,
    /// True if the job may change it; then it is made the job's user's.
    pub writable: bool,
}

/// Output of a job.
#[derive(Debug)]
pub struct JobOutput {
    /// Exit status; 128 and the signal where it was killed.
    pub status: i32,
    /// Bytes on stdout.
    pub stdout: Vec<u8>,
    /// Text on stderr.
    pub stderr: Vec<u8>,
    /// Places of the network that the job has not reached, and why; a sentence each.
    pub refused: Vec<String>,
}

/// Reason why a job has no result.
#[derive(Debug, thiserror::Error)]
pub enum ConfineError {
    /// The job could not be run, or not to its end.
    #[error("{label}: {reason}")]
    Failed {
        /// The job.
        label: String,
        /// Cause.
        reason: String,
    },
    /// The job was ended before it filled a disk.
    #[error(
        "{label} was ended because it took more than half of the free space at {}; free some, or \
         leave out what unpacks to so much", folder.display()
    )]
    Space {
        /// The job.
        label: String,
        /// Folder that it wrote to.
        folder: PathBuf,
    },
}
