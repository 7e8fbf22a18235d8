//! An interpreter of this machine: inspected, and shown to a sandbox if it is outside the system's folders.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use pipsqueak_fs::Interpreter;
use pipsqueak_kernel::mount::{self, Access};

use super::error::EnvironmentsError;
use crate::sandbox::{Mounted, SYSTEM};

/// Folders of a sandbox that have their own content, so that the interpreter cannot have another name there.
const TAKEN: [&str; 6] = ["/dev", "/etc", "/function", "/pipsqueak", "/proc", "/tmp"];

/// Looks at the interpreter at `python`.
pub(super) fn inspect(python: &Path) -> Result<Interpreter, EnvironmentsError> {
    Interpreter::inspect(python).map_err(|error| EnvironmentsError::Interpreter {
        path: python.to_owned(),
        reason: error.to_string(),
    })
}

/// Refuses the environment `name` if its interpreter is not on this machine.
pub(super) fn check_present(
    name: String,
    interpreter: &Interpreter,
) -> Result<(), EnvironmentsError> {
    if interpreter.is_present {
        return Ok(());
    }
    let version = interpreter.short_version().to_owned();
    Err(EnvironmentsError::Elsewhere { name, version })
}

/// Mounts of the interpreter's files that are outside the system's folders, detached and read-only:
/// each at its real path, and the interpreter's folder also at its other names.
pub fn mounts(interpreter: &Interpreter) -> io::Result<Vec<Mounted>> {
    let places = places(interpreter, &mounts_between)?;
    let taken = places.into_iter().map(|(inside, host)| {
        let taken = mount::take(&host, Access::ReadOnly).map_err(|error| {
            io::Error::new(error.kind(), format!("{}: {error}", host.display()))
        })?;
        Ok((inside, taken))
    });
    taken.collect()
}

/// Pairs of path in the sandbox and path on the host, in the order of mounting. `between` finds the
/// mounts below a folder on the way to a path in it.
fn places(
    interpreter: &Interpreter,
    between: &dyn Fn(&Path, &Path) -> io::Result<Vec<PathBuf>>,
) -> io::Result<Vec<(PathBuf, PathBuf)>> {
    let mut places: Vec<(PathBuf, PathBuf)> = Vec::new();
    let prefix = &interpreter.base_prefix;
    // For an interpreter whose prefix is the root, its parts are enough.
    let whole = [prefix].into_iter().filter(|prefix| prefix.parent().is_some());
    for part in whole.chain(&interpreter.parts) {
        let seen = places.iter().map(|(inside, _)| inside.clone());
        let seen = seen.filter(|seen| part.starts_with(seen)).chain(system_of(part));
        match seen.max_by_key(|seen| seen.components().count()) {
            // Taking a folder does not take the mounts below it.
            Some(seen) => {
                let more = between(&seen, part)?;
                places.extend(more.into_iter().map(|place| (place.clone(), place)));
            }
            None => places.push((part.clone(), part.clone())),
        }
    }
    for name in &interpreter.named {
        let is_seen = places.iter().any(|(inside, _)| name.starts_with(inside));
        let is_taken = TAKEN.iter().any(|taken| name.starts_with(taken));
        // A name inside a folder that is shown needs no mount of its own.
        if prefix.parent().is_some() && !is_seen && !is_taken && system_of(name).is_none() {
            places.push((name.clone(), prefix.clone()));
        }
    }
    Ok(places)
}

/// Folder of the system that holds a path, if one does. Every sandbox sees these folders.
fn system_of(path: &Path) -> Option<PathBuf> {
    let mut folders = SYSTEM.iter().map(|name| Path::new("/").join(name));
    folders.find(|folder| path.starts_with(folder))
}

/// Mounts below `folder` on the way to `inside`, a path in it, from the top down.
fn mounts_between(folder: &Path, inside: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut from = folder.to_owned();
    while let Ok(rest) = inside.strip_prefix(&from) {
        if rest.as_os_str().is_empty() || !is_crossing(&from, rest)? {
            break;
        }
        let mut crossing = from.clone();
        for part in rest {
            crossing.push(part);
            let way = crossing.strip_prefix(&from).unwrap_or(rest);
            if is_crossing(&from, way)? {
                break;
            }
        }
        found.push(crossing.clone());
        from = crossing;
    }
    Ok(found)
}

