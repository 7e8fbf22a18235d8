//! A sandbox's view of its own group: the limits by which programs size their pools and caches.
//!
//! Programs find the place by `/proc/self/cgroup`, which calls the group `/`, because the sandbox's cgroup
//! namespace begins there; or they look where a container has it.

use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use super::group::Group;
use super::limits::Controller;
use crate::machine::files::at;

/// The folder in which programs look for control groups.
const ROOT: &str = "/sys/fs/cgroup";

/// Notices whether the limit of a group's memory is read.
#[derive(Debug)]
pub struct LimitWatch(Option<Inotify>);

impl Group {
    /// The group's folders that its sandbox sees, and where.
    pub fn shown(&self) -> Vec<(PathBuf, &Path)> {
        let root = Path::new(ROOT);
        let mut shown: Vec<(PathBuf, &Path)> = Vec::new();
        for (name, controller) in
            [("memory", &self.controllers.memory), ("cpu", &self.controllers.cpu)]
        {
            if let Some(Controller::V1(path)) = controller {
                shown.push((root.join(name), path));
            }
        }
        let controllers = [&self.controllers.memory, &self.controllers.cpu];
        let unified = controllers.into_iter().flatten().find_map(|controller| match controller {
            Controller::V2(path) => Some(path),
            Controller::V1(_) => None,
        });
        if let Some(path) = unified {
            // Beside those of v1 it is where systemd puts it.
            let place = if shown.is_empty() { root.to_owned() } else { root.join("unified") };
            shown.push((place, path));
        }
        shown
    }

    /// Notices from now on whether the limit of its memory is read.
    pub fn watch_limit(&self) -> io::Result<LimitWatch> {
        let path = match &self.controllers.memory {
            None => return Ok(LimitWatch(None)),
            Some(Controller::V1(path)) => path.join("memory.limit_in_bytes"),
            Some(Controller::V2(path)) => path.join("memory.max"),
        };
        let watch = || {
            let watch = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
            watch.add_watch(&path, AddWatchFlags::IN_OPEN)?;
            Ok(watch)
        };
        let watch: nix::Result<Inotify> = watch();
        watch.map(|watch| LimitWatch(Some(watch))).map_err(|error| at(&path)(error.into()))
    }
}

impl LimitWatch {
    /// True if it was read since it was watched.
    pub fn was_read(&self) -> io::Result<bool> {
        match self.0.as_ref().map(Inotify::read_events) {
            None | Some(Err(Errno::EAGAIN)) => Ok(false),
            Some(events) => Ok(!events?.is_empty()),
        }
    }
}
