//! From a source distribution to a wheel. It is fetched, and what building it takes is installed,
//! with a network and without running any of it; it is built without a network. The wheel belongs to
//! the digest of its source: it is offered to those alone whose requirements have led to that source.
//!
//! ```text
//! CACHE/built/INTERPRETER/DIGEST/NAME-VERSION-….whl   the wheel of the source with that digest
//! ```

use std::fs::{self, OpenOptions};
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::durable::{self, crash};
use crate::ingest::confine::{Confine, Input, JobOutput};
use crate::ingest::requirement::normalise;
use crate::ingest::resolve::built::Built;
use crate::ingest::resolve::lock::SourceDistribution;
use crate::ingest::resolve::uv::{Uv, WORK_INSIDE};
use crate::ingest::resolve::wanted::Wanted;
use crate::ingest::{AddError, credentials};

/// Fetches and looks at a source distribution.
const FETCH: &str = concat!(include_str!("../request.py"), include_str!("source.py"));

/// Requirements for building if a package names none, as pip and uv have it.
const USUAL: [&str; 2] = ["setuptools>=40.8.0", "wheel"];

/// Largest wheel that is taken, in bytes.
const MAX_WHEEL_BYTES: u64 = 4 << 30;

/// Lines that are told of what a failed build has said.
const TAIL_LINES: usize = 20;

#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case", default)]
struct Project {
    build_system: Option<BuildSystem>,
}

#[derive(Deserialize)]
struct BuildSystem {
    #[serde(default)]
    requires: Vec<String>,
}

/// Has the version of `package` that suits what is wanted among what is built, building it where nobody
/// has. `folder` is an empty one, of this build alone.
pub fn build(
    confine: &dyn Confine,
    uv: &Uv<'_>,
    wanted: &Wanted,
    package: &str,
    built: &mut Built,
    folder: &Path,
) -> Result<(), AddError> {
    let source = uv.find_source(confine, wanted, package)?;
    let kept = built.folder.join(&source.sha256);
    if !built.digests.insert(source.sha256.clone()) {
        return Err(AddError::unsatisfiable(format!(
            "{package} {} was built from source, and its wheel does not suit what is wanted",
            source.version
        )));
    }
    if kept.exists() {
        return Ok(());
    }
    let (work, environment) = (folder.join("work"), folder.join("environment"));
    for folder in [&work, &environment] {
        fs::create_dir(folder).map_err(AddError::at(folder))?;
    }
    let uv = Uv { work: &work, built: None, ..*uv };
    let (archive, project) = fetch(confine, &uv, wanted, package, &source)?;
    let requires = Wanted::by_package(&requires(package, &project)?)?;
    uv.install_for_building(confine, &requires, &environment)?;
    let output = uv.build(confine, &archive, &environment)?;
    if output.status != 0 {
        return Err(failed(package, &source.version, &output));
    }
    let (name, wheel) = wheel(&work.join("out"), package, &source.version)?;
    keep(&built.folder, &kept, &name, &wheel)
}

fn fetch(
    confine: &dyn Confine,
    uv: &Uv<'_>,
    wanted: &Wanted,
    package: &str,
    source: &SourceDistribution,
) -> Result<(PathBuf, String), AddError> {
    let name = source.url.rsplit('/').next().unwrap_or_default();
    let name = name.split(['?', '#']).next().unwrap_or_default();
    let archive = Path::new(WORK_INSIDE).join(name);
    let mut argv = vec![uv.interpreter.executable.clone().into_os_string()];
    argv.extend(["-I", "-S", "-c", FETCH].map(Into::into));
    argv.extend([source.url.clone().into(), source.sha256.clone().into()]);
    argv.push(archive.clone().into());
    let scope = uv.scope(wanted);
    let mut job = uv.job("fetching a source distribution", argv, None);
    job.argv.remove(1);
    job.network = Some(uv.reach(wanted));
    job.input = Input(scope.urls().collect::<Vec<_>>().join("\n").into_bytes());
    let output = confine.run(&job)?;
    if output.status != 0 {
        let said = String::from_utf8_lossy(&output.stderr);
        let said = credentials::hide_all(said.lines().last().unwrap_or_default(), &scope.secrets());
        let reasons = output.refused.iter().map(String::as_str);
        let explanation: Vec<&str> = [said.as_str()].into_iter().chain(reasons).collect();
        let explanation = format!("{package} {}: {}", source.version, explanation.join("; "));
        return Err(AddError::Uv { step: "fetch a source distribution", explanation });
    }
    Ok((archive, String::from_utf8_lossy(&output.stdout).into_owned()))
}

/// Requirements for building.
fn requires(package: &str, project: &str) -> Result<Vec<String>, AddError> {
    let project: Project = toml::from_str(project).map_err(|error| {
        AddError::unsatisfiable(format!("{package}: pyproject.toml: {}", error.message()))
    })?;
    let usual = || USUAL.map(ToOwned::to_owned).to_vec();
    Ok(project.build_system.map_or_else(usual, |system| system.requires))
}

