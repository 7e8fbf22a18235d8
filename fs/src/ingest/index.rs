//! Where packages are, as the supervisor was told, and the credentials that are part of it.

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

#[cfg(test)]
mod tests {
    use super::*;

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
