//! A CPython on this machine.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::{Deserialize, Serialize};

const QUESTION: &str = "
import json, os, sys, sysconfig
print(json.dumps({
    'executable': os.path.realpath(getattr(sys, '_base_executable', sys.executable)),
    'version': '.'.join(map(str, sys.version_info[:3])),
    'base_prefix': sys.base_prefix,
    'cache_tag': sys.implementation.cache_tag,
    'implementation': sys.implementation.name,
    'platform': sysconfig.get_platform(),
}))
";

/// A CPython: where it is and what its packages must fit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interpreter {
    /// The executable itself, behind links, shims and virtual environments.
    pub executable: PathBuf,
    /// Version, such as `3.11.7`.
    pub version: String,
    /// The folder with `bin` and `lib` that it belongs to.
    pub base_prefix: PathBuf,
    /// What names its bytecode, such as `cpython-311`.
    pub cache_tag: String,
    /// `cpython`.
    pub implementation: String,
    /// Such as `linux-x86_64`.
    pub platform: String,
}

impl Interpreter {
    /// Asks an executable of the host what it is.
    pub fn inspect(executable: &Path) -> io::Result<Self> {
        let output = Command::new(executable).args(["-I", "-c", QUESTION]).output()?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(io::Error::other(format!("it is no Python: {}", said.trim())));
        }
        let interpreter: Self = serde_json::from_slice(&output.stdout)
            .map_err(|error| io::Error::other(format!("it is no Python: {error}")))?;
        if interpreter.implementation == "cpython" {
            Ok(interpreter)
        } else {
            Err(io::Error::other(format!("{} is not CPython", interpreter.implementation)))
        }
    }

    /// What packages that were installed for it fit: its bytecode and its platform.
    pub fn identity(&self) -> String {
        format!("{}-{}", self.cache_tag, self.platform)
    }

    /// Major and minor version, such as `3.11`.
    pub fn short_version(&self) -> &str {
        self.version.rsplit_once('.').map_or(&self.version, |(short, _)| short)
    }

    /// Where packages are, from an environment's root.
    pub fn site_packages(&self) -> String {
        format!("lib/python{}/site-packages", self.short_version())
    }

    /// Links of an environment's `bin` that lead to it, from the root: path and target.
    pub fn links(&self) -> [(String, String); 4] {
        [
            ("bin/python".to_owned(), self.executable.to_string_lossy().into_owned()),
            ("bin/python3".to_owned(), "python".to_owned()),
            (format!("bin/python{}", self.short_version()), "python".to_owned()),
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
