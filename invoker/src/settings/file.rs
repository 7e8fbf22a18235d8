//! The configuration file: TOML, every key optional, no key unknown.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error};
use toml::de::{DeTable, DeValue};

use super::{Eviction, Index, NONE, Range, Secrets, SettingsError, Tiers, count, logs};
use crate::wire::MOST_PAYLOAD;
use crate::{seconds, size};

/// What the configuration file says.
#[derive(Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct File {
    #[serde(deserialize_with = "folder")]
    pub(super) state: Option<PathBuf>,
    #[serde(deserialize_with = "folder")]
    pub(super) run: Option<PathBuf>,
    #[serde(deserialize_with = "folder")]
    pub(super) mount: Option<PathBuf>,
    #[serde(deserialize_with = "folder")]
    pub(super) cache: Option<PathBuf>,
    #[serde(deserialize_with = "program")]
    pub(super) uv: Option<PathBuf>,
    #[serde(deserialize_with = "program")]
    pub(super) python: Option<PathBuf>,
    #[serde(deserialize_with = "path_or_none")]
    pub(super) docker_plugin: Option<PathBuf>,
    #[serde(deserialize_with = "path_or_none")]
    pub(super) cdi: Option<PathBuf>,
    #[serde(deserialize_with = "tiers")]
    pub(super) tiers: Option<Tiers>,
    #[serde(deserialize_with = "memory")]
    pub(super) memory: Option<u64>,
    #[serde(deserialize_with = "eviction")]
    pub(super) eviction: Option<Eviction>,
    #[serde(deserialize_with = "time")]
    pub(super) linger: Option<Duration>,
    #[serde(deserialize_with = "some_spares")]
    pub(super) spares: Option<usize>,
    #[serde(deserialize_with = "some_sandboxes")]
    pub(super) sandboxes: Option<u32>,
    #[serde(deserialize_with = "some_queue")]
    pub(super) queue: Option<u32>,
    #[serde(deserialize_with = "payload")]
    pub(super) payload_in: Option<u64>,
    #[serde(deserialize_with = "payload")]
    pub(super) payload_out: Option<u64>,
    #[serde(deserialize_with = "time")]
    pub(super) grace: Option<Duration>,
    #[serde(deserialize_with = "some_logs")]
    pub(super) logs: Option<u64>,
    pub(super) fork_safe: Vec<String>,
    #[serde(deserialize_with = "range")]
    pub(super) nat: Option<Range>,
    pub(super) index: Index,
    pub(super) secrets: Secrets,
}

impl File {
    /// Reads the file at `path`; one that is not there says nothing, unless it was asked for.
    pub(super) fn read(path: &Path, asked_for: bool) -> Result<Self, SettingsError> {
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&text).map_err(|(line, reason)| SettingsError::Content {
                path: path.to_owned(),
                line,
                reason,
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound && !asked_for => {
                Ok(Self::default())
            }
            Err(error) => Err(SettingsError::File { path: path.to_owned(), error }),
        }
    }

    /// On which line the file at `path` says each key; of a table, `table.key`.
    pub(super) fn lines(path: &Path) -> BTreeMap<String, usize> {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let mut lines = BTreeMap::new();
        let Ok(file) = DeTable::parse(&text) else { return lines };
        for (key, value) in file.get_ref() {
            match value.get_ref() {
                DeValue::Table(table) => {
                    let within = |inner: &str| format!("{}.{inner}", key.get_ref());
                    let inner = table
                        .keys()
                        .map(|inner| (within(inner.get_ref()), line_of(&text, inner.span().start)));
                    lines.extend(inner);
                }
                _ => {
                    lines.insert(key.get_ref().to_string(), line_of(&text, key.span().start));
                }
            }
        }
        lines
    }

    /// Reads the file's text; an error is a line and what is wrong there.
    fn parse(text: &str) -> Result<Self, (usize, String)> {
        toml::from_str(text).map_err(|error| {
            let start = error.span().map_or(0, |span| span.start.min(text.len()));
            (line_of(text, start), error.message().to_owned())
        })
    }
}

/// The line of a place in a text, counted from 1.
fn line_of(text: &str, place: usize) -> usize {
    text.get(..place).unwrap_or_default().split('\n').count()
}

