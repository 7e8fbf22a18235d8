//! From a lock to distributions that are ready to be stored: each archive is fetched, where it is not here
//! yet, hashed, unpacked and compiled, by itself and as soon as it arrives.

use std::cmp::Reverse;
use std::fs::{self, File};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use crate::ingest::archive::cache::ArchiveCache;
use crate::ingest::archive::fetch::{Fetch, gone};
use crate::ingest::archive::progress::{DownloadEvent, DownloadProgress};
use crate::ingest::archive::staging::Staging;
use crate::ingest::archive::unpack::Unpacking;
use crate::ingest::archive::unpacked::{Bytecode, Unpacked};
use crate::ingest::archive::wheel::layout::Expected;
use crate::ingest::bytecode::Share;
use crate::ingest::confine::{Confine, Stop};
use crate::ingest::resolve::lock::Locked;
use crate::ingest::resolve::uv::Uv;
use crate::ingest::resolve::wanted::Wanted;
use crate::ingest::{AddError, Step, Unit, bytecode, folder};
use crate::sync::Mutex;

/// Inputs of gathering.
#[derive(Clone, Copy)]
pub struct Gather<'a> {
    /// Runner of jobs.
    pub confine: &'a dyn Confine,
    /// Indexes, and the interpreter that packages are for.
    pub uv: &'a Uv<'a>,
    /// Archives that are here.
    pub archive_cache: &'a ArchiveCache,
    /// Requirements that the lock was made for, with addresses of archives.
    pub wanted: &'a Wanted,
    /// Empty folders, which have what is gathered as long as that is needed.
    pub staging: &'a Staging<'a>,
    /// Ends all jobs, once one of them has failed.
    pub stop: &'a Stop,
}

/// A distribution, and the archive that it is of.
#[derive(Debug)]
pub struct Gathered {
    /// Digest that the archive has, of those that were asked for, `algorithm:digest`.
    pub archive: String,
    /// The distribution.
    pub unpacked: Unpacked,
    /// Shares of its sources that are not compiled yet.
    pub left: &'static [Share],
}

/// Archive that was obtained.
enum Obtained {
    /// Among those that are kept.
    Cached,
    /// A file that others have written.
    File(File),
}

enum Event {
    Download(DownloadEvent),
    /// A distribution is there; or its archive was not what it should be, and is to be fetched again.
    Over(usize, Box<Result<Option<Gathered>, AddError>>),
    /// Nothing more is fetched.
    Fetched(Result<(), AddError>),
}

