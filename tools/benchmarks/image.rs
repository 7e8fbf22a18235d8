//! Read-only images of a tree, which the mount is compared with, made by the system's own tools.

use std::path::{Path, PathBuf};
use std::process::Command;

use nix::mount::{MntFlags, umount2};

use crate::Failure;
use crate::instance::succeed;

/// Makes a squashfs image of a tree, compressed with zstd at its default level.
pub fn squashfs(tree: &Path, image: &Path) -> Result<(), Failure> {
    let mut command = Command::new("mksquashfs");
    command.arg(tree).arg(image).args(["-comp", "zstd", "-no-progress", "-quiet", "-noappend"]);
    named(succeed(&mut command), "squashfs-tools")
}

/// Makes an EROFS image of a tree without compression, the fastest choice for warm reads.
pub fn erofs(tree: &Path, image: &Path) -> Result<(), Failure> {
    named(succeed(Command::new("mkfs.erofs").arg("--quiet").arg(image).arg(tree)), "erofs-utils")
}

fn named(made: Result<(), Failure>, package: &str) -> Result<(), Failure> {
    made.map_err(|error| format!("{error}; the package {package} has the tool").into())
}

/// A mounted image. Unmounted when dropped.
#[derive(Debug)]
pub struct Mounted(PathBuf);

impl Mounted {
    /// Mounts an EROFS image by a loop device.
    pub fn erofs(image: &Path, place: &Path) -> Result<Self, Failure> {
        std::fs::create_dir_all(place)?;
        let options = ["-t", "erofs", "-o", "loop,ro"];
        succeed(Command::new("mount").args(options).arg(image).arg(place))?;
        Ok(Self(place.to_owned()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Err(error) = umount2(&self.0, MntFlags::empty()) {
            eprintln!("bench: unmounting {}: {error}", self.0.display());
        }
    }
}
