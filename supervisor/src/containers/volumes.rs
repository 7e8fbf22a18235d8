//! The volumes that engines have made, and the engines that have them mounted.
//!
//! ```text
//! STATE/volumes.json   all of it, replaced by rename before an engine is answered
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use super::engine::Engine;
use crate::machine::files::at;

/// Time that a mount by an engine that has ended is believed without being seen in a container: the
/// time between an engine's question and the mount in the container that it is making.
const DECENT_SECONDS: i64 = 10;

/// A volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// Name of the environment it shows.
    pub environment: String,
    /// Mounts of the volume, by the ID that the engine gave each.
    pub mounts: BTreeMap<String, Mounted>,
}

/// A volume as one container has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mounted {
    /// The view that the environment's name stood for.
    pub view: String,
    /// The engine that asked for it.
    pub engine: Engine,
    /// Time of the mount, in seconds since the start of the machine.
    pub since: i64,
}

impl Mounted {
    /// Now, by `engine`.
    pub fn now(view: String, engine: Engine) -> Self {
        Self { view, engine, since: seconds_since_boot() }
    }

    /// True if it is still so, given that containers have the views `bound`.
    ///
    /// An engine that is alive says itself when it ends. One that has died leaves containers that
    /// may live on, and then are seen, or nothing.
    fn holds(&self, bound: &BTreeSet<String>, now: i64) -> bool {
        self.engine.is_alive()
            || bound.contains(&self.view)
            || (0..DECENT_SECONDS).contains(&(now - self.since))
    }
}

/// All volumes, on disk and in memory.
#[derive(Debug)]
pub struct Volumes {
    path: PathBuf,
    volumes: BTreeMap<String, Volume>,
}

impl Volumes {
    /// Reads the volumes of the instance whose state is in a folder.
    pub fn open(state: &Path) -> io::Result<Self> {
        let path = state.join("volumes.json");
        let volumes = match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).map_err(|error| {
                let message =
                    format!("{}: {error}; remove it to forget all volumes", path.display());
                io::Error::new(io::ErrorKind::InvalidData, message)
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(at(&path)(error)),
        };
        Ok(Self { path, volumes })
    }

    /// All volumes, by name.
    pub fn all(&self) -> &BTreeMap<String, Volume> {
        &self.volumes
    }

    /// Changes volumes, in memory only if it could be done on disk.
    pub fn change(&mut self, change: impl FnOnce(&mut BTreeMap<String, Volume>)) -> io::Result<()> {
        let mut changed = self.volumes.clone();
        change(&mut changed);
        if changed != self.volumes {
            self.write(&changed)?;
            self.volumes = changed;
        }
        Ok(())
    }

    /// Views that volumes are mounted with. Mounts whose engine and container are gone are
    /// forgotten; containers have the views `bound`.
    pub fn held(&mut self, bound: &BTreeSet<String>) -> io::Result<BTreeSet<String>> {
        let now = seconds_since_boot();
        self.change(|volumes| {
            for volume in volumes.values_mut() {
                volume.mounts.retain(|_, mounted| mounted.holds(bound, now));
            }
        })?;
        let mounts = self.volumes.values().flat_map(|volume| volume.mounts.values());
        Ok(mounts.map(|mounted| mounted.view.clone()).collect())
    }

    fn write(&self, volumes: &BTreeMap<String, Volume>) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(volumes)?;
        let new = self.path.with_extension("new");
        let written = File::create(&new).and_then(|mut file| {
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&new, &self.path)?;
            self.path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
        });
        written.map_err(at(&self.path))
    }
}

fn seconds_since_boot() -> i64 {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(0, |time| time.tv_sec())
}

#[cfg(test)]
mod tests;
