//! Where things are and how much may be used: by flag, then variable, then file, then default.

mod count;
mod eviction;
mod file;
mod index;
mod logs;
mod origin;
mod place;
mod program;
mod range;
mod secrets;
pub mod shim;
mod tiers;

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use eviction::{Eviction, EvictionError};
use file::File;
pub use index::Index;
pub use origin::{Origin, Setting};
pub use program::find_program;
pub use range::{Range, RangeError};
pub use secrets::Secrets;
pub use tiers::{Tiers, TiersError};

use crate::wire::DEFAULT_PAYLOAD;
use crate::{seconds, size};

/// The configuration file that is read where `PIPSQUEAK_CONFIG` names no other.
pub const CONFIG_FILE: &str = "/etc/pipsqueak/config.toml";

const STATE: &str = "/var/lib/pipsqueak";
const RUN: &str = "/run/pipsqueak";
const MOUNT: &str = "/pipsqueak/packages";
/// Long enough for whoever has read a path from the mount to open it.
const GRACE: Duration = Duration::from_secs(300);
/// Longer than a client needs from one answer to its next request, and too short to matter to others.
const LINGER: Duration = Duration::from_millis(5);
/// Where Docker looks for a volume driver named `pipsqueak`; only the instance at [`RUN`] takes it
/// unasked.
const DOCKER_PLUGIN: &str = "/run/docker/plugins/pipsqueak.sock";
/// Where container engines look for devices that come and go; only the instance at [`RUN`] takes it
/// unasked.
const CDI: &str = "/var/run/cdi/pipsqueak.json";
/// What turns off what a path would name.
const NONE: &str = "none";

/// What flags say. Texts are read, and paths made absolute, when they are resolved.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `--state`
    pub state: Option<PathBuf>,
    /// `--run`
    pub run: Option<PathBuf>,
    /// `--mount`
    pub mount: Option<PathBuf>,
    /// `--cache`
    pub cache: Option<PathBuf>,
    /// `--tiers`
    pub tiers: Option<String>,
    /// `--memory`
    pub memory: Option<String>,
    /// `--eviction`
    pub eviction: Option<String>,
    /// `--linger`
    pub linger: Option<String>,
    /// `--spares`
    pub spares: Option<String>,
    /// `--sandboxes`
    pub sandboxes: Option<String>,
    /// `--queue`
    pub queue: Option<String>,
    /// `--grace`
    pub grace: Option<String>,
    /// `--logs`
    pub logs: Option<String>,
    /// `--uv`
    pub uv: Option<PathBuf>,
    /// `--python`
    pub python: Option<PathBuf>,
    /// `--docker-plugin`
    pub docker_plugin: Option<PathBuf>,
    /// `--cdi`
    pub cdi: Option<PathBuf>,
    /// `--nat`
    pub nat: Option<String>,
}

/// The settings of one instance. Paths are absolute; those of its folders have no symbolic link in them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where environments, functions and downloads are kept.
    pub state: PathBuf,
    /// Where the socket and the log are.
    pub run: PathBuf,
    /// Where packages are mounted.
    pub mount: PathBuf,
    /// Where downloads are kept.
    pub cache: PathBuf,
    /// The uv executable; absent where none was named and none is on the PATH.
    pub uv: Option<PathBuf>,
    /// The interpreter of environments that name none; absent where none was named and no
    /// `python3` is on the PATH.
    pub python: Option<PathBuf>,
    /// The tiers in use.
    pub tiers: Tiers,
    /// Budget for what is kept in memory, in bytes.
    pub memory: u64,
    /// Which paused sandbox is dropped first.
    pub eviction: Eviction,
    /// How long a sandbox runs on after its answer where its requests have followed each other so
    /// closely.
    pub linger: Duration,
    /// How many children of one zygote may wait for functions.
    pub spares: usize,
    /// How many sandboxes of functions may serve at the same time.
    pub sandboxes: u32,
    /// How many invocations of one function may wait for their turn.
    pub queue: u32,
    /// Longest event of a function that was deployed without a limit of its own, in bytes. Only the
    /// configuration file says it.
    pub payload_in: u64,
    /// Longest result, likewise.
    pub payload_out: u64,
    /// How long something must have been out of reach before a collection takes it.
    pub grace: Duration,
    /// Most bytes on disk of one function's logs.
    pub logs: u64,
    /// The socket of Docker's volume driver, whose name is the file's; absent where it is off.
    pub docker_plugin: Option<PathBuf>,
    /// The file that describes environments as CDI devices; absent where it is off.
    pub cdi: Option<PathBuf>,
    /// Modules that zygotes import whatever they leave. Only the configuration file says it.
    pub fork_safe: Vec<String>,
    /// Addresses of functions whose network is `nat`; absent where any that are free will do.
    pub nat: Option<Range>,
    /// Where packages are. Only the configuration file says it: flags are seen by everybody.
    pub index: Index,
    /// Keys that encrypt what is stored of secrets. Only the configuration file, or systemd, says it.
    pub secrets: Secrets,
}

