//! Serving: the `pipsqueak-fs` process from its start to its end.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use fuser::{Config, INodeNo, Notifier, Session, SessionACL};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigSet, Signal};

use super::adopt::adopt;
use super::control::{Ask, Tell};
use super::conversation::{Numbered, Responder};
use super::fuse::Adapter;
use super::predecessor;
use super::server::{Orphaned, Role};
use crate::prefetch::Prefetcher;
use crate::vfs::Vfs;
use crate::view::inode::{DISTS, ENVS};

/// Threads that answer the kernel.
const THREADS: usize = 4;

/// Serves `state` on the connection at stdin, of the mount at `mountpoint`, until that ends, taking what
/// the keeper says from the socket at stdout. Ends with the keeper. What is left to the next supervisor,
/// as `orphaned` says, has one server at a time.
pub fn serve(state: &Path, mountpoint: &Path, role: Role, orphaned: Orphaned) -> io::Result<()> {
    // The keeper has some blocked.
    SigSet::all().thread_unblock()?;
    // Also where it has been stopped, and hears nothing.
    set_pdeathsig(Signal::SIGKILL)?;
    let _alone = match orphaned {
        Orphaned::Leaves => Some(predecessor::hold(state, predecessor::SERVER)?),
        Orphaned::Unmounts => None,
    };
    let connection = io::stdin().as_fd().try_clone_to_owned()?;
    let socket = UnixStream::from(io::stdout().as_fd().try_clone_to_owned()?);
    let vfs = Arc::new(Vfs::open(state).map_err(io::Error::other)?);
    let prefetcher = match Prefetcher::start(state, mountpoint) {
        Ok(prefetcher) => Some(Arc::new(prefetcher)),
        Err(error) => {
            tracing::warn!(%error, "cold imports are not read ahead of");
            None
        }
    };
    let session = begin(Adapter { vfs: vfs.clone(), prefetcher }, connection, role)?;
    let notifier = session.notifier();
    // The first session is introduced to the kernel by now, and a successor has taken over.
    let mut line = Responder::new(socket);
    line.say(&Numbered { number: 0, body: Tell::Serving })?;
    thread::Builder::new().name("control".to_owned()).spawn(move || {
        if let Err(error) = answer(line, &vfs, &notifier) {
            tracing::error!(%error, "talking to the keeper of the mount");
        }
        std::process::exit(0);
    })?;
    session.run()
}

fn begin(adapter: Adapter, connection: OwnedFd, role: Role) -> io::Result<Session<Adapter>> {
    let mut config = Config::default();
    config.n_threads = Some(THREADS);
    config.acl = SessionACL::All;
    match role {
        Role::First => Session::from_fd(adapter, connection, config.acl, config),
        Role::Successor => adopt(adapter, &connection, config),
    }
}

/// Does what the keeper asks for until it is gone.
fn answer(mut line: Responder, vfs: &Vfs, notifier: &Notifier) -> io::Result<()> {
    while let Some(Numbered { number, body: ask }) = line.hear()? {
        let body = match ask {
            Ask::Pulse => Tell::Done,
            Ask::Counters => Tell::Counters(vfs.counted()),
            Ask::Suspects => Tell::Suspects(vfs.take_suspects()),
            Ask::Publish(names) => match publish(vfs, notifier, &names) {
                Ok(()) => Tell::Done,
                Err(error) => Tell::Failed(error.to_string()),
            },
        };
        line.say(&Numbered { number, body })?;
    }
    Ok(())
}

/// Shows what is published now and makes the kernel forget what it knew of `names`, in whichever
/// folder. Outside of any request: inside one the kernel would wait for itself.
fn publish(vfs: &Vfs, notifier: &Notifier, names: &[String]) -> io::Result<()> {
    let change = vfs.reload().map_err(io::Error::other)?;
    for (folder, name) in change.iter().flat_map(|change| &change.entries) {
        forgotten(notifier.inval_entry(INodeNo(*folder), name.as_ref()))?;
    }
    for inode in change.iter().flat_map(|change| &change.contents) {
        forgotten(notifier.inval_inode(INodeNo(*inode), 0, 0))?;
    }
    for folder in [INodeNo(ENVS), INodeNo(DISTS)] {
        for name in names {
            forgotten(notifier.inval_entry(folder, name.as_ref()))?;
        }
        // The folder's attributes and its listing.
        forgotten(notifier.inval_inode(folder, 0, 0))?;
    }
    Ok(())
}

/// Passes over what the kernel did not know: it need not forget that.
fn forgotten(told: io::Result<()>) -> io::Result<()> {
    match told {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        told => told,
    }
}
