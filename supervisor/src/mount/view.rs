//! Views as all who mount them elsewhere are shown them: through a read-only overlay of their folder.
//!
//! FUSE asks its server about every ioctl of a file, and CPython before 3.14 sends one for each file
//! that it opens. An overlay answers that by itself, and leaves reading and mapping to the file below,
//! so that the page cache is that of the mount. It believes that what lies below never changes, which
//! is so for a view, and is not for the mount as a whole.
//!
//! One overlay of each view is kept, where no list of mounts shows it; who wants it gets a copy of that
//! mount. Where there are no overlays to be had, the copy is one of the mount itself.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::sys::stat::fstat;
use pipsqueak_fs::EMPTY_FOLDER;
use pipsqueak_kernel::mount::{self, Access};
use pipsqueak_kernel::overlay;

use super::devices::Devices;
use super::held::held;
use super::hidden::{HiddenMount, HiddenMounts};
use super::mountinfo::{self, Mount, Namespace};
use super::uses::{self, Places, Source};

/// Labels of files in an overlay are others than those in the mount, so policies would have to know it.
const SELINUX: &str = "/sys/fs/selinux/enforce";

/// The views that somebody has had, by the inode number of their roots: numbers are never reused.
#[derive(Debug)]
pub struct Views {
    mount: PathBuf,
    device: u64,
    devices: Devices,
    /// The lowest layer of all.
    empty: Option<File>,
    known: Mutex<BTreeMap<u64, Arc<View>>>,
    /// Where overlays are that can be copied nowhere else.
    hidden: Mutex<Option<Arc<HiddenMounts>>>,
    warned: AtomicBool,
}

/// A view, to be mounted elsewhere.
#[derive(Debug)]
pub struct View {
    digest: String,
    root: u64,
    /// Its root in the mount. It stays this view's, whatever its name stands for later.
    folder: File,
    device: u64,
    /// Overlays of it, the last of which is the one to have: of others files may be mapped.
    overlays: Mutex<Vec<Overlay>>,
}

#[derive(Debug)]
struct Overlay {
    tree: Tree,
    device: u64,
}

#[derive(Debug)]
enum Tree {
    Detached(OwnedFd),
    /// Before Linux 6.15, where a mount that is attached nowhere cannot be copied.
    Hidden(HiddenMount),
}

impl Views {
    /// None yet of the mount of `state` at `mount`, which is served.
    pub fn new(mount: &Path, state: &Path) -> io::Result<Self> {
        let device = fs::metadata(mount).map_err(at(mount))?.dev();
        let devices = Devices::open(state)?;
        // What lies on a mount that was taken over is about to go, and may be in use.
        let overlays = uses::devices(&[mountinfo::own()?], mount, BTreeSet::new());
        for device in overlays.into_iter().chain([device]) {
            if let Err(error) = devices.note(device) {
                tracing::warn!(%error, "the next supervisor will not know what processes have mapped");
            }
        }
        let empty = mount.join(EMPTY_FOLDER);
        let empty = if Path::new(SELINUX).exists() {
            None
        } else {
            Some(File::open(&empty).map_err(at(&empty))?)
        };
        let (known, hidden, warned) = Default::default();
        Ok(Self { mount: mount.to_owned(), device, devices, empty, known, hidden, warned })
    }

    /// The view `digest`, whose root is the inode `root`, and which the mount shows as the
    /// environment `name`. Blocks.
    pub fn open(&self, digest: &str, root: u64, name: &str) -> io::Result<Arc<View>> {
        let mut known = lock(&self.known);
        let path = self.mount.join("envs").join(name);
        if let Some(view) = known.get(&root) {
            if !view.is_overlay() {
                // A folder whose name the kernel was told to forget is mounted nowhere (`ENOENT`)
                // until it is looked up again.
                fs::metadata(&path).map_err(at(&path))?;
            }
            return Ok(view.clone());
        }
        let folder = File::open(&path).map_err(at(&path))?;
        let found = folder.metadata().map_err(at(&path))?;
        if (found.dev(), found.ino()) != (self.device, root) {
            return Err(io::Error::other(format!("{} shows another view", path.display())));
        }
        let device = self.device;
        let overlays = Mutex::default();
        let view = Arc::new(View { digest: digest.to_owned(), root, folder, device, overlays });
        self.renew(&view);
        known.insert(root, view.clone());
        Ok(view)
    }

