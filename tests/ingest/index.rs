//! A local index of wheels that the tests build; instances see no other index.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::harness::folder;

/// A running index. Ended when dropped.
pub struct Index {
    folder: tempfile::TempDir,
    server: Child,
    address: String,
}

impl Index {
    /// Builds the named wheels of `wheels.py` and serves them.
    pub fn of(names: &[&str]) -> Self {
        let folder = folder();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("ingest/wheels.py");
        let built = Command::new("python3")
            .arg(script)
            .arg(folder.path())
            .arg(mark(folder.path()))
            .args(names)
            .status()
            .unwrap();
        assert!(built.success());
        let mut server = Command::new("python3")
            .args(["-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory"])
            .arg(folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut said = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut said).unwrap();
        let address = said.split(['(', ')']).nth(1).unwrap_or_else(|| panic!("{said:?}"));
        let address = format!("{address}simple/");
        Self { folder, server, address }
    }

    /// Variables that lead an instance, or uv, to this index only.
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        vec![("UV_DEFAULT_INDEX", self.address.clone())]
    }

    /// Digest of an archive of a package, in hexadecimal.
    pub fn sha256(&self, package: &str, archive: &str) -> String {
        let file = self.folder.path().join("simple").join(package).join(archive);
        let summed = Command::new("sha256sum").arg(file).output().unwrap();
        let said = String::from_utf8(summed.stdout).unwrap();
        said.split_whitespace().next().unwrap().to_owned()
    }

    /// A path of the host at which nothing may appear.
    pub fn mark(&self) -> PathBuf {
        mark(self.folder.path())
    }
}

impl Drop for Index {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn mark(folder: &Path) -> PathBuf {
    folder.join("escaped")
}