impl Gather<'_> {
    /// Gathers distributions, in the order in which they are given, with the bytecode that imports may
    /// read. `told` hears how far it is.
    pub fn all(
        &self,
        locked: &[&Locked],
        told: &mut dyn FnMut(Step),
    ) -> Result<Vec<Gathered>, AddError> {
        let mut found: Vec<Option<Gathered>> = locked.iter().map(|_| None).collect();
        let mut left: Vec<usize> = (0..locked.len()).collect();
        // What is kept and not what it should be is not looked for there again.
        for is_kept in [true, false] {
            self.gather(locked, &left, is_kept, &mut found, told)?;
            left.retain(|number| found[*number].is_none());
        }
        found.into_iter().zip(locked).map(|(one, locked)| one.ok_or_else(|| gone(locked))).collect()
    }

    fn gather(
        &self,
        locked: &[&Locked],
        numbers: &[usize],
        is_kept: bool,
        found: &mut [Option<Gathered>],
        told: &mut dyn FnMut(Step),
    ) -> Result<(), AddError> {
        if numbers.is_empty() {
            return Ok(());
        }
        let workers = thread::available_parallelism().map_or(1, usize::from).min(numbers.len());
        let (queue, waiting) = channel();
        let waiting = &Mutex::new(waiting);
        thread::scope(|scope| {
            let (tell, events) = channel();
            for _ in 0..workers {
                let tell = tell.clone();
                scope.spawn(move || {
                    while let Some((number, obtained)) = next(waiting)
                        && !self.stop.is_called()
                    {
                        let one = self.one(number, locked[number], obtained);
                        let _ = tell.send(Event::Over(number, Box::new(one)));
                    }
                });
            }
            let absent = self.enqueue(locked, numbers, is_kept, &queue)?;
            let fetched: Vec<&Locked> = absent.iter().map(|number| locked[*number]).collect();
            let names: Vec<&str> = fetched.iter().map(|one| &*one.name).collect();
            if absent.is_empty() {
                drop((queue, tell));
            } else {
                scope.spawn(move || {
                    let mut arrived = |number: usize, file| {
                        drop(queue.send((absent[number], Obtained::File(file))));
                    };
                    let mut told = |event| drop(tell.send(Event::Download(event)));
                    let result = self.fetch().all(&fetched, &mut arrived, &mut told);
                    let _ = tell.send(Event::Fetched(result));
                });
            }
            let mut note = |number: usize, one| found[number] = one;
            self.hear_all(&events, &names, numbers.len(), &mut note, told)
        })
    }

    /// Puts archives that are here into the queue. Returns the numbers of the others.
    fn enqueue(
        &self,
        locked: &[&Locked],
        numbers: &[usize],
        is_kept: bool,
        queue: &Sender<(usize, Obtained)>,
    ) -> Result<Vec<usize>, AddError> {
        let mut absent = Vec::new();
        // Large ones first: processors that begin with the small ones do not end together.
        let mut numbers = numbers.to_vec();
        numbers.sort_by_key(|number| Reverse(self.archive_cache.size(locked[*number])));
        for number in numbers {
            let one = locked[number];
            match self.built(one)? {
                Some(file) => drop(queue.send((number, Obtained::File(file)))),
                None if is_kept && self.archive_cache.may_have(one) => {
                    drop(queue.send((number, Obtained::Cached)));
                }
                None => absent.push(number),
            }
        }
        Ok(absent)
    }

    fn fetch(&self) -> Fetch<'_> {
        Fetch { confine: self.confine, uv: self.uv, wanted: self.wanted, stop: self.stop }
    }

    /// Hears of all events until nobody is at work. The first failure ends all jobs. `names` are those of the
    /// distributions that are fetched.
    fn hear_all(
        &self,
        events: &Receiver<Event>,
        names: &[&str],
        distributions: usize,
        note: &mut dyn FnMut(usize, Option<Gathered>),
        told: &mut dyn FnMut(Step),
    ) -> Result<(), AddError> {
        let (mut progress, mut done, mut failed) = (DownloadProgress::default(), 0, None);
        for event in events {
            let failure = match event {
                Event::Download(event) => {
                    told(progress.hear(&event, |number| names.get(number).copied().unwrap_or("")));
                    None
                }
                Event::Over(number, one) => match *one {
                    Ok(one) => {
                        note(number, one);
                        done += 1;
                        let step = format!("installing {distributions} distributions");
                        let total = distributions as u64;
                        told(Step { step, done, total, unit: Unit::Things });
                        None
                    }
                    Err(error) => Some(error),
                },
                Event::Fetched(fetched) => fetched.err(),
            };
            if failure.is_some() {
                self.stop.now();
            }
            // What was ended for another's failure fails after that.
            failed = failed.or(failure);
        }
        failed.map_or(Ok(()), Err)
    }

    /// The wheel of a distribution that was built here.
    fn built(&self, locked: &Locked) -> Result<Option<File>, AddError> {
        let source = locked.source.as_deref().and_then(|source| source.strip_prefix("sha256:"));
        let (Some(built), Some(source)) = (self.uv.built, source) else { return Ok(None) };
        let found = built.folders().find(|(_, digest)| *digest == source);
        let Some((folder, _)) = found else { return Ok(None) };
        let entries = fs::read_dir(&folder).map_err(AddError::at(&folder))?;
        for entry in entries {
            let path = entry.map_err(AddError::at(&folder))?.path();
            if path.extension().is_some_and(|extension| extension == "whl") {
                return File::open(&path).map(Some).map_err(AddError::at(&path));
            }
        }
        Ok(None)
    }

    /// Unpacks and compiles a distribution; nothing if its archive is not kept after all.
    fn one(
        &self,
        number: usize,
        locked: &Locked,
        obtained: Obtained,
    ) -> Result<Option<Gathered>, AddError> {
        let verified = match obtained {
            Obtained::Cached => self.archive_cache.find(locked)?,
            Obtained::File(file) => Some(self.archive_cache.take(locked, &file)?.ok_or_else(|| {
                let Locked { name, version, hashes, .. } = locked;
                let hashes = hashes.join(" or ");
                AddError::unsatisfiable(format!(
                    "{name} {version}: what is at its archive's address does not have the digest \
                     that is asked for, {hashes}"
                ))
            })?),
        };
        let Some(verified) = verified else { return Ok(None) };
        let interpreter = self.uv.interpreter;
        let expected = expected(locked, interpreter);
        let unpacking = Unpacking::of(&verified.file, &expected)?;
        let staged = self.staging.take(&locked.name, unpacking.bytes())?;
        let root = staged.join("wheels").join(number.to_string());
        folder(&root)?;
        let mut unpacked = unpacking.into_folder(&root)?;
        let mut left: &[Share] = if interpreter.is_present {
            unpacked.shares(&interpreter.site_packages())
        } else {
            &[]
        };
        if let [first @ (Share::All | Share::Early), rest @ ..] = left {
            let compiled = self.compile(&unpacked, *first)?;
            unpacked.add(compiled);
            left = rest;
        }
        Ok(Some(Gathered { archive: verified.hash, unpacked, left }))
    }

    fn compile(&self, unpacked: &Unpacked, share: Share) -> Result<Bytecode, AddError> {
        let (root, interpreter) = (unpacked.root(), self.uv.interpreter);
        // Beside it, and of this share alone: what was digested is written by nobody.
        let out = root.with_extension(share.name());
        folder(&out)?;
        bytecode::compile(self.confine, interpreter, root, &out, (share, self.stop))?;
        unpacked.find_bytecode(out, &interpreter.cache_tag)
    }

    /// Compiles what [`Self::all`] has left, on all processors: which of the distributions it is of, and
    /// the bytecode.
    pub fn rest(&self, gathered: &[Gathered]) -> Result<Vec<(usize, Bytecode)>, AddError> {
        let all = gathered.iter().zip(0..);
        let left = all.flat_map(|(one, number)| one.left.iter().map(move |share| (number, *share)));
        let mut left: Vec<(usize, Share)> = left.collect();
        left.sort_by_key(|(number, _)| Reverse(gathered[*number].unpacked.files.len()));
        let next = AtomicUsize::new(0);
        let work = || {
            let mut done = Vec::new();
            while let Some((number, share)) = left.get(next.fetch_add(1, Ordering::Relaxed)) {
                let compiled = self.compile(&gathered[*number].unpacked, *share);
                done.push((*number, compiled.inspect_err(|_| self.stop.now())?));
            }
            Ok(done)
        };
        let workers = thread::available_parallelism().map_or(1, usize::from).min(left.len());
        let all: Vec<Result<Vec<_>, AddError>> = thread::scope(|scope| {
            let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
            let panicked = |_| Err(AddError::Lock("compiling has panicked".to_owned()));
            workers.into_iter().map(|one| one.join().unwrap_or_else(panicked)).collect()
        });
        Ok(all.into_iter().collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
    }
}