    /// The view whose root is an inode, where somebody has had it.
    pub fn get(&self, root: u64) -> Option<Arc<View>> {
        lock(&self.known).get(&root).cloned()
    }

    /// Exchanges all overlays, because files in views are others now. Who has one keeps it.
    /// Blocks.
    pub fn renew_all(&self) {
        for view in lock(&self.known).values() {
            self.renew(view);
        }
    }

    /// Forgets the views, by digest and inode number of their root, that are not to be kept.
    pub fn retain(&self, is_kept: impl Fn(&str, u64) -> bool) {
        lock(&self.known).retain(|root, view| is_kept(&view.digest, *root));
    }

    /// Where views and folders of the mount are mounted, without the instance's own places: `exports`
    /// has those for containers.
    pub fn places(&self, namespaces: &[Namespace], exports: Option<&Mount>) -> Places {
        Places::among(namespaces, &self.mount, self.device, exports)
    }

    /// Inodes of the mount that processes have mapped or open, or that they are in, whichever supervisor
    /// has shown them.
    pub fn held(&self, namespaces: &[Namespace]) -> io::Result<BTreeSet<u64>> {
        held(&uses::devices(namespaces, &self.mount, self.devices.all()))
    }

    fn renew(&self, view: &View) {
        let Some(empty) = &self.empty else { return };
        let source = Source::new(&self.mount, &view.digest).to_string();
        match self.overlay(&source, [view.folder.as_fd(), empty.as_fd()]) {
            Ok(overlay) => lock(&view.overlays).push(overlay),
            Err(error) if !self.warned.swap(true, Ordering::Relaxed) => {
                tracing::warn!(%error, "views are shown without overlays");
            }
            Err(_) => {}
        }
    }

    fn overlay(&self, source: &str, layers: [BorrowedFd<'_>; 2]) -> io::Result<Overlay> {
        let tree = overlay::mount(source, &layers)?;
        let device = fstat(&tree)?.st_dev;
        self.devices.note(device)?;
        let tree = match mount::take_open(tree.as_fd(), Access::ReadOnly) {
            Ok(_) => Tree::Detached(tree),
            Err(_) => Tree::Hidden(self.hidden()?.add(tree)?),
        };
        Ok(Overlay { tree, device })
    }

    fn hidden(&self) -> io::Result<Arc<HiddenMounts>> {
        let mut hidden = lock(&self.hidden);
        if let Some(hidden) = &*hidden {
            return Ok(hidden.clone());
        }
        Ok(hidden.insert(Arc::new(HiddenMounts::new()?)).clone())
    }
}

impl View {
    /// Its digest.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// A copy of its mount, attached nowhere. Blocks.
    pub fn take(&self) -> io::Result<OwnedFd> {
        match lock(&self.overlays).last() {
            Some(Overlay { tree: Tree::Detached(tree), .. }) => {
                mount::take_open(tree.as_fd(), Access::ReadOnly)
            }
            Some(Overlay { tree: Tree::Hidden(hidden), .. }) => hidden.copy(Access::ReadOnly),
            None => mount::take_open(self.folder.as_fd(), Access::ReadOnly),
        }
    }

    /// Mounts it at a path, over what may lie there.
    pub fn attach(&self, path: &Path) -> io::Result<()> {
        mount::attach(self.take()?.as_fd(), path)
    }

    /// Whether it is more than a folder of the mount.
    pub fn is_overlay(&self) -> bool {
        !lock(&self.overlays).is_empty()
    }

    /// Whether this is what is mounted at a path.
    pub fn is_at(&self, path: &Path) -> bool {
        let device = lock(&self.overlays).last().map_or(self.device, |overlay| overlay.device);
        fs::metadata(path).is_ok_and(|found| (found.dev(), found.ino()) == (device, self.root))
    }
}

fn at(path: &Path) -> impl Fn(io::Error) -> io::Error + use<'_> {
    move |error| io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
