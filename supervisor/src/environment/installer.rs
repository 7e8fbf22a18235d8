//! Sandboxes in which packages are resolved and installed. Each is like a function's, with a few
//! folders of its own, and one way to the network for jobs that download.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{fchown, lchown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::statvfs::statvfs;
use pipsqueak_fs::{Confine, ConfineError, Interpreter, Job, JobOutput, Reach};
use pipsqueak_kernel::mount::{self, Access};
use pipsqueak_kernel::pidfd;
use tokio::runtime::Handle;

use super::audience::Audience;
use super::{interpreter, lines};
use crate::machine::cgroups::Limits;
use crate::network::{Outward, Upstream};
use crate::sandbox::{
    Commons, INSTALLER, Mounted, Plan, Program, Sandbox, Sandboxes, Standing, host_user,
};

/// Most processes and threads of a job.
const PIDS: u32 = 1024;
/// Size limit of a job's `/tmp`, in bytes.
const TMP_BYTES: u64 = 4 << 30;
/// Most bytes of each output stream that are kept; the rest is read and dropped.
const MAX_OUTPUT_BYTES: usize = 16 << 20;
/// Most bytes of a job's stdin: as many as fit into a pipe, whatever the kernel's page size.
const MAX_INPUT_BYTES: usize = 60 << 10;
/// Time between two looks at the free space.
const SPACE_PACE: Duration = Duration::from_millis(50);
/// Longest wait for the report of a job's end.
const EXIT_PATIENCE: Duration = Duration::from_secs(2);

/// Runs jobs in sandboxes that see one interpreter.
#[derive(Debug)]
pub struct Installer {
    sandboxes: Arc<Sandboxes>,
    interpreter: Interpreter,
    runtime: Handle,
    /// Clients that the jobs work for; the jobs end when these give up. Absent if the jobs never give up.
    audience: Option<Arc<Audience>>,
}

impl Installer {
    /// An installer for environments of `interpreter`.
    pub fn new(sandboxes: Arc<Sandboxes>, interpreter: Interpreter, runtime: Handle) -> Self {
        Self { sandboxes, interpreter, runtime, audience: None }
    }

    /// Ties the installer to an audience: its jobs end when the audience gives up.
    #[must_use]
    pub fn of(self, audience: &Arc<Audience>) -> Self {
        Self { audience: Some(audience.clone()), ..self }
    }

    fn is_given_up(&self) -> bool {
        self.audience.as_ref().is_some_and(|audience| audience.is_given_up())
    }

    fn mounts(job: &Job) -> io::Result<Vec<Mounted>> {
        let mut mounts = Vec::new();
        for bind in &job.binds {
            let access = if bind.writable {
                let user = host_user(INSTALLER);
                lchown(&bind.host, Some(user), Some(user))?;
                Access::ReadWrite
            } else {
                Access::ReadOnly
            };
            let taken = mount::take(&bind.host, access).map_err(|error| {
                io::Error::new(error.kind(), format!("{}: {error}", bind.host.display()))
            })?;
            mounts.push((bind.inside.clone(), taken));
        }
        Ok(mounts)
    }

    fn outward(&self, sandbox: &Sandbox, reach: &Reach) -> io::Result<Outward> {
        let door = sandbox.door();
        let upstream = Upstream::of(|name| std::env::var(name).ok());
        let (holder, pid) = (door.holder(), door.holder_pid());
        Outward::open(holder, pid, reach.clone(), Arc::new(upstream), &self.runtime)
            .map_err(io::Error::other)
    }

    /// Runs a job to its end; what it has left.
    fn run_job(&self, job: &Job, heard: &mut dyn FnMut(&str)) -> Result<JobOutput, JobError> {
        self.goes_on(job)?;
        let sandbox = self.sandbox(job)?;
        let outward = job.network.as_ref().map(|reach| self.outward(&sandbox, reach));
        let outward = outward.transpose()?;
        let stdin = stdin_of(job)?;
        let (stdout, out) = io::pipe()?;
        let (stderr, err) = io::pipe()?;
        let (out, err) = (OwnedFd::from(out), OwnedFd::from(err));
        let descriptors = vec![stdin.as_fd(), out.as_fd(), err.as_fd()];
        let program = program(job, outward.as_ref(), descriptors);
        let space = Space::before(job)?;
        let process = self.sandboxes.launch(&sandbox, program).map_err(io::Error::other)?;
        drop((stdin, out, err));
        let (listener, mut lines) = lines::channel();
        let stdout = thread::spawn(|| read_bounded(stdout, |_| {}));
        let stderr = thread::spawn(|| read_bounded(stderr, move |bytes| listener.hear(bytes)));
        let until = Instant::now() + job.timeout;
        let mut ended = false;
        while !ended && space.is_left()? && Instant::now() < until && self.goes_on(job).is_ok() {
            ended = pidfd::wait_end(process.pidfd.as_fd(), SPACE_PACE)?;
            lines.arrived(heard);
        }
        let exit =
            if ended { self.runtime.block_on(process.end.heard(EXIT_PATIENCE)) } else { None };
        // What the job has left running would hold the pipes and could change what it has made.
        sandbox.end().map_err(io::Error::other)?;
        let (stdout, stderr) = (collected(stdout)?, collected(stderr)?);
        // Noticed here, or by the job, for which the disk was full before that.
        let is_done = exit.is_some_and(|exit| exit.code() == 0);
        if !is_done && let Some(folder) = space.taken()? {
            return Err(JobError::Space(folder));
        }
        if !ended {
            self.goes_on(job)?;
            return Err(JobError::Late(job.timeout));
        }
        let exit = exit.ok_or(JobError::Unreported)?;
        let refused = outward.map(|outward| outward.refused()).unwrap_or_default();
        Ok(JobOutput { status: exit.code(), stdout, stderr, refused })
    }

