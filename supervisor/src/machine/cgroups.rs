//! Control groups: one group a sandbox, in whichever hierarchies the machine has.
//!
//! Three layouts are found in the field, and all are served:
//!
//! | layout | freeze, kill | memory, pids, cpu |
//! |---|---|---|
//! | v2 | `cgroup.freeze`, `cgroup.kill` | v2 |
//! | hybrid | v2 at `/sys/fs/cgroup/unified` | each where it is: v1, or v2 |
//! | v1 | `freezer`, signals | v1 |
//!
//! An instance's groups are below `pipsqueak-ID` at the root of each hierarchy, because a group
//! with processes of its own (such as the one that `up` was called in) cannot delegate
//! controllers.

mod counts;
mod limits;
mod shown;
mod strain;

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::dynmods::{self, Favored};
use counts::Counts;
pub use limits::Limits;
use limits::{Controller, Controllers};
pub use shown::LimitWatch;

/// The hierarchies that this machine has and that we use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// The v2 hierarchy.
    unified: Option<PathBuf>,
    /// Mounts of v1 controllers: `memory`, `pids`, `cpu`, `freezer`.
    legacy: Vec<(String, PathBuf)>,
}

/// What limits a group.
const CONTROLLERS: [&str; 3] = ["memory", "pids", "cpu"];

impl Layout {
    /// Reads the layout from the text of `/proc/self/mounts`.
    pub fn parse(mounts: &str) -> Self {
        let mut unified = None;
        let mut legacy: Vec<(String, PathBuf)> = Vec::new();
        for line in mounts.lines() {
            let mut fields = line.split(' ').skip(1);
            let (Some(path), Some(kind), Some(options)) =
                (fields.next(), fields.next(), fields.next())
            else {
                continue;
            };
            match kind {
                "cgroup2" if unified.is_none() => unified = Some(PathBuf::from(path)),
                "cgroup" => {
                    let named = CONTROLLERS.iter().chain(&["freezer"]);
                    for name in named.filter(|name| options.split(',').any(|o| o == **name)) {
                        if legacy.iter().all(|(known, _)| known != name) {
                            legacy.push(((*name).to_owned(), PathBuf::from(path)));
                        }
                    }
                }
                _ => {}
            }
        }
        // The v1 freezer is for kernels without `cgroup.freeze` only.
        if unified.is_some() {
            legacy.retain(|(name, _)| name != "freezer");
        }
        Self { unified, legacy }
    }

    /// All groups of an instance, those inside before those around them.
    fn groups(&self, name: &str) -> io::Result<Vec<PathBuf>> {
        let mut groups = Vec::new();
        for top in self.roots().map(|root| root.join(name)).filter(|top| top.exists()) {
            groups.extend(subgroups(&top)?);
            groups.push(top);
        }
        Ok(groups)
    }

    fn roots(&self) -> impl Iterator<Item = &PathBuf> {
        self.unified.iter().chain(self.legacy.iter().map(|(_, path)| path))
    }
}

/// The groups of one running instance.
#[derive(Debug)]
pub struct Instance {
    layout: Layout,
    name: String,
    /// Controllers of the v2 hierarchy that its groups have.
    unified_controllers: Vec<&'static str>,
    _favored: Option<Favored>,
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

