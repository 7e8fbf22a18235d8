//! From a lock to distributions that are ready to be stored: each archive is fetched, where it is not here
//! yet, hashed, unpacked and compiled, by itself and as soon as it arrives.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread;

use super::archives::Archives;
use super::confine::{Confine, Input};
use super::heard::{self, Heard, Said};
use super::kept::Kept;
use super::lock::Locked;
use super::requirement::Address;
use super::room::Room;
use super::staged::Staged;
use super::unpack;
use super::unpacked::Unpacked;
use super::uv::{Uv, WORK_INSIDE};
use super::wanted::Wanted;
use super::wheel::layout::Expected;
use super::{AddError, Step, Unit, bytecode, credentials, folder};

/// Fetches archives.
const FETCH: &str = concat!(include_str!("request.py"), include_str!("archives.py"));
/// Folder of what it fetches, and the list of that, in the work folder.
const FETCHED: &str = "archives";
const LIST: &str = "archives.txt";

/// What gathering takes.
#[derive(Clone, Copy)]
pub struct Gather<'a> {
    /// Where jobs run.
    pub confine: &'a dyn Confine,
    /// Where packages are, and what they are for.
    pub uv: &'a Uv<'a>,
    /// Archives that are here.
    pub kept: &'a Kept,
    /// What the lock was made for, with where archives are.
    pub wanted: &'a Wanted,
    /// An empty folder, which has what is gathered as long as that is needed.
    pub staging: &'a Path,
}

/// A distribution, and the archive that it is of.
#[derive(Debug)]
pub struct Gathered {
    /// Which digest the archive has of those that were asked for, `algorithm:digest`.
    pub archive: String,
    /// The distribution.
    pub unpacked: Unpacked,
}

/// Where an archive is.
enum Place {
    /// Among those that are kept.
    Kept,
    /// Where others have written it.
    File(File),
}

enum Event {
    Said(Said),
    /// A distribution is there; or its archive was not what it should be, and is to be fetched again.
    Over(usize, Box<Result<Option<Gathered>, AddError>>),
    /// Nothing more is fetched.
    Fetched(Result<(), AddError>),
}

type Queue = Sender<(usize, Place)>;

