//! The prefetching process.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::prctl::{set_name, set_pdeathsig};
use nix::sys::signal::Signal;

use super::host::{Host, runs};
use super::package::Root;
use super::prefetcher::{Message, hear};
use crate::trace::Trace;
use crate::vfs::{Entered, SHOWN_FOLDER, VIEWS_FOLDER};
use crate::view::index::Index;
use crate::view::published::{index_path, view_name};

/// A module is not read ahead again for so long. The kernel may have dropped it by then.
const RECENT: Duration = Duration::from_secs(5);
/// Traces are forgotten when nothing was entered for so long, in milliseconds.
const IDLE: u16 = 10_000;
/// Traces that are kept.
const MOST_TRACES: usize = 4;

/// A view's trace, and how to find in it what is entered.
struct Known {
    trace: Trace,
    /// Name in the folder of views.
    name: String,
    /// Modules by their folder's node.
    packages: BTreeMap<u32, String>,
    /// Modules that were read ahead, and until when that counts.
    done: BTreeSet<String>,
    until: Instant,
    used: Instant,
}

/// Reads ahead of imports until the server has ended, which tells of them at stdin.
pub fn run(state: &Path, mountpoint: &Path) -> io::Result<()> {
    // Also while it waits for an answer of the server, which nobody may give any more.
    set_pdeathsig(Signal::SIGKILL)?;
    set_name(c"pipsqueak-fs")?;
    let socket: OwnedFd = io::stdin().as_fd().try_clone_to_owned()?;
    let views = state.join("views");
    let host = Host::start()?;
    let mut known: BTreeMap<String, Known> = BTreeMap::new();
    loop {
        let entered = match hear(&socket, IDLE.into())? {
            Message::Entered(entered) => entered,
            Message::Nothing => {
                known.clear();
                continue;
            }
            Message::End => return Ok(()),
        };
        if !known.contains_key(&entered.view) {
            match Known::load(&index_path(&views, &entered.view)) {
                Ok(loaded) => {
                    forget_one(&mut known);
                    known.insert(entered.view.clone(), loaded);
                }
                Err(error) => tracing::warn!(%error, entered.view, "imports are not read ahead of"),
            }
        }
        if let Some(view) = known.get_mut(&entered.view)
            && let Err(error) = view.read_ahead(&entered, mountpoint, &host)
        {
            tracing::debug!(%error, entered.view, "not read ahead");
        }
    }
}

/// Makes room for one more trace.
fn forget_one(known: &mut BTreeMap<String, Known>) {
    if known.len() >= MOST_TRACES {
        let oldest = known.iter().min_by_key(|(_, view)| view.used).map(|(name, _)| name.clone());
        oldest.map(|name| known.remove(&name));
    }
}

impl Known {
    fn load(path: &Path) -> io::Result<Self> {
        let index = Index::open(path).map_err(io::Error::other)?;
        let trace = match index.trace() {
            [] => Trace::default(),
            bytes => Trace::decode(bytes)?,
        };
        let node =
            |folder: &str| folder.split('/').try_fold(0, |node, name| index.child(node, name));
        let packages = trace
            .modules
            .iter()
            .filter_map(|(name, module)| Some((node(module.folder.as_deref()?)?, name.clone())));
        let packages = packages.collect();
        let now = Instant::now();
        let name = view_name(index.view(), index.first_number());
        Ok(Self { trace, name, packages, done: BTreeSet::new(), until: now, used: now })
    }

    /// Reads ahead of the import of the package that was entered, where it is one.
    fn read_ahead(&mut self, entered: &Entered, mountpoint: &Path, host: &Host) -> io::Result<()> {
        self.used = Instant::now();
        let Some(package) = self.packages.get(&entered.node) else { return Ok(()) };
        if self.used > self.until {
            self.done.clear();
            self.until = self.used + RECENT;
        }
        if self.done.contains(package) {
            return Ok(());
        }
        let folder = if entered.is_named { SHOWN_FOLDER } else { VIEWS_FOLDER };
        let root = Root::open(&mountpoint.join(folder).join(&self.name))?;
        let interpreter = self.trace.interpreter.as_deref();
        let is_hosts = interpreter.is_some_and(|executable| runs(entered.thread, executable));
        let suffixes = &self.trace.suffixes;
        self.trace.walk(package, &mut self.done, &mut |_, module| {
            root.enter(module, suffixes);
            for path in &module.reads {
                if !path.starts_with('/') {
                    root.read(path);
                } else if is_hosts {
                    host.read(path);
                }
            }
        });
        Ok(())
    }
}