    /// Errors if nobody wants any more what the job makes.
    fn goes_on(&self, job: &Job) -> Result<(), JobError> {
        if self.is_given_up() {
            return Err(JobError::GivenUp);
        }
        if job.stop.is_called() {
            return Err(JobError::Stopped);
        }
        Ok(())
    }

    fn sandbox(&self, job: &Job) -> io::Result<Sandbox> {
        let plan = Plan {
            standing: Standing::Installer,
            limits: Limits { pids: Some(PIDS), memory: Limits::most(), ..Limits::BACKGROUND },
            commons: Commons::of_installers(),
            shared: interpreter::mounts(&self.interpreter)?,
            mounts: Self::mounts(job)?,
            tmp_bytes: TMP_BYTES,
            keeps: None,
        };
        self.sandboxes.make(plan, None).map_err(io::Error::other)
    }
}

/// Why a job has left nothing.
#[derive(Debug, thiserror::Error)]
enum JobError {
    /// The job took more than its share of the space in this folder.
    #[error("it takes too much space in {}", .0.display())]
    Space(PathBuf),
    /// Nobody waits for the job.
    #[error("it was given up: nobody waits for it any more")]
    GivenUp,
    /// Another job of the same work has failed.
    #[error("it was ended: what it was a part of has failed")]
    Stopped,
    /// The job did not end in its time.
    #[error("it did not end within {0:?}")]
    Late(Duration),
    /// The holder of its sandbox did not say how it ended.
    #[error("its end was not reported")]
    Unreported,
    /// Its sandbox, its pipes or the disk.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A job as a program in its sandbox.
fn program<'a>(
    job: &Job,
    outward: Option<&Outward>,
    descriptors: Vec<BorrowedFd<'a>>,
) -> Program<'a> {
    let text = |text: &std::ffi::OsStr| text.to_string_lossy().into_owned();
    let own = job.variables.iter().map(|(name, value)| (text(name), text(value)));
    Program {
        arguments: job.argv.iter().map(|argument| text(argument)).collect(),
        variables: own.chain(outward.into_iter().flat_map(Outward::variables)).collect(),
        directory: job.directory.clone(),
        descriptors,
    }
}

/// The output that a thread has read.
fn collected(reader: thread::JoinHandle<io::Result<Vec<u8>>>) -> io::Result<Vec<u8>> {
    reader.join().unwrap_or_else(|_| Err(io::Error::other("reading a job's output")))
}

impl Confine for Installer {
    fn run_heard(&self, job: &Job, heard: &mut dyn FnMut(&str)) -> Result<JobOutput, ConfineError> {
        let label = job.label.clone();
        match self.run_job(job, heard) {
            Ok(output) => Ok(output),
            Err(JobError::Space(folder)) => Err(ConfineError::Space { label, folder }),
            Err(error) => Err(ConfineError::Failed { label, reason: error.to_string() }),
        }
    }
}

/// The stdin of a job: a pipe that the job's user can read once.
fn stdin_of(job: &Job) -> io::Result<OwnedFd> {
    if job.input.0.is_empty() {
        return Ok(File::open("/dev/null")?.into());
    }
    let (reader, mut writer) = io::pipe()?;
    let user = host_user(INSTALLER);
    fchown(&reader, Some(user), Some(user))?;
    // Nobody reads the pipe yet, so a write that does not fit would block for ever.
    if job.input.0.len() > MAX_INPUT_BYTES {
        return Err(io::Error::other("it is told of too many indexes; name fewer"));
    }
    writer.write_all(&job.input.0)?;
    Ok(reader.into())
}

/// Free space where a job may write. A job may take half of it, because its files are stored once more
/// and the machine needs disk space for other things.
struct Space(Vec<(PathBuf, u64)>);

impl Space {
    fn before(job: &Job) -> io::Result<Self> {
        let writable = job.binds.iter().filter(|bind| bind.writable);
        let free = writable.map(|bind| Ok((bind.host.clone(), free(&bind.host)?)));
        Ok(Self(free.collect::<io::Result<_>>()?))
    }

    fn is_left(&self) -> io::Result<bool> {
        Ok(self.taken()?.is_none())
    }

    /// A folder in which more than half of the free space was taken, if there is one.
    fn taken(&self) -> io::Result<Option<PathBuf>> {
        for (folder, before) in &self.0 {
            if free(folder)? < before / 2 {
                return Ok(Some(folder.clone()));
            }
        }
        Ok(None)
    }
}

/// Free bytes on a folder's file system.
fn free(folder: &Path) -> io::Result<u64> {
    let told = statvfs(folder)?;
    Ok(told.blocks_available() * told.fragment_size())
}

fn read_bounded(mut stream: io::PipeReader, mut heard: impl FnMut(&[u8])) -> io::Result<Vec<u8>> {
    let mut kept = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(kept),
            bytes => {
                heard(&buffer[..bytes]);
                let room = MAX_OUTPUT_BYTES - kept.len();
                kept.extend_from_slice(&buffer[..bytes.min(room)]);
            }
        }
    }
}
