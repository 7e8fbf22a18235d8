//! The configuration file: TOML, every key optional, no key unknown.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::error::SettingsError;
use super::table::File;
use super::variables::Variables;

impl File {
    /// Reads the file that the variables name, or the usual one.
    pub(super) fn of(variables: &Variables) -> Result<Self, SettingsError> {
        let (path, is_asked_for) = variables.config_file();
        Self::read(&path, is_asked_for)
    }

    /// Reads the file at `path`. An absent file counts as an empty one, unless it was asked for.
    fn read(path: &Path, asked_for: bool) -> Result<Self, SettingsError> {
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&text).map_err(|(line, reason)| SettingsError::Content {
                path: path.to_owned(),
                line,
                reason,
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound && !asked_for => {
                Ok(Self::default())
            }
            Err(source) => Err(SettingsError::File { path: path.to_owned(), source }),
        }
    }

    /// Lines on which the file at `path` sets keys; of a table, `table.key`.
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

    /// Reads the file's text. An error is a line and its fault.
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
log_level = "debug"
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
    use std::time::Duration;

    use super::super::kind::{Kind, Written};
    use super::super::{Eviction, Index, LogLevel, Row, Secrets, TABLE, Tiers};
    use super::*;

    #[allow(clippy::unnecessary_wraps, reason = "a key of the file may be absent")]
    fn said<K: Kind>(value: K::Said) -> Option<Written<K>> {
        Some(Written(value))
    }

    #[test]
    fn every_key_is_read() {
        let expected = File {
            state: said("/s".into()),
            run: said("/r".into()),
            mount: said("/m".into()),
            cache: said("/c".into()),
            uv: said(Some("uv".into())),
            python: said(Some("/usr/bin/python3".into())),
            docker_plugin: said(None),
            cdi: said(Some("/d.json".into())),
            tiers: said(Tiers { zygote: false, ..Tiers::ALL }),
            memory: said(3 << 29),
            eviction: said(Eviction::GreedyDual),
            log_level: said(LogLevel::Debug),
            linger: said(Duration::ZERO),
            spares: said(3),
            sandboxes: said(20),
            queue: said(0),
            payload_in: said(10 << 20),
            payload_out: said(100),
            grace: said(Duration::from_millis(500)),
            logs: said(2 << 20),
            fork_safe: said(vec!["threaded".to_owned()]),
            nat: said(Some("10.11.0.0/20".parse().unwrap())),
            index: Index {
                hosts: vec!["files.example:8443".to_owned()],
                url: Some("https://me:hunter2@host/simple".to_owned()),
                extra: vec!["http://other/simple".to_owned()],
            },
            secrets: Secrets { key_file: Some("/k".into()), old_key_files: vec!["/o".into()] },
        };
        assert!(!format!("{expected:?}").contains("hunter2"));
        assert_eq!(File::parse(EVERY_KEY), Ok(expected));
        assert_eq!(File::parse(""), Ok(File::default()));
        let other_ways = File::parse("tiers = \"none\"\nmemory = 7").unwrap();
        assert_eq!((other_ways.tiers, other_ways.memory), (said(Tiers::NONE), said(7)));
        assert_eq!(File::parse("tiers = []").unwrap().tiers, said(Tiers::NONE));
    }

    #[test]
    fn examples_of_the_table_are_read() {
        for Row { key, example, .. } in TABLE {
            let read = File::parse(&format!("{key} = {example}"));
            assert!(read.is_ok_and(|file| file != File::default()), "{key} = {example}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        for (text, line, part) in [
            ("state = \"/s\"\nstat = \"/t\"", 2, "unknown field `stat`"),
            ("\n\nstate = \"relative\"", 3, "`relative` is not an absolute path"),
            ("run = \"/r\"\nmemory = \"much\"", 2, "`much` is no size"),
            ("log_level = \"loud\"", 1, "`loud` is no level of the log"),
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
