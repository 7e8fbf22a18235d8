//! Archives that a lock names by their addresses. uv is given them as an index of their own, in which
//! it looks first: so each package comes from where the lock says, whatever other indexes have of
//! that name, and uv still chooses the wheel that fits.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::ingest::AddError;
use crate::ingest::resolve::search_scope::SearchScope;

/// The address below which PyPI has its archives.
const PUBLIC: &str = "https://files.pythonhosted.org/";

/// Addresses of packages' archives, each with its hash, by the packages' normalised names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ArchiveUrls(BTreeMap<String, BTreeSet<(String, String)>>);

impl ArchiveUrls {
    /// Adds an archive with its hash, `algorithm:digest`. One that is not in the web is left out.
    pub fn add(&mut self, name: String, url: &str, hash: String) {
        if url.starts_with("https://") || url.starts_with("http://") {
            let url = url.split('#').next().unwrap_or(url).to_owned();
            self.0.entry(name).or_default().insert((url, hash));
        }
    }

    /// All addresses.
    pub fn urls(&self) -> impl Iterator<Item = &str> {
        self.0.values().flatten().map(|(url, _)| url.as_str())
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Keeps the archives with certain hashes.
    #[must_use]
    pub fn with(mut self, is_right: impl Fn(&str) -> bool) -> Self {
        for archives in self.0.values_mut() {
            archives.retain(|(_, hash)| is_right(hash));
        }
        self.0.retain(|_, archives| !archives.is_empty());
        self
    }

    /// Adds others.
    pub fn extend(&mut self, others: Self) {
        for (name, archives) in others.0 {
            self.0.entry(name).or_default().extend(archives);
        }
    }

    /// Takes what others say of the packages that they have, in the place of what is said here.
    pub fn replace(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    /// True if there are any of a package.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Addresses of a package's archives, each with its hash.
    pub fn of(&self, name: &str) -> impl Iterator<Item = (&str, &str)> {
        self.0.get(name).into_iter().flatten().map(|(url, hash)| (&**url, &**hash))
    }

    /// Address of a package's archive with a hash.
    pub fn address(&self, name: &str, hash: &str) -> Option<&str> {
        let (url, _) = self.0.get(name)?.iter().find(|(_, known)| known == hash)?;
        Some(url)
    }

    /// Writes the pages of the index into `folder`, which a job sees as `inside`, and has the job look
    /// there first.
    ///
    /// Archives of PyPI are looked for there, or in what takes its place on this machine, by version and
    /// hash, unless another index is looked in before that.
    pub fn offer(
        &self,
        folder: &Path,
        inside: &Path,
        scope: &mut SearchScope,
    ) -> Result<(), AddError> {
        let is_hidden = scope.has_extra() && !scope.has_mirror();
        let is_public = |archives: &BTreeSet<(String, String)>| {
            archives.iter().all(|(url, _)| url.starts_with(PUBLIC))
        };
        let mut offered = self.0.iter().filter(|(_, all)| is_hidden || !is_public(all)).peekable();
        if offered.peek().is_none() {
            return Ok(());
        }
        for (name, archives) in offered {
            let page = folder.join(name);
            fs::create_dir_all(&page).map_err(AddError::at(&page))?;
            let page = page.join("index.html");
            fs::write(&page, page_of(archives)).map_err(AddError::at(&page))?;
        }
        scope.look_first_in(format!("file://{}", inside.display()));
        Ok(())
    }
}

/// The page of a package in an index, as PEP 503 has it.
fn page_of(archives: &BTreeSet<(String, String)>) -> String {
    let links = archives.iter().map(|(url, hash)| {
        let file = url.split('?').next().unwrap_or(url);
        let file = file.rsplit('/').next().unwrap_or_default();
        let hash = hash.replacen(':', "=", 1);
        // uv takes what follows the last slash for the archive's name.
        let (path, query) = url.split_at(url.find('?').unwrap_or(url.len()));
        let url = format!("{path}{}", query.replace('/', "%2F"));
        format!("<a href=\"{}#{}\">{}</a><br>\n", escape(&url), escape(&hash), escape(file))
    });
    let links: String = links.collect();
    format!("<!DOCTYPE html>\n<html><body>\n{links}</body></html>\n")
}

fn escape(text: &str) -> String {
    let escaped = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    escaped.replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::resolve::search_scope::IndexOptions;

    fn offered(archives: &ArchiveUrls, index: &IndexOptions) -> (Vec<String>, Vec<String>) {
        let folder = tempfile::tempdir().unwrap();
        let mut scope = SearchScope::of(index, &[]);
        archives.offer(folder.path(), Path::new("/inside"), &mut scope).unwrap();
        let pages = fs::read_dir(folder.path()).unwrap();
        let mut pages: Vec<_> =
            pages.map(|page| page.unwrap().file_name().into_string().unwrap()).collect();
        pages.sort();
        (pages, scope.urls().map(ToOwned::to_owned).collect())
    }

    #[test]
    fn what_another_index_would_hide_is_had_by_its_address() {
        let mut archives = ArchiveUrls::default();
        archives.add("six".to_owned(), &format!("{PUBLIC}six.whl"), "sha256:aa".to_owned());
        let index = |url: Option<&str>, extra: &[&str]| IndexOptions {
            url: url.map(ToOwned::to_owned),
            extra: extra.iter().map(|&url| url.to_owned()).collect(),
            hosts: Vec::new(),
        };
        assert_eq!(offered(&archives, &index(None, &[])), (vec![], vec![]));
        archives.add("own".to_owned(), "https://own/own.whl#x", "sha256:bb".to_owned());
        archives.add("local".to_owned(), "file:///own.whl", "sha256:cc".to_owned());
        let inside = || "file:///inside".to_owned();
        assert_eq!(offered(&archives, &index(None, &[])), (vec!["own".to_owned()], vec![inside()]));
        let both = vec!["own".to_owned(), "six".to_owned()];
        let extra = ["https://a", "https://b"];
        let all = vec![inside(), extra[0].to_owned(), extra[1].to_owned()];
        assert_eq!(offered(&archives, &index(None, &extra)), (both.clone(), all));
        assert_eq!(offered(&archives, &index(Some("https://pypi.org/simple/"), &extra)).0, both);
        // A mirror has what PyPI has, where PyPI itself may be out of reach.
        let mirror = index(Some("https://mirror/simple/"), &extra);
        assert_eq!(offered(&archives, &mirror).0, vec!["own".to_owned()]);
    }

    #[test]
    fn archives_are_known_by_their_hashes() {
        let mut archives = ArchiveUrls::default();
        archives.add("x".to_owned(), "https://x/a.whl", "sha256:aa".to_owned());
        let mut other = ArchiveUrls::default();
        other.add("x".to_owned(), "https://x/b.whl", "sha256:bb".to_owned());
        other.add("y".to_owned(), "https://x/y.whl", "sha256:cc".to_owned());
        archives.extend(other.with(|hash| hash == "sha256:bb"));
        assert!(archives.has("x") && !archives.has("y"));
        assert_eq!(archives.address("x", "sha256:bb"), Some("https://x/b.whl"));
        assert_eq!(archives.address("x", "sha256:cc"), None);
        assert!(archives.with(|_| false).is_empty());
    }

    #[test]
    fn a_page_holds_any_address() {
        let mut archives = ArchiveUrls::default();
        archives.add("x".to_owned(), "https://x/a%2Bb-1.whl?a=\"/\"&b=<2>", "sha256:aa".to_owned());
        assert!(page_of(&archives.0["x"]).contains(
            "<a href=\"https://x/a%2Bb-1.whl?a=&quot;%2F&quot;&amp;b=&lt;2&gt;#sha256=aa\">a%2Bb-1.whl</a>"
        ));
    }
}
