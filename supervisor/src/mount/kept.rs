//! The connection, kept beyond the supervisor: in the service manager's store, or in the program that
//! this process becomes.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pipsqueak_fs::mount::{Attachment, DIALECT, Orphaned, TakeOverError};

use crate::service::{Service, ServiceError, Stored};
use crate::sync::{Mutex, lock};

/// Why a stored descriptor is not taken over.
#[derive(Debug, thiserror::Error)]
enum Refused {
    /// Its name is that of another mount, another state folder, or other builds.
    #[error("it is of another mount")]
    Another,
    /// The kernel says that it does not fit.
    #[error(transparent)]
    Unfit(#[from] TakeOverError),
}

/// Descriptors that the manager keeps for the mount of one state folder at one path.
#[derive(Debug)]
pub struct Store {
    service: Arc<Service>,
    path: PathBuf,
    /// Begin of the names of connections that may be taken over.
    prefix: String,
    /// Name of the connection that is kept now.
    name: Mutex<Option<String>>,
}

impl Store {
    /// The store for the mount of `state` at `path`. Without a service manager it keeps nothing.
    pub fn of(service: &Arc<Service>, path: &Path, state: &Path) -> io::Result<Self> {
        // Not by its path alone: what the kernel knows is of the folder that was there.
        let folder = std::fs::metadata(state)?;
        let mut hasher = blake3::Hasher::new();
        for place in [path, state] {
            hasher.update(place.as_os_str().as_bytes()).update(&[0]);
        }
        hasher.update(&folder.dev().to_le_bytes()).update(&folder.ino().to_le_bytes());
        let identity = &hasher.finalize().to_hex()[..16];
        Ok(Self {
            service: service.clone(),
            path: path.to_owned(),
            prefix: format!("pipsqueak-{DIALECT}-{identity}-"),
            name: Mutex::default(),
        })
    }

    /// True if a connection outlives this process whatever becomes of it.
    pub fn is_there(&self) -> bool {
        self.service.is_there()
    }

    /// End of a mount whose supervisor is gone.
    pub fn orphaned(&self) -> Orphaned {
        if self.is_there() { Orphaned::Leaves } else { Orphaned::Unmounts }
    }

    /// The mount that an earlier supervisor has left, of which the manager kept the connection. All
    /// else that it kept is closed.
    pub fn take_over(&self, stored: Vec<Stored>) -> Option<Attachment> {
        let mut found = None;
        for Stored { name, descriptor } in stored {
            let fitting = match name.strip_prefix(&self.prefix) {
                None => Err(Refused::Another),
                Some(device) => {
                    let device = device.replacen('-', ":", 1);
                    Attachment::take_over(&self.path, descriptor, &device, self.orphaned())
                        .map_err(Refused::from)
                }
            };
            match fitting {
                Ok(attachment) => {
                    *lock(&self.name) = Some(name);
                    found = Some(attachment);
                }
                Err(reason) => {
                    tracing::warn!(%reason, name, "a stored descriptor is not taken over");
                    self.drop_named(&name);
                }
            }
        }
        found
    }

    /// Has the connection of a mount kept, beyond this process's end.
    pub fn keep(&self, attachment: &Attachment) -> Result<(), ServiceError> {
        let name = self.name_of(attachment);
        self.service.keep(&name, attachment.connection())?;
        *lock(&self.name) = Some(name);
        Ok(())
    }

    /// The name under which a connection is taken over.
    pub fn name_of(&self, attachment: &Attachment) -> String {
        format!("{}{}", self.prefix, attachment.device().replace(':', "-"))
    }

    /// Has it kept no longer.
    pub fn forget(&self) {
        let name = lock(&self.name).take();
        if let Some(name) = name {
            self.drop_named(&name);
        }
    }

    fn drop_named(&self, name: &str) {
        if let Err(error) = self.service.forget(name) {
            tracing::warn!(%error, "the service manager keeps a descriptor that nobody needs");
        }
    }
}