/// The one wheel that a build has left: its name and content. Whatever ran in the build may have
/// had its hands in it, so no link is followed and no other name is taken.
fn wheel(out: &Path, package: &str, version: &str) -> Result<(String, Vec<u8>), AddError> {
    let refused = |reason: String| AddError::Hostile { distribution: package.to_owned(), reason };
    let flags = libc::O_NOFOLLOW | libc::O_DIRECTORY;
    let folder = OpenOptions::new().read(true).custom_flags(flags).open(out);
    let folder = folder.map_err(|error| refused(format!("the folder of its wheel: {error}")))?;
    // The folder that was opened, which a path might no more lead to.
    let out = &Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string());
    let entries = fs::read_dir(out).map_err(AddError::at(out))?;
    let names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| Path::new(name).extension().is_some_and(|extension| extension == "whl"))
        .collect();
    let [name] = names.as_slice() else {
        return Err(refused(format!("building it has left {} wheels", names.len())));
    };
    let mut parts = name.split('-');
    let is_named = parts.next().is_some_and(|name| normalise(name) == package)
        && parts.next().is_some_and(|found| is_same_version(found, version));
    if !is_named {
        return Err(refused(format!("building version {version} has made {name}")));
    }
    let path = out.join(name);
    let read = || -> io::Result<Vec<u8>> {
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let file = OpenOptions::new().read(true).custom_flags(flags).open(&path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() || metadata.len() > MAX_WHEEL_BYTES {
            return Err(io::Error::other("it is no plain file, or too large a one"));
        }
        let mut content = Vec::new();
        file.take(MAX_WHEEL_BYTES).read_to_end(&mut content)?;
        Ok(content)
    };
    let content = read().map_err(|error| refused(format!("{name}: {error}")))?;
    Ok((name.clone(), content))
}

fn is_same_version(one: &str, other: &str) -> bool {
    let parse = |text: &str| text.replace('_', "-").parse::<pep440_rs::Version>();
    matches!((parse(one), parse(other)), (Ok(one), Ok(other)) if one == other)
}

/// Keeps a wheel where resolving finds it; whole or not at all, also after a loss of power: a lock that
/// is stored may name it.
fn keep(built: &Path, kept: &Path, name: &str, wheel: &[u8]) -> Result<(), AddError> {
    let at = AddError::at(built);
    let new = tempfile::Builder::new().prefix(".new-").tempdir_in(built).map_err(&at)?;
    durable::write(&new.path().join(name), wheel).map_err(&at)?;
    fs::set_permissions(new.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .map_err(&at)?;
    durable::sync(new.path()).map_err(&at)?;
    crash::point();
    match fs::rename(new.path(), kept) {
        Ok(()) => {
            let _ = new.keep();
            crash::point();
            // Its folder may be as new as the wheel.
            let folders = [Some(built), built.parent(), built.parent().and_then(Path::parent)];
            folders.into_iter().flatten().try_for_each(|folder| durable::sync(folder).map_err(&at))
        }
        // Somebody else has built it meanwhile.
        Err(_) if kept.exists() => Ok(()),
        Err(error) => Err(at(error)),
    }
}

fn failed(package: &str, version: &str, output: &JobOutput) -> AddError {
    let said = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
    let tail = lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n");
    AddError::unsatisfiable(format!("building {package} {version} from source failed:\n{tail}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_building_takes_is_said_or_usual() {
        assert_eq!(requires("x", "").unwrap(), USUAL);
        assert_eq!(requires("x", "[tool.black]\n").unwrap(), USUAL);
        let said = requires("x", "[build-system]\nrequires = ['flit-core']\n").unwrap();
        assert_eq!(said, ["flit-core"]);
        assert!(requires("x", "[build-system\n").unwrap_err().is_bad_input());
    }

    #[test]
    fn only_the_wheel_that_was_asked_for_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let out = |names: &[&str]| {
            let out = tempfile::tempdir_in(folder.path()).unwrap().keep();
            for name in names {
                fs::write(out.join(name), "wheel").unwrap();
            }
            out
        };
        let good = out(&[".gitignore", "My_Own-1.0-py3-none-any.whl"]);
        assert_eq!(wheel(&good, "my-own", "1.0.0").unwrap().1, b"wheel");
        for names in [
            &["other-1.0-py3-none-any.whl"][..],
            &["my_own-2.0-py3-none-any.whl"],
            &["my_own-1.0-py3-none-any.whl", "other-1.0-py3-none-any.whl"],
            &[],
        ] {
            assert!(wheel(&out(names), "my-own", "1.0").unwrap_err().is_bad_input(), "{names:?}");
        }
        let linked = out(&[]);
        std::os::unix::fs::symlink("/etc/passwd", linked.join("my_own-1-py3-none-any.whl"))
            .unwrap();
        assert!(wheel(&linked, "my-own", "1").is_err());
        let elsewhere = folder.path().join("out");
        std::os::unix::fs::symlink(&good, &elsewhere).unwrap();
        assert!(wheel(&elsewhere, "my-own", "1.0").is_err());
    }

    #[test]
    fn a_wheel_is_kept_once() {
        let built = tempfile::tempdir().unwrap();
        let kept = built.path().join("digest");
        for _ in 0..2 {
            keep(built.path(), &kept, "x.whl", b"wheel").unwrap();
        }
        assert_eq!(fs::read(kept.join("x.whl")).unwrap(), b"wheel");
        assert_eq!(fs::read_dir(built.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_wheel_is_kept_whole_or_not_at_all() {
        let is_done = |at| {
            let built = tempfile::tempdir().unwrap();
            let kept = built.path().join("digest");
            let done = crash::at(at, || keep(built.path(), &kept, "x.whl", b"wheel").unwrap());
            let whole = fs::read(kept.join("x.whl")).is_ok_and(|content| content == b"wheel");
            assert_eq!(whole, kept.exists());
            (done.is_some(), whole)
        };
        assert_eq!([0, 1, 2].map(is_done), [(false, false), (false, true), (true, true)]);
    }
}
