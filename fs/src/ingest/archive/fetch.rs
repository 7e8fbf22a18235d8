//! Fetching archives from the addresses that a lock names, in a job.

use std::ffi::OsString;
use std::fs::File;
use std::path::Path;

use crate::ingest::archive::progress::{self, DownloadEvent};
use crate::ingest::archive::staged::Staged;
use crate::ingest::confine::{Confine, Input, Job, JobOutput, Stop};
use crate::ingest::requirement::Address;
use crate::ingest::resolve::archive_urls::ArchiveUrls;
use crate::ingest::resolve::lock::Locked;
use crate::ingest::resolve::uv::{Uv, WORK_INSIDE};
use crate::ingest::resolve::wanted::Wanted;
use crate::ingest::{AddError, credentials};

/// Fetches archives.
const FETCH: &str = concat!(include_str!("../request.py"), include_str!("fetch.py"));
/// Folder of fetched archives in the work folder.
const FETCHED: &str = "archives";
/// List of archives to fetch in the work folder.
const LIST: &str = "archives.txt";

/// Fetching of some distributions' archives.
pub struct Fetch<'a> {
    /// Runner of the job.
    pub confine: &'a dyn Confine,
    /// Indexes and interpreter.
    pub uv: &'a Uv<'a>,
    /// Requirements that the lock was made for, with addresses of archives.
    pub wanted: &'a Wanted,
    /// End of the job, once another has failed.
    pub stop: &'a Stop,
}

impl Fetch<'_> {
    /// Has the archives of distributions fetched. `arrived` gets each archive when it is there, with the
    /// number of its distribution; `told` hears all that the job says.
    pub fn all(
        &self,
        locked: &[&Locked],
        arrived: &mut dyn FnMut(usize, File),
        told: &mut dyn FnMut(DownloadEvent),
    ) -> Result<(), AddError> {
        let job = self.job(locked)?;
        let work = Staged::open(self.uv.work)?;
        let mut is_there = vec![false; locked.len()];
        let mut arrive = |number: usize| -> Result<(), AddError> {
            match is_there.get_mut(number) {
                Some(is_there) if !*is_there => *is_there = true,
                _ => return Ok(()),
            }
            let path = format!("{FETCHED}/{number}");
            let (file, ..) = work.open_file(&path).map_err(AddError::at(Path::new(&path)))?;
            arrived(number, file);
            Ok(())
        };
        let output = self.confine.run_heard(&job, &mut |line| {
            if let Some(event) = progress::read(line) {
                if let DownloadEvent::Done(number) = event {
                    // What is not there now is missed at the end.
                    let _ = arrive(number);
                }
                told(event);
            }
        })?;
        let said = String::from_utf8_lossy(&output.stderr);
        let mut failures = Vec::new();
        for line in said.lines() {
            match progress::read(line) {
                Some(DownloadEvent::Failed(number, reason)) => {
                    let name =
                        locked.get(number).map(|one| format!("{} {}", one.name, one.version));
                    failures.push(format!("{}: {reason}", name.unwrap_or_default()));
                }
                // Not each line is heard.
                Some(DownloadEvent::Done(number)) => arrive(number)?,
                _ => {}
            }
        }
        if output.status == 0 { Ok(()) } else { Err(self.failed(failures, &said, &output)) }
    }

    fn job(&self, locked: &[&Locked]) -> Result<Job, AddError> {
        let mut list = String::new();
        for one in locked {
            list.push_str(address(one, &self.wanted.archives).ok_or_else(|| gone(one))?);
            list.push('\n');
        }
        let list = self.uv.input(LIST, &list)?;
        let mut argv = vec![self.uv.host.executable.clone().into_os_string()];
        argv.extend(["-I", "-S", "-c", FETCH].map(OsString::from));
        argv.extend([list, Path::new(WORK_INSIDE).join(FETCHED).into()]);
        let mut job = self.uv.job("fetching archives", argv, None);
        job.stop = self.stop.clone();
        // What is said to uv alone.
        job.argv.remove(1);
        job.network = Some(self.uv.reach(self.wanted));
        let scope = self.uv.scope(self.wanted);
        job.input = Input(scope.urls().collect::<Vec<_>>().join("\n").into_bytes());
        Ok(job)
    }

    fn failed(&self, mut failures: Vec<String>, said: &str, output: &JobOutput) -> AddError {
        if failures.is_empty() {
            let end = said.lines().last().unwrap_or_default();
            failures.push(format!("{end} (status {})", output.status));
        }
        failures.extend(output.refused.iter().cloned());
        let secrets = self.uv.scope(self.wanted).secrets();
        AddError::Fetch { explanation: credentials::hide_all(&failures.join("\n"), &secrets) }
    }
}

/// Address of a distribution's archive, as a lock says it.
fn address<'a>(locked: &'a Locked, archives: &'a ArchiveUrls) -> Option<&'a str> {
    let direct = || locked.url.as_deref().map(|url| url.split('#').next().unwrap_or(url));
    let known = locked.hashes.iter().find_map(|hash| archives.address(&locked.name, hash));
    known.or_else(direct).filter(|url| Address::parse(url).is_ok())
}

/// Error of an archive that is neither here nor anywhere else.
pub fn gone(locked: &Locked) -> AddError {
    let explanation = format!(
        "{} {}: its archive is not among the downloads, and nothing says where it is",
        locked.name, locked.version
    );
    AddError::Fetch { explanation }
}
