//! Sources of functions: code, and the files beside it that describe it.

mod archive;
mod openlambda;
mod wheel;

use std::path::{Path, PathBuf};

use pipsqueak::wire::Requirements;

use super::failure::Failure;
use super::{requirements, text};
use archive::Archive;
pub use openlambda::OpenLambda;

/// A function's code.
#[derive(Debug)]
pub struct Source {
    /// Absolute path of the source.
    pub path: PathBuf,
    kind: Kind,
}

#[derive(Debug, PartialEq, Eq)]
enum Kind {
    /// A folder.
    Folder,
    /// A Python file.
    Script,
    /// A zip with code at its root.
    Zip,
    /// A wheel, and the extras that are wanted.
    Wheel(Vec<String>),
}

impl Source {
    /// Looks at a path, which for a wheel may end with extras, as pip has it: `x.whl[extra]`.
    pub fn open(named: &Path) -> Result<Self, Failure> {
        let text = named
            .to_str()
            .ok_or_else(|| Failure::Input(format!("{}: the path is not UTF-8", named.display())))?;
        let (path, extras) = match text.strip_suffix(']').and_then(|text| text.split_once(".whl["))
        {
            Some((stem, extras)) => (format!("{stem}.whl"), wheel::names(extras)),
            None => (text.to_owned(), Vec::new()),
        };
        // The supervisor has another working directory.
        let path = Path::new(&path)
            .canonicalize()
            .map_err(|error| Failure::Input(format!("{path}: {error}")))?;
        if path.to_str().is_none() {
            return Err(Failure::Input(format!("{}: the path is not UTF-8", path.display())));
        }
        // Opening another kind might wait for ever, or do something.
        if !path.is_dir() && !path.is_file() {
            let reason = "it is neither a file nor a folder";
            return Err(Failure::Input(format!("{}: {reason}", path.display())));
        }
        let extension = path.extension().and_then(|extension| extension.to_str());
        let kind = match extension {
            _ if path.is_dir() => Kind::Folder,
            Some("py") => Kind::Script,
            Some("zip") => Kind::Zip,
            Some("whl") => Kind::Wheel(extras),
            _ => {
                return Err(Failure::Input(format!(
                    "{}: it is neither a folder nor a .py, .zip or .whl file",
                    path.display()
                )));
            }
        };
        Ok(Self { path, kind })
    }

    /// The packages that the source brings: by a folder's or a zip's lock or requirements file, a
    /// script's block, or a wheel's metadata.
    pub fn requirements(&self) -> Result<Option<Requirements>, Failure> {
        match &self.kind {
            Kind::Folder => requirements::of_folder(&self.path),
            Kind::Script => requirements::of_script(&self.path, &[]),
            Kind::Zip => {
                let mut archive = Archive::open(&self.path)?;
                for name in requirements::BROUGHT {
                    if let Some(text) = archive.text(name)? {
                        return requirements::of_text(&self.path.join(name), text).map(Some);
                    }
                }
                Ok(None)
            }
            Kind::Wheel(extras) => {
                let metadata = Archive::open(&self.path)?.metadata()?;
                let failed = |error| Failure::Input(format!("{}: {error}", self.path.display()));
                wheel::requirements(&metadata, extras).map_err(failed).map(Some)
            }
        }
    }

    /// Content of the source's `ol.yaml`, if there is one.
    pub fn openlambda(&self) -> Result<Option<OpenLambda>, Failure> {
        let path = self.path.join(openlambda::FILE);
        let text = match &self.kind {
            Kind::Folder if path.is_file() => Some(text::read(&path)?),
            Kind::Zip => Archive::open(&self.path)?.text(openlambda::FILE)?,
            _ => None,
        };
        let failed = |error| Failure::Input(format!("{}: {error}", path.display()));
        text.map(|text| openlambda::read(&text).map_err(failed)).transpose()
    }
}
