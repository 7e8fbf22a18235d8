//! Choice of the wheel that is installed among those that a lock has of a distribution.

use crate::ingest::resolve::archive_urls::ArchiveUrls;
use crate::ingest::resolve::lock::Locked;
use crate::ingest::resolve::tags;
use crate::interpreter::Interpreter;

/// Chooses one wheel of each distribution, by its digest, if it is known which wheels the digests are of.
/// `archives` are what the lock has; it hears of the digests that were asked for in the place of those.
pub fn prefer(
    locked: Vec<Locked>,
    archives: &mut ArchiveUrls,
    interpreter: &Interpreter,
) -> Vec<Locked> {
    let minor = interpreter.short_version().split('.').nth(1).and_then(|minor| minor.parse().ok());
    let minor = minor.unwrap_or(0);
    let preferred = locked.into_iter().map(|mut one| {
        let known = archives.of(&one.name).map(|(url, hash)| (url.to_owned(), hash.to_owned()));
        let known: Vec<(String, String)> = known.collect();
        let is_asked_for = |hash: &String| one.hashes.contains(hash);
        let are_asked_for = known.iter().any(|(_, hash)| is_asked_for(hash));
        let candidates = known.iter().filter(|(_, hash)| !are_asked_for || is_asked_for(hash));
        let preferred = candidates.min_by_key(|(url, hash)| {
            let preference = tags::preference(file_of(url), minor);
            (preference.is_none(), preference, hash.clone())
        });
        match preferred {
            Some((_, hash)) if are_asked_for => one.hashes = vec![hash.clone()],
            // Other digests were given than the index has.
            Some((url, _)) => {
                for hash in &one.hashes {
                    archives.add(one.name.clone(), url, hash.clone());
                }
            }
            None => {}
        }
        one
    });
    preferred.collect()
}

/// The name of the file at an address.
fn file_of(url: &str) -> &str {
    let path = url.split(['?', '#']).next().unwrap_or(url);
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_wheel_is_chosen_of_those_that_may_be() {
        let interpreter = Interpreter::elsewhere("3.11", &one()).unwrap();
        let mut archives = ArchiveUrls::default();
        for (file, hash) in [
            ("x-1-py3-none-any.whl", "sha256:aa"),
            ("x-1-cp39-abi3-manylinux_2_28_x86_64.whl?y", "sha256:bb"),
            ("x-1-cp311-cp311-manylinux_2_17_x86_64.whl", "sha256:cc"),
        ] {
            archives.add("x".to_owned(), &format!("https://h/a/{file}"), hash.to_owned());
        }
        let mut chosen = |hashes: &[&str]| {
            let hashes = hashes.iter().map(|hash| (*hash).to_owned()).collect();
            let (name, version) = ("x".to_owned(), "1".to_owned());
            let locked = Locked { name, version, url: None, hashes, source: None };
            prefer(vec![locked], &mut archives, &interpreter).remove(0).hashes
        };
        assert_eq!(chosen(&["sha256:aa", "sha256:bb", "sha256:cc"]), ["sha256:cc"]);
        assert_eq!(chosen(&["sha256:aa", "sha256:bb"]), ["sha256:bb"]);
        assert_eq!(chosen(&["sha512:dd"]), ["sha512:dd"]);
        let address = archives.address("x", "sha512:dd").unwrap();
        assert!(address.ends_with("cp311-manylinux_2_17_x86_64.whl"), "{address}");
    }

    fn one() -> Interpreter {
        let text = r#"{ "executable": "/usr/bin/python3.11", "version": "3.11.7",
            "base_prefix": "/usr", "cache_tag": "cpython-311", "implementation": "cpython",
            "platform": "linux-x86_64" }"#;
        serde_json::from_str(text).unwrap()
    }
}
