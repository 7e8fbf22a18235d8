//! Views, as sandboxes and containers are shown them: as folders of a read-only overlay.
//!
//! FUSE asks its server about every ioctl of a file, and CPython before 3.14 sends one for each file
//! that it opens. An overlay answers that by itself, and leaves reading and mapping to the file below,
//! so that the page cache is that of the mount.
//!
//! The overlay is kept where no list of mounts shows it; a sandbox or container gets a copy of that mount from
//! the view's folder down. If there are no overlays to be had, the copy is one of the mount itself.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use pipsqueak_fs::VIEWS_FOLDER;
use pipsqueak_kernel::mount::{self, Access};

use super::devices::Devices;
use super::held::held;
use super::mountinfo::{self, Mount, Namespace};
use super::overlays::Overlays;
use super::uses::{self, Places};
use crate::machine::files::at;
use crate::sync::{Mutex, lock};

/// Labels of files in an overlay are others than those in the mount, so policies would have to know it.
const SELINUX: &str = "/sys/fs/selinux/enforce";

/// The views that somebody has, by the inode number of their roots: numbers are never reused.
#[derive(Debug)]
pub struct Views {
    mount: PathBuf,
    device: u64,
    devices: Devices,
    overlays: Arc<Overlays>,
    known: Mutex<BTreeMap<u64, Weak<View>>>,
}

/// A view, to be mounted elsewhere.
#[derive(Debug)]
pub struct View {
    digest: String,
    root: u64,
    /// Name in the folder of views.
    name: String,
    /// Root of the view in the mount.
    folder: File,
    device: u64,
    overlays: Arc<Overlays>,
}

impl Views {
    /// Makes an empty table of the views of the mount of `state` at `mount`, which is served.
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
        let overlays = Arc::new(Overlays::new(mount, !Path::new(SELINUX).exists())?);
        overlays.renew(&devices);
        Ok(Self { mount: mount.to_owned(), device, devices, overlays, known: Mutex::default() })
    }

    /// The view `digest`, whose root is the inode `root`, and which the mount's folder of views has as
    /// `name`. Blocks.
    pub fn open(&self, digest: &str, (root, name): (u64, String)) -> io::Result<Arc<View>> {
        let mut known = lock(&self.known);
        if let Some(view) = known.get(&root).and_then(Weak::upgrade) {
            return Ok(view);
        }
        known.retain(|_, view| view.strong_count() > 0);
        // Ahead of the overlay, which would believe for ever that it is not there.
        let path = self.mount.join(VIEWS_FOLDER).join(&name);
        let folder = File::open(&path).map_err(at(&path))?;
        let found = folder.metadata().map_err(at(&path))?;
        if (found.dev(), found.ino()) != (self.device, root) {
            return Err(io::Error::other(format!("{} is another view", path.display())));
        }
        let (device, overlays) = (self.device, self.overlays.clone());
        let digest = digest.to_owned();
        let view = Arc::new(View { digest, root, name, folder, device, overlays });
        known.insert(root, Arc::downgrade(&view));
        Ok(view)
    }

    /// Exchanges the overlay, because files in views are others now. Who has a view of it keeps that.
    /// Blocks.
    pub fn renew(&self) {
        self.overlays.renew(&self.devices);
    }

    /// Mounts the overlay of all views at a path; does nothing if there are no overlays. Blocks.
    pub fn attach_all(&self, path: &Path) -> io::Result<()> {
        match self.overlays.take(Path::new("."))? {
            Some(all) => mount::attach(all.as_fd(), path),
            None => Ok(()),
        }
    }

    /// Places where views and folders of the mount are mounted, without the instance's own: `exports`
    /// has those for containers.
    pub fn places(&self, namespaces: &[Namespace], exports: Option<&Mount>) -> Places {
        Places::among(namespaces, &self.mount, self.device, exports)
    }

    /// Inodes of the mount that processes have mapped or open, or that they are in, whichever supervisor
    /// has shown them.
    pub fn held(&self, namespaces: &[Namespace]) -> io::Result<BTreeSet<u64>> {
        held(&uses::devices(namespaces, &self.mount, self.devices.all()))
    }
}

impl View {
    /// Digest of the view.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// A copy of its mount, attached nowhere. Blocks.
    pub fn take(&self) -> io::Result<OwnedFd> {
        match self.overlays.take(Path::new(&self.name))? {
            Some(taken) => Ok(taken),
            None => mount::take_open(self.folder.as_fd(), Access::ReadOnly),
        }
    }

    /// Mounts it at a path, over what may lie there.
    pub fn attach(&self, path: &Path) -> io::Result<()> {
        mount::attach(self.take()?.as_fd(), path)
    }

    /// True if this view is mounted at a path.
    pub fn is_at(&self, path: &Path) -> bool {
        let device = self.overlays.device().unwrap_or(self.device);
        fs::metadata(path).is_ok_and(|found| (found.dev(), found.ino()) == (device, self.root))
    }
}