/// True if a mount lies on the way from a folder to a path in it.
fn is_crossing(folder: &Path, way: &Path) -> io::Result<bool> {
    let at = |error: io::Error| {
        io::Error::new(error.kind(), format!("{}: {error}", folder.join(way).display()))
    };
    let opened = File::open(folder).map_err(at)?;
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_NO_XDEV);
    match openat2(opened.as_fd(), way, how) {
        Ok(_) => Ok(false),
        Err(Errno::EXDEV) => Ok(true),
        Err(error) => Err(at(error.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interpreter(prefix: &str, parts: &[&str], named: &[&str]) -> Interpreter {
        let plain = Interpreter::inspect(Path::new("python3")).unwrap();
        let paths = |paths: &[&str]| paths.iter().map(PathBuf::from).collect();
        Interpreter {
            base_prefix: prefix.into(),
            parts: paths(parts),
            named: paths(named),
            ..plain
        }
    }

    /// Places that are shown for an interpreter if `mounted` are mounts.
    fn shown(interpreter: &Interpreter, mounted: &[&str]) -> Vec<String> {
        let between = |folder: &Path, inside: &Path| {
            let found = mounted.iter().map(PathBuf::from).filter(|mount| {
                mount != folder && mount.starts_with(folder) && inside.starts_with(mount)
            });
            Ok(found.collect())
        };
        let places = places(interpreter, &between).unwrap().into_iter();
        let told = places.map(|(inside, host)| {
            let (inside, host) = (inside.display(), host.display());
            if inside.to_string() == host.to_string() {
                inside.to_string()
            } else {
                format!("{inside} = {host}")
            }
        });
        told.collect()
    }

    #[test]
    fn an_interpreter_is_shown_where_it_is_and_by_its_other_names() {
        let own = "/opt/python/3.12.1";
        let parts = [&*format!("{own}/bin/python3.12"), &format!("{own}/lib/python3.12")];
        let names =
            ["/opt/python/current", "/usr/local/python", "/tmp/python", "/opt/python/3.12.1/x"];
        assert_eq!(
            shown(&interpreter(own, &parts, &names), &[]),
            [own, &format!("/opt/python/current = {own}")]
        );
        // Parts outside the interpreter's folder, and mounts in it.
        let scattered =
            ["/opt/lib/python3.12", "/opt/lib/python3.12/lib-dynload", "/root/python3.12"];
        assert_eq!(
            shown(&interpreter(own, &scattered, &[]), &[]),
            [own, "/opt/lib/python3.12", "/root/python3.12"]
        );
        let library = format!("{own}/lib");
        assert_eq!(shown(&interpreter(own, &parts, &[]), &[&library]), [own, &library]);
    }

    #[test]
    fn of_the_system_only_what_is_mounted_in_it_is_shown_and_never_all() {
        let parts = ["/usr/lib/python3.12", "/usr/bin/python3.12"];
        assert_eq!(shown(&interpreter("/usr", &parts, &["/python"]), &[]), ["/python = /usr"]);
        assert_eq!(shown(&interpreter("/", &parts, &["/python"]), &[]), [""; 0]);
        let local = ["/usr/local/python/lib/python3.12"];
        assert_eq!(
            shown(&interpreter("/usr/local/python", &local, &[]), &["/usr/local"]),
            ["/usr/local"]
        );
    }

    #[test]
    fn what_is_mounted_on_the_way_is_found() {
        let none: [&Path; 0] = [];
        assert_eq!(mounts_between(Path::new("/usr"), Path::new("/usr")).unwrap(), none);
        assert_eq!(mounts_between(Path::new("/usr"), Path::new("/usr/bin")).unwrap(), none);
        let found = mounts_between(Path::new("/"), Path::new("/proc/sys")).unwrap();
        assert_eq!(found[0], Path::new("/proc"));
        assert!(mounts_between(Path::new("/usr"), Path::new("/usr/no/such")).is_err());
    }
}
