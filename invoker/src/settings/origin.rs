//! What is in force, and where each value comes from.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{File, NONE, Overrides, Settings, SettingsError, Variables};

/// A setting's value and where that comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// Its key in the configuration file.
    pub key: &'static str,
    /// Its value as the file would have it; absent where it has none. Of addresses the credentials are
    /// left out.
    pub value: Option<String>,
    /// Where that comes from.
    pub origin: Origin,
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// A flag, such as `--memory`.
    Flag(String),
    /// An environment variable.
    Variable(String),
    /// A line of the configuration file, counted from 1.
    File {
        /// The file.
        path: PathBuf,
        /// The line.
        line: usize,
    },
    /// It is said nowhere.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => f.write_str(flag),
            Self::Variable(variable) => f.write_str(variable),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

/// A key of the file. Its flag and its variable are named after it.
struct Key {
    name: &'static str,
    /// Whether its flag is given; absent where only the file says it.
    is_given: Option<fn(&Overrides) -> bool>,
    value: fn(&Settings) -> Option<String>,
}

macro_rules! keys {
    ($($name:ident: $value:expr;)*) => {
        [$(Key {
            name: stringify!($name),
            is_given: Some(|flags| flags.$name.is_some()),
            value: $value,
        }),*]
    };
}

/// Those that flags and variables can say.
const KEYS: [Key; 18] = keys! {
    state: |of| Some(path(&of.state));
    run: |of| Some(path(&of.run));
    mount: |of| Some(path(&of.mount));
    cache: |of| Some(path(&of.cache));
    uv: |of| of.uv.as_deref().map(path);
    python: |of| of.python.as_deref().map(path);
    docker_plugin: |of| Some(path(of.docker_plugin.as_deref().unwrap_or(Path::new(NONE))));
    cdi: |of| Some(path(of.cdi.as_deref().unwrap_or(Path::new(NONE))));
    tiers: |of| Some(text(&of.tiers.to_string()));
    memory: |of| Some(of.memory.to_string());
    eviction: |of| Some(text(&of.eviction.to_string()));
    linger: |of| Some(of.linger.as_secs_f64().to_string());
    spares: |of| Some(of.spares.to_string());
    sandboxes: |of| Some(of.sandboxes.to_string());
    queue: |of| Some(of.queue.to_string());
    grace: |of| Some(of.grace.as_secs_f64().to_string());
    logs: |of| Some(of.logs.to_string());
    nat: |of| of.nat.map(|range| text(&range.to_string()));
};

/// Those that only the file says.
const KEYS_OF_FILE: [Key; 8] = [
    Key { name: "payload_in", is_given: None, value: |of| Some(of.payload_in.to_string()) },
    Key { name: "payload_out", is_given: None, value: |of| Some(of.payload_out.to_string()) },
    Key { name: "fork_safe", is_given: None, value: |of| Some(list(&of.fork_safe)) },
    Key {
        name: "index.url",
        is_given: None,
        value: |of| of.index.url.as_deref().map(|url| text(&without_credentials(url))),
    },
    Key {
        name: "index.extra",
        is_given: None,
        value: |of| {
            let extra = of.index.extra.iter();
            Some(list(&extra.map(|url| without_credentials(url)).collect::<Vec<_>>()))
        },
    },
    Key { name: "index.hosts", is_given: None, value: |of| Some(list(&of.index.hosts)) },
    Key {
        name: "secrets.key_file",
        is_given: None,
        value: |of| of.secrets.key_file.as_deref().map(path),
    },
    Key {
        name: "secrets.old_key_files",
        is_given: None,
        value: |of| {
            let old = of.secrets.old_key_files.iter();
            Some(list(&old.map(|path| path.to_string_lossy().into_owned()).collect::<Vec<_>>()))
        },
    },
];

fn keys() -> impl Iterator<Item = &'static Key> {
    KEYS.iter().chain(&KEYS_OF_FILE)
}

impl Settings {
    /// All settings of a supervisor that this process would start with these flags, each with its
    /// origin.
    pub fn explain(flags: &Overrides) -> Result<Vec<Setting>, SettingsError> {
        Self::explain_with(flags, &Variables::OF_PROCESS)
    }

    /// Checks a configuration file, as if nothing but it said anything.
    pub fn check_file(path: &Path) -> Result<(), SettingsError> {
        let variables = |name: &str| match name {
            "PIPSQUEAK_CONFIG" => Some(path.into()),
            "PATH" => std::env::var_os(name),
            _ => None,
        };
        Self::resolve_with(Overrides::default(), &Variables(&variables)).map(drop)
    }

