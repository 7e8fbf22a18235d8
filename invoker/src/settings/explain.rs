//! The settings in force, and the origin of each value.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::error::SettingsError;
use super::table::{File, Overrides, Row, Settings, TABLE};
use super::variables::{CONFIG, Variables};

/// A setting's value and the origin of the value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// Key in the configuration file.
    pub key: &'static str,
    /// Value in the form of the file; absent if there is none. Addresses have no credentials.
    pub value: Option<String>,
    /// Origin of the value.
    pub origin: Origin,
}

/// Origin of a value.
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
    /// The default, because no value was given.
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

impl Settings {
    /// All settings of a supervisor that this process would start with these flags, each with its
    /// origin.
    pub fn explain(flags: &Overrides) -> Result<Vec<Setting>, SettingsError> {
        Self::explain_with(flags, &Variables::OF_PROCESS)
    }

    /// Checks a configuration file, as if there were no flags and variables.
    pub fn check_file(path: &Path) -> Result<(), SettingsError> {
        let variables = |name: &str| match name {
            CONFIG => Some(path.into()),
            "PATH" => std::env::var_os(name),
            _ => None,
        };
        Self::resolve_with(Overrides::default(), &Variables(&variables)).map(drop)
    }

    /// Value of each key, in the form of the configuration file.
    pub fn values(&self) -> BTreeMap<String, Option<String>> {
        TABLE.iter().map(|row| (row.key.to_owned(), row.write_for_file(self))).collect()
    }

    fn explain_with(
        flags: &Overrides,
        variables: &Variables,
    ) -> Result<Vec<Setting>, SettingsError> {
        let settings = Self::resolve_with(flags.clone(), variables)?;
        let (path, _) = variables.config_file();
        let lines = File::lines(&path);
        let origin = |row: &Row| match &row.flag {
            Some(flag) if flag.is_given(flags) => Origin::Flag(flag.name.to_owned()),
            Some(flag) if variables.get(flag.variable).is_some() => {
                Origin::Variable(flag.variable.to_owned())
            }
            _ => match lines.get(row.key) {
                Some(&line) => Origin::File { path: path.clone(), line },
                None => Origin::Default,
            },
        };
        let explain = |row: &Row| Setting {
            key: row.key,
            value: row.write_for_file(&settings),
            origin: origin(row),
        };
        Ok(TABLE.iter().map(explain).collect())
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
        let told: BTreeSet<&str> = TABLE.iter().map(|row| row.key).collect();
        let lines = File::lines(file.path());
        assert_eq!(told, lines.keys().map(String::as_str).collect());
        assert_eq!((lines["state"], lines["index.url"]), (2, 25));
    }

    #[test]
    fn flags_and_variables_have_the_names_of_their_keys() {
        for row in TABLE {
            let Some(flag) = &row.flag else { continue };
            assert_eq!(flag.name, format!("--{}", row.key.replace('_', "-")));
            assert_eq!(flag.variable, format!("PIPSQUEAK_{}", row.key.to_uppercase()));
        }
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
        let flags = Overrides { spares: Some("3".into()), ..Overrides::default() };
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
        // The told values make a configuration file with the same settings.
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