/// Expectation of a distribution's archive.
pub fn expected<'a>(
    locked: &'a Locked,
    interpreter: &'a crate::interpreter::Interpreter,
) -> Expected<'a> {
    // An address need not say a version.
    let version = locked.url.is_none().then_some(&*locked.version);
    Expected { name: &locked.name, version, interpreter }
}

fn next(waiting: &Mutex<Receiver<(usize, Obtained)>>) -> Option<(usize, Obtained)> {
    waiting.lock().recv().ok()
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::ingest::archive::wheel::sample::interpreter;
    use crate::ingest::confine::{ConfineError, Job, JobOutput};
    use crate::ingest::resolve::search_scope::IndexOptions;
    use crate::requirements::Requirements;

    const PATIENCE: Duration = Duration::from_secs(30);

    /// Fetches the first archive, which is not what was asked for, and nothing else until it is ended.
    struct Endless<'a>(&'a Path);

    impl Confine for Endless<'_> {
        fn run_heard(
            &self,
            job: &Job,
            heard: &mut dyn FnMut(&str),
        ) -> Result<JobOutput, ConfineError> {
            let (folder, until) = (self.0.join("archives"), Instant::now() + PATIENCE);
            fs::create_dir(&folder).unwrap();
            fs::write(folder.join("0"), "something else").unwrap();
            heard("done 0");
            while !job.stop.is_called() && Instant::now() < until {
                thread::sleep(Duration::from_millis(5));
            }
            let (label, reason) = (job.label.clone(), "it was ended".to_owned());
            Err(ConfineError::Failed { label, reason })
        }
    }

    #[test]
    fn what_is_fetched_beside_a_wheel_that_is_refused_is_fetched_no_more() {
        let folders = [(); 3].map(|()| tempfile::tempdir().unwrap());
        let [work, cache, disk] = &folders;
        let (interpreter, index) = (interpreter(), IndexOptions::default());
        let uv = Uv {
            binary: Path::new("/usr/bin/uv"),
            cache: None,
            interpreter: &interpreter,
            host: &interpreter,
            work: work.path(),
            built: None,
            index: &index,
        };
        let mut wanted = Wanted::of(&Requirements::default(), &interpreter).unwrap();
        let locked = ["one", "other"].map(|name| {
            let hash = format!("sha256:{}", "0".repeat(64));
            let url = format!("https://files.pythonhosted.org/{name}-1-py3-none-any.whl");
            wanted.archives.add(name.to_owned(), &url, hash.clone());
            let (name, version) = (name.to_owned(), "1".to_owned());
            Locked { name, version, url: None, hashes: vec![hash], source: None }
        });
        let (archive_cache, stop) = (ArchiveCache::open(cache.path()).unwrap(), Stop::default());
        let (confine, staging) = (Endless(work.path()), Staging::of(disk.path(), None).unwrap());
        let (uv, archive_cache, staging) = (&uv, &archive_cache, &staging);
        let gather =
            Gather { confine: &confine, uv, archive_cache, wanted: &wanted, staging, stop: &stop };
        let begun = Instant::now();
        let locked: Vec<&Locked> = locked.iter().collect();
        let error = gather.all(&locked, &mut |_| {}).unwrap_err();
        assert!(error.to_string().contains("one 1: what is at its archive's address"), "{error}");
        assert!(begun.elapsed() < PATIENCE, "it was waited for");
    }
}
