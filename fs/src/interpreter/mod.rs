//! A CPython, on this machine or in a container.

mod inspect;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Prefix of an interpreter that is not on this machine: as in the images that Python's makers publish.
const ELSEWHERE: &str = "/usr/local";

/// A CPython: where it is and what its packages must fit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interpreter {
    /// The executable itself, behind links, shims and virtual environments.
    pub executable: PathBuf,
    /// Version, such as `3.11.7`.
    pub version: String,
    /// The folder with `bin` and `lib` that it belongs to, behind links.
    pub base_prefix: PathBuf,
    /// Paths that lead to that folder by links, and by which it may be looked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub named: Vec<PathBuf>,
    /// Folders and files that it needs, behind links, of which some may be outside of that folder or on
    /// other mounts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<PathBuf>,
    /// Name of its own folder in `lib`, such as `python3.13t`, if it has said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub library: Option<String>,
    /// Tag in the names of its bytecode, such as `cpython-311`.
    pub cache_tag: String,
    /// `cpython`.
    pub implementation: String,
    /// Such as `linux-x86_64`.
    pub platform: String,
    /// True if it is on this machine. Else there is nothing to compile with or to run.
    #[serde(default = "yes")]
    pub is_present: bool,
}

fn yes() -> bool {
    true
}

impl Interpreter {
    /// An interpreter that this machine does not have, such as version `3.12` or `3.12.4`, on the
    /// platform of `host`. `None` if the text is no version of Python 3.
    pub fn elsewhere(version: &str, host: &Self) -> Option<Self> {
        let numbers = version.split('.').map(|part| {
            let is_number = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
            is_number.then(|| part.parse::<u16>().ok()).flatten()
        });
        let (minor, patch) = match numbers.collect::<Option<Vec<_>>>()?[..] {
            [3, minor] => (minor, 0),
            [3, minor, patch] => (minor, patch),
            _ => return None,
        };
        Some(Self {
            executable: format!("{ELSEWHERE}/bin/python3.{minor}").into(),
            version: format!("3.{minor}.{patch}"),
            base_prefix: ELSEWHERE.into(),
            named: Vec::new(),
            parts: Vec::new(),
            library: None,
            cache_tag: format!("cpython-3{minor}"),
            implementation: "cpython".to_owned(),
            platform: host.platform.clone(),
            is_present: false,
        })
    }

    /// True if it is of a version such as `3.12` or `3.12.4`.
    pub fn is_of(&self, version: &str) -> bool {
        self.version == version || self.short_version() == version
    }

    /// Identity by which installed packages fit it: its bytecode, if there is any, and its platform.
    pub fn identity(&self) -> String {
        let without = if self.is_present { "" } else { "-without-bytecode" };
        // Builds without the global lock have the bytecode of others, and another binary interface.
        let usual = self.usual_library();
        let build = self.library().strip_prefix(&usual).unwrap_or_default().to_owned();
        format!("{}{build}-{}{without}", self.cache_tag, self.platform)
    }

    /// Major and minor version, such as `3.11`.
    pub fn short_version(&self) -> &str {
        self.version.rsplit_once('.').map_or(&self.version, |(short, _)| short)
    }

    /// Name of its own folder in an environment's `lib`.
    pub fn library(&self) -> String {
        // Some systems have a library for several versions, and environments never do.
        let said = self.library.as_ref().filter(|name| name.starts_with(&self.usual_library()));
        said.cloned().unwrap_or_else(|| self.usual_library())
    }

    fn usual_library(&self) -> String {
        format!("python{}", self.short_version())
    }

    /// Folder of packages from an environment's root.
    pub fn site_packages(&self) -> String {
        format!("lib/{}/site-packages", self.library())
    }

    /// Links of an environment's `bin` that lead to it, from the root: path and target.
    pub fn links(&self) -> [(String, String); 4] {
        [
            ("bin/python".to_owned(), self.executable.to_string_lossy().into_owned()),
            ("bin/python3".to_owned(), "python".to_owned()),
            (format!("bin/{}", self.library()), "python".to_owned()),
            ("lib64".to_owned(), "lib".to_owned()),
        ]
    }

    /// The text of an environment's `pyvenv.cfg`.
    pub fn pyvenv_cfg(&self) -> String {
        let home = self.executable.parent().unwrap_or(Path::new("/usr/bin"));
        format!(
            "home = {}\nimplementation = CPython\nversion_info = {}\n\
             include-system-site-packages = false\nrelocatable = true\n",
            home.display(),
            self.version
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_is_elsewhere_has_packages_of_its_own() {
        let python =
            Interpreter::elsewhere("3.12", &Interpreter::elsewhere("3.11", &one()).unwrap());
        let python = python.unwrap();
        assert_eq!(python.site_packages(), "lib/python3.12/site-packages");
        assert_eq!(python.identity(), "cpython-312-linux-x86_64-without-bytecode");
        assert!(python.is_of("3.12") && python.is_of("3.12.0") && !python.is_of("3.1"));
        assert_eq!(Interpreter::elsewhere("3.12.4", &one()).unwrap().version, "3.12.4");
        for text in ["", "3", "2.7", "3.x", "3.12.", "3.12rc1", "3.12.1.1", "3.99999", "../3.1"] {
            assert_eq!(Interpreter::elsewhere(text, &one()), None, "{text}");
        }
    }

    #[test]
    fn builds_without_the_global_lock_have_folders_and_packages_of_their_own() {
        let usual = Interpreter { version: "3.13.1".to_owned(), ..one() };
        let usual = Interpreter { cache_tag: "cpython-313".to_owned(), ..usual };
        let free = Interpreter { library: Some("python3.13t".to_owned()), ..usual.clone() };
        assert_eq!(free.site_packages(), "lib/python3.13t/site-packages");
        assert_eq!(free.links()[2].0, "bin/python3.13t");
        assert_eq!(free.identity(), "cpython-313t-linux-x86_64");
        let said = Interpreter { library: Some("python3.13".to_owned()), ..usual.clone() };
        let other = Interpreter { library: Some("python3".to_owned()), ..usual.clone() };
        for interpreter in [usual, said, other] {
            assert_eq!(interpreter.site_packages(), "lib/python3.13/site-packages");
            assert_eq!(interpreter.identity(), "cpython-313-linux-x86_64");
        }
    }

    fn one() -> Interpreter {
        let text = r#"{ "executable": "/usr/bin/python3.11", "version": "3.11.7",
            "base_prefix": "/usr", "cache_tag": "cpython-311", "implementation": "cpython",
            "platform": "linux-x86_64" }"#;
        serde_json::from_str(text).unwrap()
    }
}