    /// The value of each key, as the configuration file would have it.
    pub fn values(&self) -> BTreeMap<String, Option<String>> {
        keys().map(|key| (key.name.to_owned(), (key.value)(self))).collect()
    }

    pub(super) fn explain_with(
        flags: &Overrides,
        variables: &Variables,
    ) -> Result<Vec<Setting>, SettingsError> {
        let settings = Self::resolve_with(flags.clone(), variables)?;
        let (file, _) = variables.config_file();
        let lines = File::lines(&file);
        let of = |key: &Key| {
            let variable = format!("PIPSQUEAK_{}", key.name.to_uppercase());
            let origin = match key.is_given {
                Some(is_given) if is_given(flags) => {
                    Origin::Flag(format!("--{}", key.name.replace('_', "-")))
                }
                Some(_) if variables.get(&variable).is_some() => Origin::Variable(variable),
                _ => lines
                    .get(key.name)
                    .map_or(Origin::Default, |&line| Origin::File { path: file.clone(), line }),
            };
            Setting { key: key.name, value: (key.value)(&settings), origin }
        };
        Ok(keys().map(of).collect())
    }
}

fn text(value: &str) -> String {
    toml::Value::from(value).to_string()
}

fn path(path: &Path) -> String {
    text(&path.to_string_lossy())
}

fn list(values: &[String]) -> String {
    toml::Value::from(values.to_vec()).to_string()
}

fn without_credentials(address: &str) -> String {
    let Some((scheme, rest)) = address.split_once("://") else { return address.to_owned() };
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    // What follows the path may be a token.
    let path = path.split(['?', '#']).next().unwrap_or_default();
    match host.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://****@{host}{path}"),
        None => format!("{scheme}://{host}{path}"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::ffi::OsString;

    use super::*;
    use crate::settings::file::EVERY_KEY;

    #[test]
    fn every_key_of_the_file_is_told() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), EVERY_KEY).unwrap();
        let told: BTreeSet<&str> = keys().map(|key| key.name).collect();
        let lines = File::lines(file.path());
        assert_eq!(told, lines.keys().map(String::as_str).collect());
        assert_eq!((lines["state"], lines["index.url"]), (2, 24));
    }

    #[test]
    fn origins_are_told_and_values_are_read_back() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let said = "# mine\nmemory = \"1K\"\nfork_safe = [\"a\"]\nqueue = 7\nspares = 1\n\
                    index.url = \"https://me:hunter2@host:8080/simple?token=hunter2\"\n";
        std::fs::write(file.path(), said).unwrap();
        let variables = |name: &str| match name {
            "PIPSQUEAK_CONFIG" => Some(file.path().into()),
            "PIPSQUEAK_QUEUE" => Some(OsString::from("8")),
            _ => None,
        };
        let flags = Overrides { spares: Some("3".to_owned()), ..Overrides::default() };
        let told = Settings::explain_with(&flags, &Variables(&variables)).unwrap();
        let of = |key: &str| {
            let one = told.iter().find(|one| one.key == key).unwrap();
            (one.value.clone().unwrap_or_default(), one.origin.to_string())
        };
        let path = file.path().display();
        let expected = |value: &str, origin: String| (value.to_owned(), origin);
        assert_eq!(of("memory"), expected("1024", format!("{path}:2")));
        assert_eq!(of("fork_safe"), expected("[\"a\"]", format!("{path}:3")));
        assert_eq!(of("queue"), expected("8", "PIPSQUEAK_QUEUE".to_owned()));
        assert_eq!(of("spares"), expected("3", "--spares".to_owned()));
        assert_eq!(of("grace"), expected("300", "default".to_owned()));
        assert_eq!(of("index.url").0, "\"https://****@host:8080/simple\"");
        // It is a file that says the same.
        let lines = told.iter().filter(|one| !one.key.contains('.'));
        let lines =
            lines.filter_map(|one| Some(format!("{} = {}\n", one.key, one.value.as_ref()?)));
        std::fs::write(file.path(), lines.collect::<String>()).unwrap();
        let again = |name: &str| (name == "PIPSQUEAK_CONFIG").then(|| file.path().into());
        let again = Settings::explain_with(&Overrides::default(), &Variables(&again)).unwrap();
        for (one, other) in told.iter().zip(&again).filter(|(one, _)| !one.key.contains('.')) {
            assert_eq!((one.key, &one.value), (other.key, &other.value));
        }
    }
}
