//! The table of settings: each one's names, kind, default and help, in one place.
//!
//! The macro [`table`] makes of it the types [`Settings`], [`Overrides`] and [`File`], the rows that
//! flags, `pipsqueak config` and the page of settings are made from, and the function that finds the
//! value in force. The first line of a setting's comment is its help.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::amount::{Payload, Seconds, Size};
use super::choice::OneOf;
use super::count::{Queue, Sandboxes, Spares, default_sandboxes};
use super::error::SettingsError;
use super::eviction::Eviction;
use super::index::Index;
use super::installed::{Program, Python, Uv};
use super::kind::{FlagKind, Kind, Written};
use super::log_level::LogLevel;
use super::logs::Logs;
use super::modules::Modules;
use super::place::{Folder, PathOrNone, canonical};
use super::range::{Range, RangeOrFree};
use super::secrets::Secrets;
use super::tiers::Tiers;
use super::variables::Variables;
use crate::wire::DEFAULT_PAYLOAD;

/// The default folder of the socket.
pub(super) const RUN: &str = "/run/pipsqueak";
/// The variable that names the folder of the socket.
pub(super) const RUN_VARIABLE: &str = "PIPSQUEAK_RUN";
/// The folder in which Docker looks for a volume driver named `pipsqueak`.
const DOCKER_PLUGIN: &str = "/run/docker/plugins/pipsqueak.sock";
/// The folder in which container engines look for devices that come and go.
const CDI: &str = "/var/run/cdi/pipsqueak.json";