/// The file is read from any working directory, so that a relative path means nothing in it.
fn folder<'de, D: Deserializer<'de>>(from: D) -> Result<Option<PathBuf>, D::Error> {
    let path = PathBuf::deserialize(from)?;
    if !path.is_absolute() {
        return Err(D::Error::custom(format!("`{}` is not an absolute path", path.display())));
    }
    Ok(Some(path))
}

/// An absolute path, or `none`.
fn path_or_none<'de, D: Deserializer<'de>>(from: D) -> Result<Option<PathBuf>, D::Error> {
    let path = PathBuf::deserialize(from)?;
    if !path.is_absolute() && path != Path::new(NONE) {
        let shown = path.display();
        return Err(D::Error::custom(format!("`{shown}` is neither an absolute path nor `none`")));
    }
    Ok(Some(path))
}

/// An absolute path, or a bare name that is looked for on the PATH.
fn program<'de, D: Deserializer<'de>>(from: D) -> Result<Option<PathBuf>, D::Error> {
    let path = PathBuf::deserialize(from)?;
    if !path.is_absolute() && path.components().count() != 1 {
        return Err(D::Error::custom(format!(
            "`{}` is neither an absolute path nor a program's name",
            path.display()
        )));
    }
    Ok(Some(path))
}

fn tiers<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Tiers>, D::Error> {
    #[derive(serde::Deserialize)]
    #[serde(untagged, expecting = "tiers are a list such as [\"paused\", \"zygote\", \"ssd\"]")]
    enum Written {
        Text(String),
        List(Vec<String>),
    }
    let text = match Written::deserialize(from)? {
        Written::List(names) if names.is_empty() => "none".to_owned(),
        Written::List(names) => names.join(","),
        Written::Text(text) => text,
    };
    text.parse().map(Some).map_err(D::Error::custom)
}

fn memory<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    #[derive(serde::Deserialize)]
    #[serde(untagged, expecting = "a size is a number of bytes or a text such as \"512M\"")]
    enum Written {
        Bytes(u64),
        Text(String),
    }
    match Written::deserialize(from)? {
        Written::Bytes(bytes) => Ok(Some(bytes)),
        Written::Text(text) => size::parse(&text).map(Some).map_err(D::Error::custom),
    }
}

fn eviction<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Eviction>, D::Error> {
    String::deserialize(from)?.parse().map(Some).map_err(D::Error::custom)
}

fn some_logs<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    let bytes = memory(from)?.unwrap_or_default();
    logs::parse(&bytes.to_string()).map(Some).map_err(D::Error::custom)
}

fn some_spares<'de, D: Deserializer<'de>>(from: D) -> Result<Option<usize>, D::Error> {
    let number = i64::deserialize(from)?;
    count::spares(&number.to_string()).map(Some).map_err(D::Error::custom)
}

fn some_sandboxes<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u32>, D::Error> {
    let number = i64::deserialize(from)?;
    count::sandboxes(&number.to_string()).map(Some).map_err(D::Error::custom)
}

fn some_queue<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u32>, D::Error> {
    let number = i64::deserialize(from)?;
    count::queue(&number.to_string()).map(Some).map_err(D::Error::custom)
}

fn payload<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    let bytes = memory(from)?.filter(|bytes| (1..=MOST_PAYLOAD).contains(bytes));
    let wrong = || format!("a payload may have from 1 byte to {} MiB", MOST_PAYLOAD >> 20);
    bytes.ok_or_else(|| D::Error::custom(wrong())).map(Some)
}

fn time<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    #[derive(serde::Deserialize)]
    #[serde(untagged, expecting = "a time is a number of seconds")]
    enum Written {
        Whole(u64),
        Part(f64),
    }
    let text = match Written::deserialize(from)? {
        Written::Whole(number) => number.to_string(),
        Written::Part(number) => number.to_string(),
    };
    seconds::parse(&text).map(Some).map_err(D::Error::custom)
}

fn range<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Range>, D::Error> {
    String::deserialize(from)?.parse().map(Some).map_err(D::Error::custom)
}

