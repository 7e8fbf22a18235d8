//! Single files of a zip or wheel. The supervisor unpacks and checks the whole archive.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use zip::ZipArchive;
use zip::result::ZipError;

use crate::cli::failure::Failure;
use crate::cli::text::decode;

/// Longest file that is read, in bytes.
const MOST_BYTES: u64 = 4 << 20;

/// A zip that is open.
#[derive(Debug)]
pub struct Archive {
    path: PathBuf,
    zip: ZipArchive<BufReader<File>>,
}

impl Archive {
    /// Opens a file.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        let failed = |error: String| Failure::Input(format!("{}: {error}", path.display()));
        let file = File::open(path).map_err(|error| failed(error.to_string()))?;
        let zip =
            ZipArchive::new(BufReader::new(file)).map_err(|error| failed(error.to_string()))?;
        Ok(Self { path: path.to_owned(), zip })
    }

    /// The text of a file in the archive, if there is one of that name.
    pub fn text(&mut self, name: &str) -> Result<Option<String>, Failure> {
        let path = self.path.join(name);
        let failed = |error: String| Failure::Input(format!("{}: {error}", path.display()));
        let file = match self.zip.by_name(name) {
            Err(ZipError::FileNotFound) => return Ok(None),
            found => found.map_err(|error| failed(error.to_string()))?,
        };
        let mut text = Vec::new();
        file.take(MOST_BYTES + 1)
            .read_to_end(&mut text)
            .map_err(|error| failed(error.to_string()))?;
        if text.len() as u64 > MOST_BYTES {
            return Err(failed(format!("it is larger than {MOST_BYTES} bytes")));
        }
        decode(&text).map(Some).map_err(|error| failed(error.to_string()))
    }

    /// The text of a wheel's `NAME.dist-info/METADATA`.
    pub fn metadata(&mut self) -> Result<String, Failure> {
        let is_it = |name: &&str| {
            let folder = name.strip_suffix("/METADATA");
            folder.is_some_and(|folder| folder.ends_with(".dist-info") && !folder.contains('/'))
        };
        let names: Vec<_> = self.zip.file_names().filter_map(Result::ok).collect();
        let name = names.iter().map(AsRef::as_ref).find(is_it).map(ToOwned::to_owned);
        let none = || {
            let reason = "it is no wheel: it has no NAME.dist-info/METADATA";
            Failure::Input(format!("{}: {reason}", self.path.display()))
        };
        let name = name.ok_or_else(none)?;
        self.text(&name)?.ok_or_else(|| {
            Failure::Input(format!("{}: {name} cannot be read", self.path.display()))
        })
    }
}
