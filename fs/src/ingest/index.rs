//! Where packages are, as the supervisor was told, and the credentials that are part of it.

use std::ffi::OsString;
use std::fmt;

use super::credentials;

/// Where packages are. Its addresses may hold credentials: they are given to uv alone, and hidden in
/// what it says.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Index {
    /// In the place of PyPI.
    pub url: Option<String>,
    /// Searched before that.
    pub extra: Vec<String>,
}

impl fmt::Debug for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hidden = |url: &String| credentials::hide(url);
        f.debug_struct("Index")
            .field("url", &self.url.as_ref().map(hidden))
            .field("extra", &self.extra.iter().map(hidden).collect::<Vec<_>>())
            .finish()
    }
}

impl Index {
    /// The variables by which uv is told, and fetching a source.
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        let extra = (!self.extra.is_empty()).then(|| ("UV_INDEX", self.extra.join(" ")));
        self.url.iter().map(|url| ("UV_DEFAULT_INDEX", url.clone())).chain(extra).collect()
    }
}

/// Where PyPI is.
pub const PYPI: &str = "https://pypi.org/simple";
/// The variables by which uv is told what takes PyPI's place.
pub const DEFAULT: [&str; 2] = ["UV_DEFAULT_INDEX", "UV_INDEX_URL"];
/// The variables by which it is told what else to look in, before that.
pub const EXTRA: [&str; 2] = ["UV_INDEX", "UV_EXTRA_INDEX_URL"];

/// All indexes that options of a requirements file and a job's variables name, PyPI where nothing takes
/// its place.
pub fn all<'a>(
    options: impl Iterator<Item = &'a str>,
    variables: &[(OsString, OsString)],
) -> Vec<String> {
    let (mut extra, mut default) = (Vec::new(), Vec::new());
    for (name, value) in variables {
        let value = value.to_string_lossy();
        // One may have a name.
        let urls = value.split_whitespace().map(|url| match url.split_once('=') {
            Some((name, url)) if !name.contains("://") => url.to_owned(),
            _ => url.to_owned(),
        });
        if EXTRA.iter().any(|extra| name == extra) {
            extra.extend(urls);
        } else if DEFAULT.iter().any(|default| name == default) {
            default.extend(urls);
        }
    }
    for option in options {
        let Some((name, url)) = option.split_once(['=', ' ']) else { continue };
        match name {
            "--extra-index-url" => extra.push(url.trim().to_owned()),
            "-i" | "--index-url" => default.push(url.trim().to_owned()),
            _ => {}
        }
    }
    if default.is_empty() {
        default.push(PYPI.to_owned());
    }
    extra.into_iter().chain(default).collect()
}

/// Has a job look in one index alone.
pub fn only(index: String, variables: &mut Vec<(OsString, OsString)>) {
    variables.retain(|(name, _)| DEFAULT.iter().chain(&EXTRA).all(|other| name != other));
    variables.push((DEFAULT[0].into(), index.into()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_indexes_are_known_whoever_names_them() {
        let options = ["--pre", "--extra-index-url=https://a/simple", "-i  https://b/simple"];
        let variables: Vec<(OsString, OsString)> =
            vec![("UV_INDEX".into(), "own=https://c?x=y https://d?x=y".into())];
        assert_eq!(
            all(options.into_iter(), &variables),
            ["https://c?x=y", "https://d?x=y", "https://a/simple", "https://b/simple"]
        );
        assert_eq!(all(std::iter::empty(), &[]), [PYPI]);
        let mut variables = variables;
        only("https://e".to_owned(), &mut variables);
        assert_eq!(variables, [("UV_DEFAULT_INDEX".into(), OsString::from("https://e"))]);
    }

    #[test]
    fn it_is_told_to_uv_and_not_printed() {
        let index = Index {
            url: Some("https://me:hunter2@host/simple".to_owned()),
            extra: vec!["https://a/simple".to_owned(), "https://token@b/simple".to_owned()],
        };
        assert_eq!(
            index.variables(),
            [
                ("UV_DEFAULT_INDEX", "https://me:hunter2@host/simple".to_owned()),
                ("UV_INDEX", "https://a/simple https://token@b/simple".to_owned()),
            ]
        );
        let printed = format!("{index:?}");
        assert!(!printed.contains("hunter2") && !printed.contains("token"), "{printed}");
        assert_eq!(Index::default().variables(), []);
    }
}