// A default that is computed may use the settings above it.
table! {
    flags(Every) {
        /// Folder of environments, functions and downloads
        state: PathBuf = Folder {
            flag: "--state",
            variable: "PIPSQUEAK_STATE",
            default: "/var/lib/pipsqueak",
        }
        /// Folder of the supervisor's socket and log
        run: PathBuf = Folder {
            flag: "--run",
            variable: RUN_VARIABLE,
            default: RUN,
        }
        /// Folder at which packages are mounted
        mount: PathBuf = Folder {
            flag: "--mount",
            variable: "PIPSQUEAK_MOUNT",
            default: "/pipsqueak/packages",
        }
    }
    flags(Start) {
        /// Folder of downloads
        cache: PathBuf = Folder {
            flag: "--cache",
            variable: "PIPSQUEAK_CACHE",
            default: "STATE/cache" => state.join("cache"),
        }
        /// Tiers in use: some of paused,zygote,ssd, or none
        tiers: Tiers = Tiers {
            flag: "--tiers",
            variable: "PIPSQUEAK_TIERS",
            default: "all" => Tiers::ALL,
        }
        /// Budget for what is kept in memory
        ///
        /// In bytes.
        memory: u64 = Size {
            flag: "--memory",
            variable: "PIPSQUEAK_MEMORY",
            default: "half of it" => half_of_memory()?,
            more: "[What is kept](../guide/load.md#what-is-kept-in-memory).",
        }
        /// Which paused sandbox is dropped first: lru, or greedy-dual, which saves more time
        eviction: Eviction = OneOf<Eviction> {
            flag: "--eviction",
            variable: "PIPSQUEAK_EVICTION",
            default: "lru",
        }
        /// How long a sandbox runs on after its answer where requests follow each other, in seconds
        ///
        /// The default is longer than a client needs from one answer to its next request, and too short
        /// to matter to others.
        linger: Duration = Seconds {
            flag: "--linger",
            variable: "PIPSQUEAK_LINGER",
            default: "0.005",
        }
        /// How many children of one zygote may wait for functions, 0 for none
        ///
        /// The default is enough for some hundred starts a second.
        spares: usize = Spares {
            flag: "--spares",
            variable: "PIPSQUEAK_SPARES",
            default: "8",
        }
        /// How many sandboxes of functions may serve at the same time
        sandboxes: u32 = Sandboxes {
            flag: "--sandboxes",
            variable: "PIPSQUEAK_SANDBOXES",
            default: "16 for each processor" => default_sandboxes(),
            more: "[Many at once](../guide/load.md#many-at-once).",
        }
        /// How many invocations of one function may wait for their turn
        ///
        /// More than the default wait for longer than anybody wants to.
        queue: u32 = Queue {
            flag: "--queue",
            variable: "PIPSQUEAK_QUEUE",
            default: "256",
        }
        /// How long something must have been out of reach before `store gc` takes it, in seconds
        ///
        /// The default is long enough for whoever has read a path from the mount to open it.
        grace: Duration = Seconds {
            flag: "--grace",
            variable: "PIPSQUEAK_GRACE",
            default: "300",
        }
        /// Most that one function's logs may have on disk
        ///
        /// In bytes.
        logs: u64 = Logs {
            flag: "--logs",
            variable: "PIPSQUEAK_LOGS",
            default: "10M",
            more: "[Logs](../guide/logs.md).",
        }
        /// Least weight of what the supervisor logs: error, warn, info, or debug
        ///
        /// `debug` tells of each invocation.
        log_level: LogLevel = OneOf<LogLevel> {
            flag: "--log-level",
            variable: "PIPSQUEAK_LOG_LEVEL",
            default: "info",
            more: "[Its log](../guide/operate.md#the-supervisors-log).",
        }
        /// The uv executable
        ///
        /// Absent if none was named and none is on the PATH.
        uv: Option<PathBuf> = Program<Uv> {
            flag: "--uv",
            variable: "PIPSQUEAK_UV",
            default: "uv on the PATH" => None,
            more: "Of a version manager's shim, the program that it starts.",
        }
        /// The interpreter of environments that name none
        ///
        /// Absent if none was named and no `python3` is on the PATH.
        python: Option<PathBuf> = Program<Python> {
            flag: "--python",
            variable: "PIPSQUEAK_PYTHON",
            default: "python3 on the PATH" => None,
            more: "Of a version manager's shim, the program that it starts.",
        }
        /// Socket of Docker's volume driver, or none
        ///
        /// The driver's name is the file's. A machine has the place once: it is for the instance that is
        /// where users look for it.
        docker_plugin: Option<PathBuf> = PathOrNone {
            flag: "--docker-plugin",
            variable: "PIPSQUEAK_DOCKER_PLUGIN",
            default: "/run/docker/plugins/pipsqueak.sock, unless --run" => usual(&run, DOCKER_PLUGIN),
            more: "[Containers](../guide/containers.md).",
        }
        /// File of CDI devices, or none
        ///
        /// The place is for the usual instance, like the volume driver's.
        cdi: Option<PathBuf> = PathOrNone {
            flag: "--cdi",
            variable: "PIPSQUEAK_CDI",
            default: "/var/run/cdi/pipsqueak.json, unless --run" => usual(&run, CDI),
            more: "[Containers](../guide/containers.md).",
        }
        /// Addresses of functions whose network is nat, such as 10.11.0.0/20
        ///
        /// Absent if any that are free will do.
        nat: Option<Range> = RangeOrFree {
            flag: "--nat",
            variable: "PIPSQUEAK_NAT",
            default: "a free part of 198.18.0.0/15" => None,
            more: "[Network](../guide/network.md).",
        }
    }
    file {
        /// Longest event of a function that was deployed without a limit of its own
        ///
        /// In bytes.
        payload_in: u64 = Payload {
            default: "6M" => DEFAULT_PAYLOAD,
            more: "64M at most.",
        }
        /// Longest result, as a whole, of a function that was deployed without a limit of its own
        ///
        /// In bytes.
        payload_out: u64 = Payload {
            default: "6M" => DEFAULT_PAYLOAD,
            more: "64M at most.",
        }
        /// Modules that zygotes import although they look unfit
        fork_safe: Vec<String> = Modules {
            default: "none" => Vec::new(),
            more: "[Zygotes](../guide/zygotes.md).",
        }
    }
    tables {
        /// The indexes of packages. Only the file says them: flags are seen by everybody.
        index: Index {
            /// The index of packages
            "index.url" {
                default: "PyPI",
                example: "\"https://host/simple\"",
                quoted: true,
                write: Index::write_url,
                more: "[Private indexes](../guide/packages.md#private-indexes).",
            }
            /// Indexes that are searched before that
            "index.extra" {
                default: "none",
                example: "[\"https://host/simple\"]",
                quoted: false,
                write: |index| Some(index.write_extra()),
            }
            /// Further hosts that downloads may reach
            "index.hosts" {
                default: "none",
                example: "[\"host:8443\"]",
                quoted: false,
                write: |index| Some(index.write_hosts()),
            }
        }
        /// Keys that encrypt what is stored of secrets. Only the file, or systemd, says them.
        secrets: Secrets {
            /// Key that encrypts what is stored of secrets
            "secrets.key_file" {
                default: "none",
                example: "\"/key\"",
                quoted: true,
                write: Secrets::write_key_file,
                more: "[Encryption](../security/secrets.md#encryption-at-rest).",
            }
            /// Keys that decrypt what was encrypted before
            "secrets.old_key_files" {
                default: "none",
                example: "[\"/old-key\"]",
                quoted: false,
                write: |secrets| Some(secrets.write_old_key_files()),
            }
        }
    }
}