impl Gather<'_> {
    /// Gathers distributions, in the order in which they are given. `told` hears how far it is.
    pub fn all(
        &self,
        locked: &[&Locked],
        told: &mut dyn FnMut(Step),
    ) -> Result<Vec<Gathered>, AddError> {
        let space = Room::of(self.staging)?;
        let mut found: Vec<Option<Gathered>> = locked.iter().map(|_| None).collect();
        let mut left: Vec<usize> = (0..locked.len()).collect();
        // What is kept and not what it should be is not looked for there again.
        for is_kept in [true, false] {
            self.gather(locked, &left, is_kept, &space, &mut found, told)?;
            left.retain(|number| found[*number].is_none());
        }
        found.into_iter().zip(locked).map(|(one, locked)| one.ok_or_else(|| gone(locked))).collect()
    }

    fn gather(
        &self,
        locked: &[&Locked],
        numbers: &[usize],
        is_kept: bool,
        space: &Room,
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
                    while let Some((number, place)) = next(waiting) {
                        let one = self.one(number, locked[number], place, space);
                        let _ = tell.send(Event::Over(number, Box::new(one)));
                    }
                });
            }
            let mut absent = Vec::new();
            for number in numbers {
                let one = locked[*number];
                match self.built(one)? {
                    Some(file) => drop(queue.send((*number, Place::File(file)))),
                    None if is_kept && self.kept.may_have(one) => {
                        drop(queue.send((*number, Place::Kept)));
                    }
                    None => absent.push(*number),
                }
            }
            if absent.is_empty() {
                drop((queue, tell));
            } else {
                let absent = absent.clone();
                scope.spawn(move || {
                    let fetched = self.fetch(locked, &absent, &queue, &tell);
                    let _ = tell.send(Event::Fetched(fetched));
                });
            }
            let (mut heard, mut done, mut failed) = (Heard::default(), 0, None);
            for event in events {
                let failure = match event {
                    Event::Said(said) => {
                        let name = |number: usize| {
                            absent.get(number).map_or("", |number| &*locked[*number].name)
                        };
                        told(heard.hear(&said, name));
                        None
                    }
                    Event::Over(number, one) => match *one {
                        Ok(one) => {
                            found[number] = one;
                            done += 1;
                            let step = format!("installing {} distributions", numbers.len());
                            let total = numbers.len() as u64;
                            told(Step { step, done, total, unit: Unit::Things });
                            None
                        }
                        Err(error) => Some(error),
                    },
                    Event::Fetched(fetched) => fetched.err(),
                };
                failed = failed.or(failure);
            }
            failed.map_or(Ok(()), Err)
        })
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

    /// Unpacks and compiles a distribution; nothing where its archive is not kept after all.
    fn one(
        &self,
        number: usize,
        locked: &Locked,
        place: Place,
        space: &Room,
    ) -> Result<Option<Gathered>, AddError> {
        let verified = match place {
            Place::Kept => self.kept.find(locked)?,
            Place::File(file) => Some(self.kept.take(locked, &file)?.ok_or_else(|| {
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
        let root = self.staging.join("wheels").join(number.to_string());
        folder(&root)?;
        let mut unpacked = unpack::unpack(&verified.file, &expected, &root, space)?;
        let packages = interpreter.site_packages();
        let is_source =
            |path: &str| path.starts_with(&packages) && path.strip_suffix(".py").is_some();
        if interpreter.is_present && unpacked.files.iter().any(|file| is_source(&file.path)) {
            let out = self.staging.join("bytecode").join(number.to_string());
            folder(&out)?;
            bytecode::compile(self.confine, interpreter, &root, &out)?;
            unpacked.take_bytecode(Staged::open(&out)?, out, &interpreter.cache_tag)?;
        }
        Ok(Some(Gathered { archive: verified.hash, unpacked }))
    }

    /// Has archives fetched, and puts each into the queue when it is there.
    fn fetch(
        &self,
        locked: &[&Locked],
        numbers: &[usize],
        queue: &Queue,
        tell: &Sender<Event>,
    ) -> Result<(), AddError> {
        let mut list = String::new();
        for number in numbers {
            let address = address(locked[*number], &self.wanted.archives);
            list.push_str(address.ok_or_else(|| gone(locked[*number]))?);
            list.push('\n');
        }
        let list = self.uv.input(LIST, &list)?;
        let mut argv = vec![self.uv.host.executable.clone().into_os_string()];
        argv.extend(["-I", "-S", "-c", FETCH].map(OsString::from));
        argv.extend([list, Path::new(WORK_INSIDE).join(FETCHED).into()]);
        let work = Staged::open(self.uv.work)?;
        let mut left: Vec<Option<usize>> = numbers.iter().copied().map(Some).collect();
        let mut arrived = |place: usize| -> Result<(), AddError> {
            let Some(number) = left.get_mut(place).and_then(Option::take) else { return Ok(()) };
            let path = format!("{FETCHED}/{place}");
            let (file, ..) = work.open_file(&path).map_err(AddError::at(Path::new(&path)))?;
            drop(queue.send((number, Place::File(file))));
            Ok(())
        };
        let places = self.uv.places(self.wanted);
        let mut job = self.uv.job("fetching archives", argv, None);
        // What is said to uv alone.
        job.argv.remove(1);
        job.network = Some(self.uv.reach(self.wanted));
        job.input = Input(places.urls().collect::<Vec<_>>().join("\n").into_bytes());
        let output = self.confine.run_heard(&job, &mut |line| {
            if let Some(said) = heard::read(line) {
                if let Said::Done(place) = said {
                    // What is not there now is missed at the end.
                    let _ = arrived(place);
                }
                let _ = tell.send(Event::Said(said));
            }
        })?;
        let said = String::from_utf8_lossy(&output.stderr);
        let mut failures = Vec::new();
        for line in said.lines() {
            match heard::read(line) {
                Some(Said::Failed(place, reason)) => {
                    let one = numbers.get(place).map(|number| locked[*number]);
                    let one = one.map(|one| format!("{} {}", one.name, one.version));
                    failures.push(format!("{}: {reason}", one.unwrap_or_default()));
                }
                // Not each line is heard.
                Some(Said::Done(place)) => arrived(place)?,
                _ => {}
            }
        }
        if output.status == 0 {
            return Ok(());
        }
        if failures.is_empty() {
            let end = said.lines().last().unwrap_or_default();
            failures.push(format!("{end} (status {})", output.status));
        }
        failures.extend(output.refused.iter().cloned());
        let explanation = credentials::hide_all(&failures.join("\n"), &places.secrets());
        Err(AddError::Fetch { explanation })
    }
}

/// What the archive of a distribution must be.
pub fn expected<'a>(
    locked: &'a Locked,
    interpreter: &'a crate::interpreter::Interpreter,
) -> Expected<'a> {
    // An address need not say a version.
    let version = locked.url.is_none().then_some(&*locked.version);
    Expected { name: &locked.name, version, interpreter }
}

/// Where a lock says that a distribution's archive is.
fn address<'a>(locked: &'a Locked, archives: &'a Archives) -> Option<&'a str> {
    let direct = || locked.url.as_deref().map(|url| url.split('#').next().unwrap_or(url));
    let known = locked.hashes.iter().find_map(|hash| archives.address(&locked.name, hash));
    known.or_else(direct).filter(|url| Address::parse(url).is_ok())
}

fn gone(locked: &Locked) -> AddError {
    let explanation = format!(
        "{} {}: its archive is not among the downloads, and nothing says where it is",
        locked.name, locked.version
    );
    AddError::Fetch { explanation }
}

fn next(waiting: &Mutex<Receiver<(usize, Place)>>) -> Option<(usize, Place)> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

/// Where the merged environment of what was gathered is.
pub fn merged(staging: &Path) -> PathBuf {
    staging.join("merged")
}
