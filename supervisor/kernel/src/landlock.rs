//! Landlock: a second wall behind mounts and namespaces, as high as the kernel can build it. A kernel
//! without it is no error.
//!
//! A ring of Landlock denies mounting, and joining namespaces of processes outside of it. So it is for
//! programs that do neither any more: not for zygotes, and not for holders. Nor can a wider ring
//! be laid around those: a ring without rules about files forbids, together with one that has some,
//! to rename from one folder to another.

use std::io;

use landlock::{
    ABI, Access, AccessFs, BitFlags, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreated,
    RulesetCreatedAttr, RulesetError, Scope,
};

/// The newest interface that this was tried with; the crate leaves out what the kernel lacks.
const TRIED: ABI = ABI::V6;

/// Folders and files that may be changed, besides files that are open already.
#[derive(Debug, Clone, Copy)]
pub struct Writable<'a> {
    /// Folders in which everything may be changed.
    pub folders: &'a [&'a str],
    /// Folders of which the files may be written, but none made or removed.
    pub files: &'a [&'a str],
}

impl Writable<'static> {
    /// Folders and files that functions may change, whether they are forked or started.
    pub const BY_FUNCTIONS: Self = Self { folders: &["/tmp", "/dev/shm"], files: &["/dev"] };
}

/// The version of the kernel's interface, which says what it can rule; 0 without Landlock.
pub fn version() -> i64 {
    const ASK_VERSION: i32 = 1;
    // SAFETY: no memory is given.
    let answer = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, 0, 0, ASK_VERSION) };
    answer.max(0)
}

/// From now on this process and those that it starts may read and execute whatever they see, but
/// change nothing except `writable`; signal nobody else; and connect to no abstract socket of others,
/// which is in no folder and known to a whole network namespace. New privileges are forbidden to them
/// with that.
///
/// A folder that is not there is left out. What is mounted in a folder later is ruled like the folder.
pub fn restrict(writable: Writable<'_>) -> io::Result<()> {
    let rules = || {
        let all = AccessFs::from_all(TRIED);
        let created = Ruleset::default()
            .handle_access(all)?
            .scope(Scope::from_all(TRIED))?
            .create()?
            // A program that is denied much would fill the machine's log.
            .log_same_exec(false)?;
        let created = allow(created, &["/"], AccessFs::from_read(TRIED))?;
        let created = allow(created, writable.folders, all)?;
        allow(created, writable.files, AccessFs::from_file(TRIED))?.restrict_self()
    };
    rules().map(drop).map_err(io::Error::other)
}

fn allow(
    rules: RulesetCreated,
    folders: &[&str],
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, RulesetError> {
    folders.iter().try_fold(rules, |rules, folder| match PathFd::new(folder) {
        Ok(open) => rules.add_rule(PathBeneath::new(open, access)),
        Err(_) => Ok(rules),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};

    /// On a kernel with Landlock; if there is none, there is nothing to see.
    #[test]
    fn what_is_not_writable_stays_and_abstract_sockets_are_out_of_reach() {
        if version() < TRIED as i64 {
            return;
        }
        let folder =
            std::env::temp_dir().join(format!("pipsqueak-landlock-{}", std::process::id()));
        let [open, closed] = ["open", "closed"].map(|name| folder.join(name));
        for path in [&open, &closed] {
            fs::create_dir_all(path).unwrap();
            fs::write(path.join("file"), "text").unwrap();
        }
        let name = format!("pipsqueak-landlock-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(name).unwrap();
        let _listener = UnixListener::bind_addr(&address).unwrap();
        let seen = std::thread::spawn({
            let (open, closed) = (open.clone(), closed.clone());
            move || {
                UnixStream::connect_addr(&address).unwrap();
                restrict(Writable { folders: &[open.to_str().unwrap()], files: &[] }).unwrap();
                let denied = [
                    fs::write(closed.join("file"), "x").is_err(),
                    fs::write(closed.join("new"), "x").is_err(),
                    fs::remove_file(closed.join("file")).is_err(),
                    fs::rename(closed.join("file"), open.join("moved")).is_err(),
                    UnixStream::connect_addr(&address).is_err(),
                ];
                fs::write(open.join("new"), "x").unwrap();
                fs::create_dir(open.join("folder")).unwrap();
                fs::rename(open.join("new"), open.join("folder/new")).unwrap();
                (denied, fs::read_to_string(closed.join("file")).unwrap())
            }
        });
        assert_eq!(seen.join().unwrap(), ([true; 5], "text".to_owned()));
        fs::remove_dir_all(folder).unwrap();
    }
}