/// Why settings could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A flag or a variable has a bad value.
    #[error("{from}: {reason}")]
    Value {
        /// The flag or variable.
        from: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A program that was named is not there or cannot be run.
    #[error("{what}: {}: {error}; name an executable file", path.display())]
    Program {
        /// Which program: `uv` or `python`.
        what: &'static str,
        /// What it was named as.
        path: PathBuf,
        /// Why it cannot be run.
        error: io::Error,
    },
    /// The configuration file cannot be read.
    #[error("reading the configuration file {}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The configuration file says something wrong.
    #[error("{}:{line}: {reason}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong there.
        reason: String,
    },
    /// A relative path, and no working directory to start it from.
    #[error("{}: cannot be made absolute: {error}", path.display())]
    Relative {
        /// The path.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The size of the machine's memory is not known, and no budget was given.
    #[error("asking for the size of memory: {0}; give a budget with --memory")]
    Memory(io::Error),
}

impl Settings {
    /// Resolves all settings of this process.
    pub fn resolve(overrides: Overrides) -> Result<Self, SettingsError> {
        Self::resolve_with(overrides, &Variables::OF_PROCESS)
    }

    fn resolve_with(flags: Overrides, variables: &Variables) -> Result<Self, SettingsError> {
        let file = variables.file()?;
        let place = |flag: Option<PathBuf>, variable, file: Option<PathBuf>, default: &Path| {
            let path = flag.or_else(|| variables.path(variable)).or(file);
            let path = absolute(path.unwrap_or_else(|| default.to_owned()))?;
            Ok::<_, SettingsError>(place::canonical(&path))
        };
        let state = place(flags.state, "PIPSQUEAK_STATE", file.state, STATE.as_ref())?;
        let run = place(flags.run, "PIPSQUEAK_RUN", file.run, RUN.as_ref())?;
        // A place that a machine has once is for the instance that is where users look for it.
        let is_usual = run == place::canonical(Path::new(RUN));
        let once = |flag: Option<PathBuf>, variable, file, usual: &str| {
            let said = flag.or_else(|| variables.path(variable)).or(file);
            let path = said.or_else(|| is_usual.then(|| usual.into()));
            path.filter(|path| path != Path::new(NONE)).map(absolute).transpose()
        };
        let search = variables.get("PATH");
        let program = |what, named: Option<PathBuf>, default: &str, follow: Follow| match named {
            Some(path) => find_program(&path, search.as_deref())
                .and_then(|found| follow(&found))
                .map(Some)
                .map_err(|error| SettingsError::Program { what, path, error }),
            None => Ok(usable(program::find_all(Path::new(default), search.as_deref()), follow)),
        };
        let uv = flags.uv.or_else(|| variables.path("PIPSQUEAK_UV")).or(file.uv);
        let python = flags.python.or_else(|| variables.path("PIPSQUEAK_PYTHON")).or(file.python);
        let tiers = variables
            .read(("--tiers", flags.tiers), "PIPSQUEAK_TIERS", str::parse::<Tiers>)?
            .or(file.tiers);
        let memory = variables
            .read(("--memory", flags.memory), "PIPSQUEAK_MEMORY", size::parse)?
            .or(file.memory);
        let eviction = variables
            .read(("--eviction", flags.eviction), "PIPSQUEAK_EVICTION", str::parse::<Eviction>)?
            .or(file.eviction);
        let linger = variables
            .read(("--linger", flags.linger), "PIPSQUEAK_LINGER", seconds::parse)?
            .or(file.linger);
        let spares = variables
            .read(("--spares", flags.spares), "PIPSQUEAK_SPARES", count::spares)?
            .or(file.spares);
        let sandboxes = variables
            .read(("--sandboxes", flags.sandboxes), "PIPSQUEAK_SANDBOXES", count::sandboxes)?
            .or(file.sandboxes);
        let queue = variables
            .read(("--queue", flags.queue), "PIPSQUEAK_QUEUE", count::queue)?
            .or(file.queue);
        let grace = variables
            .read(("--grace", flags.grace), "PIPSQUEAK_GRACE", seconds::parse)?
            .or(file.grace);
        let logs =
            variables.read(("--logs", flags.logs), "PIPSQUEAK_LOGS", logs::parse)?.or(file.logs);
        let nat = variables
            .read(("--nat", flags.nat), "PIPSQUEAK_NAT", str::parse::<Range>)?
            .or(file.nat);
        Ok(Self {
            run,
            mount: place(flags.mount, "PIPSQUEAK_MOUNT", file.mount, MOUNT.as_ref())?,
            cache: place(flags.cache, "PIPSQUEAK_CACHE", file.cache, &state.join("cache"))?,
            uv: program("uv", uv, "uv", shim::uv)?,
            python: program("python", python, "python3", shim::python)?,
            docker_plugin: once(
                flags.docker_plugin,
                "PIPSQUEAK_DOCKER_PLUGIN",
                file.docker_plugin,
                DOCKER_PLUGIN,
            )?,
            cdi: once(flags.cdi, "PIPSQUEAK_CDI", file.cdi, CDI)?,
            tiers: tiers.unwrap_or(Tiers::ALL),
            memory: memory.map_or_else(half_of_memory, Ok)?,
            eviction: eviction.unwrap_or_default(),
            linger: linger.unwrap_or(LINGER),
            spares: spares.unwrap_or(count::DEFAULT_SPARES),
            sandboxes: sandboxes.unwrap_or_else(count::default_sandboxes),
            queue: queue.unwrap_or(count::DEFAULT_QUEUE),
            payload_in: file.payload_in.unwrap_or(DEFAULT_PAYLOAD),
            payload_out: file.payload_out.unwrap_or(DEFAULT_PAYLOAD),
            grace: grace.unwrap_or(GRACE),
            logs: logs.unwrap_or(logs::DEFAULT),
            fork_safe: file.fork_safe,
            nat,
            index: file.index,
            secrets: file.secrets.or_credentials(variables),
            state,
        })
    }
}