/// A file that says everything.
#[cfg(test)]
pub(super) const EVERY_KEY: &str = r#"
state = "/s"
run = "/r"
mount = "/m"
cache = "/c"
uv = "uv"
python = "/usr/bin/python3"
docker_plugin = "none"
cdi = "/d.json"
tiers = ["paused", "ssd"]
memory = "1.5G"
eviction = "greedy-dual"
linger = 0
spares = 3
sandboxes = 20
queue = 0
payload_in = "10M"
payload_out = 100
grace = 0.5
logs = "2M"
fork_safe = ["threaded"]
nat = "10.11.0.0/20"
[index]
url = "https://me:hunter2@host/simple"
extra = ["http://other/simple"]
hosts = ["files.example:8443"]
[secrets]
key_file = "/k"
old_key_files = ["/o"]
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_read() {
        let path = |text: &str| Some(PathBuf::from(text));
        let expected = File {
            state: path("/s"),
            run: path("/r"),
            mount: path("/m"),
            cache: path("/c"),
            uv: path("uv"),
            python: path("/usr/bin/python3"),
            docker_plugin: path("none"),
            cdi: path("/d.json"),
            tiers: Some(Tiers { zygote: false, ..Tiers::ALL }),
            memory: Some(3 << 29),
            eviction: Some(Eviction::GreedyDual),
            linger: Some(Duration::ZERO),
            spares: Some(3),
            sandboxes: Some(20),
            queue: Some(0),
            payload_in: Some(10 << 20),
            payload_out: Some(100),
            grace: Some(Duration::from_millis(500)),
            logs: Some(2 << 20),
            fork_safe: vec!["threaded".to_owned()],
            nat: Some("10.11.0.0/20".parse().unwrap()),
            index: Index {
                hosts: vec!["files.example:8443".to_owned()],
                url: Some("https://me:hunter2@host/simple".to_owned()),
                extra: vec!["http://other/simple".to_owned()],
            },
            secrets: Secrets { key_file: path("/k"), old_key_files: vec!["/o".into()] },
        };
        assert!(!format!("{expected:?}").contains("hunter2"));
        assert_eq!(File::parse(EVERY_KEY), Ok(expected));
        assert_eq!(File::parse(""), Ok(File::default()));
        let other_ways = File::parse("tiers = \"none\"\nmemory = 7").unwrap();
        assert_eq!((other_ways.tiers, other_ways.memory), (Some(Tiers::NONE), Some(7)));
        assert_eq!(File::parse("tiers = []").unwrap().tiers, Some(Tiers::NONE));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        for (text, line, part) in [
            ("state = \"/s\"\nstat = \"/t\"", 2, "unknown field `stat`"),
            ("\n\nstate = \"relative\"", 3, "`relative` is not an absolute path"),
            ("run = \"/r\"\nmemory = \"much\"", 2, "`much` is no size"),
            ("eviction = \"fifo\"", 1, "`fifo` is no policy of eviction"),
            ("linger = \"5ms\"", 1, "a time is a number of seconds"),
            ("spares = -1", 1, "`-1` is no number of spares"),
            ("sandboxes = 0", 1, "`0` is no number of sandboxes"),
            ("queue = -1", 1, "`-1` is no number of invocations that wait"),
            ("payload_in = \"65M\"", 1, "a payload may have"),
            ("grace = \"5m\"", 1, "a time is a number of seconds"),
            ("logs = \"1k\"", 1, "`1024` is too small"),
            ("nat = \"10.11.0.1/20\"", 1, "`10.11.0.1/20` is no range of addresses"),
            ("memory = -1", 1, "a size is a number of bytes"),
            ("tiers = [\"zygotes\"]", 1, "`zygotes` is no tier"),
            ("tiers = 3", 1, "tiers are a list"),
            ("uv = \"bin/uv\"", 1, "neither an absolute path nor"),
            ("cdi = \"off\"", 1, "neither an absolute path nor `none`"),
            ("[index]\nurl = \"host\"", 2, "an index has an address"),
            ("[index]\nextra = [\"file:///x\"]", 2, "an index has an address"),
            ("[index]\nhosts = [\"https://h\"]", 2, "neither HOST nor HOST:PORT"),
            ("[index]\nurls = []", 2, "unknown field `urls`"),
            ("[secrets]\nkey_file = \"hunter2\"", 2, "a key file is an absolute path"),
            ("# ok\nstate = ", 2, ""),
            ("state = \"/s\"\nstate = \"/t\"", 2, "duplicate key"),
        ] {
            let (found, reason) = File::parse(text).unwrap_err();
            assert_eq!(found, line, "{text}: {reason}");
            assert!(reason.contains(part), "{text}: {reason}");
        }
    }
}
