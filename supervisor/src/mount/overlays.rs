//! The overlay through which all views of an instance are shown, and those that it has had before.
//!
//! The loader, and others that remember a file, know it by file system and inode number. So views are
//! folders of one overlay, not overlays of their own: a zygote sees some of what its child sees, and what it
//! has loaded is the same file in both. Each folder is found by a name that never means another
//! view (`pipsqueak_fs::view_name`), because an overlay believes that nothing changes below it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::stat::fstat;
use pipsqueak_fs::{EMPTY_FOLDER, VIEWS_FOLDER};
use pipsqueak_kernel::mount::{self, Access};
use pipsqueak_kernel::overlay;

use super::devices::Devices;
use super::hidden::{HiddenMount, HiddenMounts};
use super::uses;
use crate::machine::files::at;
use crate::sync::{Mutex, lock};

/// Overlays of the folder of views, the last of which is the one to have: of others files may be mapped.
#[derive(Debug)]
pub struct Overlays {
    source: String,
    /// The folder of views, and the empty one that lies below it; none where there are to be no overlays.
    layers: Option<[File; 2]>,
    all: Mutex<Vec<Overlay>>,
    warned: AtomicBool,
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

impl Overlays {
    /// Makes an empty list of overlays of the mount at `mount`, which stays empty if none are wanted. Blocks.
    pub fn new(mount: &Path, are_wanted: bool) -> io::Result<Self> {
        let open = |name: &str| {
            let path = mount.join(name);
            File::open(&path).map_err(at(&path))
        };
        let layers =
            if are_wanted { Some([open(VIEWS_FOLDER)?, open(EMPTY_FOLDER)?]) } else { None };
        let (all, warned) = Default::default();
        Ok(Self { source: uses::source(mount), layers, all, warned })
    }

    /// Makes another, whose file system is noted, and from now on the one to have. Blocks.
    pub fn renew(&self, devices: &Devices) {
        let Some(layers) = &self.layers else { return };
        match self.overlay(layers, devices) {
            Ok(overlay) => lock(&self.all).push(overlay),
            Err(error) if !self.warned.swap(true, Ordering::Relaxed) => {
                tracing::warn!(%error, "views are shown without overlays");
            }
            Err(_) => {}
        }
    }

    fn overlay(&self, layers: &[File; 2], devices: &Devices) -> io::Result<Overlay> {
        let tree =
            overlay::mount(&self.source, &layers.each_ref().map(AsFd::as_fd), Access::ReadOnly)?;
        let device = fstat(&tree)?.st_dev;
        devices.note(device)?;
        let tree = match mount::take_open(tree.as_fd(), Access::ReadOnly) {
            Ok(_) => Tree::Detached(tree),
            Err(_) => Tree::Hidden(Arc::new(HiddenMounts::new()?).add(tree)?),
        };
        Ok(Overlay { tree, device })
    }

    /// The file system of the one to have.
    pub fn device(&self) -> Option<u64> {
        lock(&self.all).last().map(|overlay| overlay.device)
    }

    /// A copy of the mount of a view, by its name in the folder of views, attached nowhere; nothing where
    /// there are no overlays. Blocks.
    pub fn take(&self, name: &Path) -> io::Result<Option<OwnedFd>> {
        let all = lock(&self.all);
        let Some(overlay) = all.last() else { return Ok(None) };
        let taken = match &overlay.tree {
            Tree::Detached(tree) => mount::take_below(tree.as_fd(), name, Access::ReadOnly),
            Tree::Hidden(hidden) => hidden.copy(name, Access::ReadOnly),
        };
        taken.map(Some)
    }
}