/// The configuration file that is read.
pub fn config_file() -> PathBuf {
    Variables::OF_PROCESS.config_file().0
}

/// Where the socket is: all that a client has to know. Reads the configuration file only where
/// neither flag nor variable says it.
pub fn run_folder(flag: Option<&Path>) -> Result<PathBuf, SettingsError> {
    run_folder_with(flag, &Variables::OF_PROCESS)
}

fn run_folder_with(flag: Option<&Path>, variables: &Variables) -> Result<PathBuf, SettingsError> {
    let said = flag.map(Path::to_owned).or_else(|| variables.path("PIPSQUEAK_RUN"));
    let path = match said {
        Some(path) => path,
        None => variables.file()?.run.unwrap_or_else(|| PathBuf::from(RUN)),
    };
    absolute(path)
}

/// Environment variables; an empty one counts as none.
struct Variables<'a>(&'a dyn Fn(&str) -> Option<OsString>);

impl Variables<'_> {
    const OF_PROCESS: Variables<'static> = Variables(&|name| std::env::var_os(name));

    fn get(&self, name: &str) -> Option<OsString> {
        (self.0)(name).filter(|value| !value.is_empty())
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        self.get(name).map(PathBuf::from)
    }

    /// Where the configuration file is, and whether somebody has said so.
    fn config_file(&self) -> (PathBuf, bool) {
        let said = self.path("PIPSQUEAK_CONFIG");
        (said.clone().unwrap_or_else(|| CONFIG_FILE.into()), said.is_some())
    }

    fn file(&self) -> Result<File, SettingsError> {
        let (path, is_asked_for) = self.config_file();
        File::read(&path, is_asked_for)
    }

    /// Reads a flag or else a variable, and names the one that is wrong.
    fn read<T, E: std::fmt::Display>(
        &self,
        (flag, given): (&'static str, Option<String>),
        variable: &'static str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Result<Option<T>, SettingsError> {
        let (from, text) = match given {
            Some(text) => (flag, text),
            None => match self.get(variable) {
                Some(text) => (variable, text.to_string_lossy().into_owned()),
                None => return Ok(None),
            },
        };
        let value = parse(&text);
        value.map(Some).map_err(|e| SettingsError::Value { from, reason: e.to_string() })
    }
}

/// What finds the program that a shim stands for.
type Follow = fn(&Path) -> io::Result<PathBuf>;

/// The first program that can be used; where none can, the first, so that whoever uses it says why.
fn usable(mut found: impl Iterator<Item = PathBuf>, follow: Follow) -> Option<PathBuf> {
    let first = found.next()?;
    let followed = follow(&first).ok().or_else(|| found.find_map(|other| follow(&other).ok()));
    Some(followed.unwrap_or(first))
}

fn absolute(path: PathBuf) -> Result<PathBuf, SettingsError> {
    std::path::absolute(&path).map_err(|error| SettingsError::Relative { path, error })
}

fn half_of_memory() -> Result<u64, SettingsError> {
    let system = nix::sys::sysinfo::sysinfo().map_err(|e| SettingsError::Memory(e.into()))?;
    Ok(system.ram_total() / 2)
}

#[cfg(test)]
mod tests;