    /// Opens `cgroup.kill` of the whole instance, where the kernel has one.
    pub fn kill_switch(&self) -> io::Result<Option<File>> {
        let Some(root) = &self.layout.unified else { return Ok(None) };
        let path = root.join(&self.name).join("cgroup.kill");
        match OpenOptions::new().write(true).open(&path) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(with_path(&error, &path)),
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
                file.map(|file| (file, words)).map_err(|error| with_path(&error, &path))
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

/// The group of one sandbox.
#[derive(Debug)]
pub struct Group {
    unified: Option<PathBuf>,
    legacy: Vec<(String, PathBuf)>,
    freezer: Option<(File, [&'static str; 2])>,
    controllers: Controllers,
    counts: Counts,
    /// What it was told last.
    limits: Mutex<Limits>,
}

impl Group {
    fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        self.unified.iter().chain(self.legacy.iter().map(|(_, path)| path))
    }

    /// Changes what it may use, at any time. A limit whose controller the machine does not have is
    /// left out; `doctor` and `up` tell.
    pub fn limit(&self, wanted: &Limits) -> io::Result<()> {
        let mut limits = self.limits.lock().unwrap_or_else(PoisonError::into_inner);
        self.controllers.limit(wanted, &limits)?;
        *limits = *wanted;
        Ok(())
    }

    /// Lets it have one of so many equal parts of a function's part of the processors.
    pub fn weigh(&self, sharers: u32) -> io::Result<()> {
        let limits = *self.limits.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = limits.shared_among(sharers);
        if wanted == limits { Ok(()) } else { self.limit(&wanted) }
    }

    /// Opens `cgroup.procs` of each hierarchy: whoever writes `0` there joins, with the rights of
    /// the process that opened it.
    pub fn memberships(&self) -> io::Result<Vec<File>> {
        self.paths()
            .map(|path| {
                let path = path.join("cgroup.procs");
                let opened = OpenOptions::new().write(true).open(&path);
                opened.map_err(|error| with_path(&error, &path))
            })
            .collect()
    }

    /// Stops all processes where they are. Takes effect for each when it next leaves the kernel.
    pub fn freeze(&self) -> io::Result<()> {
        self.set_frozen(1)
    }

    /// Lets them go on.
    pub fn thaw(&self) -> io::Result<()> {
        self.set_frozen(0)
    }

    fn set_frozen(&self, state: usize) -> io::Result<()> {
        match &self.freezer {
            Some((file, words)) => file.write_all_at(words[state].as_bytes(), 0),
            None => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "no freezer: mount cgroup2 or the v1 freezer",
            )),
        }
    }

    /// Memory charged to it, in bytes; 0 where the machine does not count.
    pub fn memory(&self) -> u64 {
        self.counts.used()
    }

    /// Memory charged to it that is no file's, in bytes; 0 where the machine does not count.
    pub fn anonymous(&self) -> u64 {
        let (path, name) = match &self.controllers.memory {
            Some(Controller::V1(path)) => (path, "rss "),
            Some(Controller::V2(path)) => (path, "anon "),
            None => return 0,
        };
        let text = fs::read_to_string(path.join("memory.stat")).unwrap_or_default();
        let bytes = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        bytes.unwrap_or(0)
    }

    /// How many of its processes were ended for going over the memory limit.
    pub fn oom_kills(&self) -> u64 {
        self.counts.oom_kills()
    }

    /// Its processes, numbered as on the host.
    pub fn processes(&self) -> Vec<u32> {
        self.paths().next().map(|path| processes(path)).unwrap_or_default()
    }

    /// Ends all its processes and removes it.
    pub fn end(&self) -> io::Result<()> {
        self.paths().try_for_each(|path| end_processes(path))?;
        self.remove()
    }

    /// Removes it; its processes must have ended, but may still be on their way out.
    pub fn remove(&self) -> io::Result<()> {
        self.paths().try_for_each(|path| remove(path))
    }
}

fn name_of(id: &str) -> String {
    format!("pipsqueak-{id}")
}

fn subgroups(top: &Path) -> io::Result<Vec<PathBuf>> {
    let mut groups = Vec::new();
    for entry in fs::read_dir(top)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            groups.extend(subgroups(&entry.path())?);
            groups.push(entry.path());
        }
    }
    Ok(groups)
}

fn end_processes(group: &Path) -> io::Result<()> {
    // A v1 freezer holds back even the last signal.
    write_if_there(&group.join("freezer.state"), "THAWED")?;
    for pid in processes(group) {
        match kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL) {
            Ok(()) | Err(nix::errno::Errno::ESRCH) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn processes(group: &Path) -> Vec<u32> {
    let text = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

fn create(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(with_path(&error, path)),
        _ => Ok(()),
    }
}

/// Removes one group, waiting for processes that are on their way out.
fn remove(path: &Path) -> io::Result<()> {
    let until = Instant::now() + Duration::from_secs(5);
    loop {
        match fs::remove_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy && Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(2));
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(with_path(&error, path));
            }
            _ => return Ok(()),
        }
    }
}

fn read(path: &Path) -> io::Result<String> {
    fs::read_to_string(path).map_err(|error| with_path(&error, path))
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    fs::write(path, text).map_err(|error| with_path(&error, path))
}

fn write_if_there(path: &Path, text: &str) -> io::Result<()> {
    if path.exists() { write(path, text) } else { Ok(()) }
}

fn read_number(path: &Path) -> u64 {
    fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

fn with_path(error: &io::Error, path: &Path) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
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

    #[test]
    fn layouts_are_told_apart() {
        let pure = Layout::parse("cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n");
        assert_eq!(pure, Layout { unified: Some("/sys/fs/cgroup".into()), legacy: vec![] });
        let hybrid = Layout::parse(
            "cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\n\
             cgroup /sys/fs/cgroup/freezer cgroup rw,freezer 0 0\n\
             cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n",
        );
        assert_eq!(hybrid.unified, Some("/sys/fs/cgroup/unified".into()));
        assert_eq!(hybrid.legacy, [("memory".to_owned(), "/sys/fs/cgroup/memory".into())]);
        let legacy = Layout::parse("cgroup /c/freezer cgroup rw,freezer 0 0\n");
        assert_eq!(legacy.legacy, [("freezer".to_owned(), "/c/freezer".into())]);
    }
}
