//! The control groups of one running instance.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::counts::Counts;
use super::group::{Group, create, end_processes, processes, remove};
use super::layout::{CONTROLLERS, Layout};
use super::limits::{Controller, Controllers, Limits};
use crate::machine::dynmods::{self, Favored};
use crate::machine::files::{at, read, write};

/// The groups of one running instance.
#[derive(Debug)]
pub struct Instance {
    pub(super) layout: Layout,
    pub(super) name: String,
    /// Controllers of the v2 hierarchy that its groups have.
    pub(super) unified_controllers: Vec<&'static str>,
    pub(super) _favored: Option<Favored>,
}

impl Instance {
    /// Makes the groups of the instance `id`, after ending and clearing what an earlier run of it
    /// has left.
    pub fn create(id: &str) -> io::Result<Self> {
        let layout = Layout::parse(&fs::read_to_string("/proc/self/mounts")?);
        let favored = layout.unified.as_deref().and_then(|root| {
            dynmods::favor(root).unwrap_or_else(|error| {
                tracing::warn!(%error, "starts will be slower: cgroup2 without favordynmods");
                None
            })
        });
        let available = match &layout.unified {
            Some(root) => read(&root.join("cgroup.controllers"))?,
            None => String::new(),
        };
        let is_available = |name: &&str| available.split_whitespace().any(|known| known == *name);
        let instance = Self {
            layout,
            name: name_of(id),
            unified_controllers: CONTROLLERS.into_iter().filter(is_available).collect(),
            _favored: favored,
        };
        instance.clear()?;
        for root in instance.layout.roots() {
            create(&root.join(&instance.name))?;
        }
        if let Some(root) = &instance.layout.unified {
            for controller in &instance.unified_controllers {
                for group in [root.clone(), root.join(&instance.name)] {
                    write(&group.join("cgroup.subtree_control"), &format!("+{controller}"))?;
                }
            }
        }
        for controller in instance.missing() {
            tracing::warn!(controller, "the machine has no such cgroup controller: no such limit");
        }
        Ok(instance)
    }

    /// Controllers of limits that the machine does not have, in either hierarchy.
    fn missing(&self) -> impl Iterator<Item = &'static str> {
        let has = |name: &str| {
            self.unified_controllers.contains(&name)
                || self.layout.legacy.iter().any(|(known, _)| known == name)
        };
        CONTROLLERS.into_iter().filter(move |name| !has(name))
    }

    /// Ends what an earlier run of the instance `id` has left running, and waits a moment for it.
    ///
    /// Not for longer: what waits for the mount can end only when that is served again.
    pub fn end_earlier(id: &str) -> io::Result<()> {
        let groups =
            Layout::parse(&fs::read_to_string("/proc/self/mounts")?).groups(&name_of(id))?;
        groups.iter().try_for_each(|group| end_processes(group))?;
        let until = Instant::now() + Duration::from_millis(500);
        while groups.iter().any(|group| !processes(group).is_empty()) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// Name of the group that all others are in, at the root of each hierarchy.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Opens `cgroup.kill` of the whole instance, if the kernel has one.
    pub fn kill_switch(&self) -> io::Result<Option<File>> {
        let Some(root) = &self.layout.unified else { return Ok(None) };
        let path = root.join(&self.name).join("cgroup.kill");
        match OpenOptions::new().write(true).open(&path) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(at(&path)(error)),
        }
    }

    /// Makes a group for one sandbox.
    pub fn group(&self, name: &str, limits: &Limits) -> io::Result<Group> {
        let inside = |root: &PathBuf| root.join(&self.name).join(name);
        let unified = self.layout.unified.as_ref().map(inside);
        let legacy: Vec<_> =
            self.layout.legacy.iter().map(|(name, root)| (name.clone(), inside(root))).collect();
        for path in unified.iter().chain(legacy.iter().map(|(_, path)| path)) {
            create(path)?;
        }
        let freezer = match (&unified, legacy.iter().find(|(name, _)| name == "freezer")) {
            (Some(path), _) => Some((path.join("cgroup.freeze"), ["0", "1"])),
            (None, Some((_, path))) => Some((path.join("freezer.state"), ["THAWED", "FROZEN"])),
            (None, None) => None,
        };
        let freezer = freezer
            .map(|(path, words)| {
                let file = OpenOptions::new().write(true).open(&path);
                file.map(|file| (file, words)).map_err(at(&path))
            })
            .transpose()?;
        let controller = |name: &str| {
            if self.unified_controllers.contains(&name) {
                return unified.clone().map(Controller::V2);
            }
            let found = legacy.iter().find(|(known, _)| known == name);
            found.map(|(_, path)| Controller::V1(path.clone()))
        };
        let controllers = Controllers {
            memory: controller("memory"),
            pids: controller("pids"),
            cpu: controller("cpu"),
        };
        let limits_now = Mutex::new(Limits::NONE);
        let counts = Counts::new(controllers.memory.clone());
        let group = Group { unified, legacy, freezer, controllers, counts, limits: limits_now };
        if let Err(error) = group.limit(limits) {
            let _ = group.remove();
            return Err(error);
        }
        Ok(group)
    }

    /// Ends every process of the instance and removes its groups.
    pub fn clear(&self) -> io::Result<()> {
        let groups = self.layout.groups(&self.name)?;
        // First all of them: the end of a pid namespace waits for those inside it.
        groups.iter().try_for_each(|group| end_processes(group))?;
        groups.iter().try_for_each(|group| remove(group))
    }
}

fn name_of(id: &str) -> String {
    format!("pipsqueak-{id}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_machine_does_not_have_is_known() {
        let layout = Layout::parse("cgroup /c/cpu cgroup rw,cpu,cpuacct 0 0\n");
        let unified_controllers = vec!["memory"];
        let name = name_of("test");
        let instance = Instance { layout, name, unified_controllers, _favored: None };
        assert_eq!(instance.missing().collect::<Vec<_>>(), ["pids"]);
    }
}