/// The names of a setting, and what people are told of it.
#[derive(Debug)]
pub struct Row {
    /// The key in the configuration file; of a table, `table.key`.
    pub key: &'static str,
    /// The flag and the variable; absent if only the file says the setting.
    pub flag: Option<Flag>,
    /// The help, a line.
    pub help: &'static str,
    /// The default, as the help has it.
    pub default: &'static str,
    /// A value, as the file has it.
    pub example: &'static str,
    /// More that the page of settings says, in Markdown.
    pub more: Option<&'static str>,
    /// True if the file has the text of [`Row::write`] between quotes.
    pub(super) is_quoted: bool,
    /// The value as text.
    pub(super) write: fn(&Settings) -> Option<OsString>,
}

/// The flag and the variable of a setting.
#[derive(Debug)]
pub struct Flag {
    /// The flag, such as `--memory`.
    pub name: &'static str,
    /// The variable, such as `PIPSQUEAK_MEMORY`.
    pub variable: &'static str,
    /// The value's name in the help, such as `SIZE`.
    pub value_name: &'static str,
    /// True if the value is a path, which need not be UTF-8.
    pub is_path: bool,
    /// The commands that take the flag.
    pub scope: Scope,
    given: fn(&Overrides) -> Option<&OsStr>,
    give: fn(&mut Overrides, OsString),
}

/// The commands that take a flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// All commands: the flag tells which instance is meant.
    Every,
    /// Commands that start an instance or look at its settings.
    Start,
}

/// The settings that flags can say.
pub fn flags() -> impl Iterator<Item = (&'static Row, &'static Flag)> {
    TABLE.iter().filter_map(|row| Some((row, row.flag.as_ref()?)))
}

impl Row {
    /// The value as the configuration file would have it; absent if there is none. Of addresses the
    /// credentials are left out.
    pub(super) fn write_for_file(&self, settings: &Settings) -> Option<String> {
        let text = (self.write)(settings)?.to_string_lossy().into_owned();
        Some(if self.is_quoted { toml::Value::from(text).to_string() } else { text })
    }
}

impl Flag {
    /// Gives the flag.
    pub fn give(&self, overrides: &mut Overrides, text: OsString) {
        (self.give)(overrides, text);
    }

    /// True if the flag is given.
    pub(super) fn is_given(&self, overrides: &Overrides) -> bool {
        (self.given)(overrides).is_some()
    }

    /// The flag without its dashes, as clap takes it.
    pub fn long(&self) -> &'static str {
        self.name.trim_start_matches('-')
    }
}

/// The value that a flag says, or else a variable.
fn flag_or_variable<K: FlagKind>(
    (flag, given): (&'static str, Option<OsString>),
    (variable, variables): (&'static str, &Variables),
) -> Result<Option<K::Said>, SettingsError> {
    let (from, text) = match given {
        Some(text) => (flag, Some(text)),
        None => (variable, variables.get(variable)),
    };
    text.map(|text| read::<K>(from, &text)).transpose()
}

/// Reads a text that comes from a flag or a variable.
fn read<K: FlagKind>(from: &'static str, text: &OsStr) -> Result<K::Said, SettingsError> {
    K::read(text).map_err(|source| SettingsError::Value { from, source })
}

/// A place that a machine has once, if the instance is the usual one.
fn usual(run: &Path, place: &str) -> Option<PathBuf> {
    (run == canonical(Path::new(RUN))).then(|| place.into())
}

fn half_of_memory() -> Result<u64, SettingsError> {
    let system = nix::sys::sysinfo::sysinfo().map_err(|e| SettingsError::Memory(e.into()))?;
    Ok(system.ram_total() / 2)
}
