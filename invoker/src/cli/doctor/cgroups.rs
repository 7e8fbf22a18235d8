//! Control groups: the hierarchies, their controllers, and a test that groups freeze.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::finding::Finding;

/// Controllers, and the losses without them.
const CONTROLLERS: [(&str, &str); 3] = [
    ("memory", "functions have no memory limit"),
    ("pids", "functions have no limit of processes"),
    ("cpu", "functions have no limit of processor time"),
];

/// The hierarchies of a machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Layout {
    unified: Option<PathBuf>,
    /// Controllers of v1, by name.
    legacy: Vec<(String, PathBuf)>,
}

impl Layout {
    /// Reads the text of `/proc/self/mounts`.
    fn parse(mounts: &str) -> Self {
        let mut layout = Self::default();
        for line in mounts.lines() {
            let fields: Vec<&str> = line.split(' ').collect();
            let [_, path, kind, options, ..] = fields[..] else { continue };
            match kind {
                "cgroup2" if layout.unified.is_none() => layout.unified = Some(path.into()),
                "cgroup" => {
                    let known = ["memory", "pids", "cpu", "freezer"];
                    let controls = options.split(',').filter(|option| known.contains(option));
                    layout.legacy.extend(controls.map(|name| (name.to_owned(), path.into())));
                }
                _ => {}
            }
        }
        layout
    }

    fn legacy(&self, name: &str) -> Option<&Path> {
        let of_name = self.legacy.iter().find(|(known, _)| known == name);
        of_name.map(|(_, path)| path.as_path())
    }

    fn name(&self) -> &'static str {
        match (&self.unified, self.legacy.is_empty()) {
            (Some(_), true) => "v2",
            (Some(_), false) => "hybrid (v2 and v1)",
            (None, false) => "v1",
            (None, true) => "none",
        }
    }
}

pub(super) fn examine() -> Vec<Finding> {
    let layout = Layout::parse(&fs::read_to_string("/proc/self/mounts").unwrap_or_default());
    let of_v2 = layout.unified.as_ref().map(|root| root.join("cgroup.controllers"));
    let of_v2 = of_v2.and_then(|path| fs::read_to_string(path).ok()).unwrap_or_default();
    let mut findings = vec![hierarchies(&layout)];
    findings.extend(CONTROLLERS.map(|(name, loss)| controller(&layout, &of_v2, name, loss)));
    let used = layout.unified.as_deref().or(layout.legacy("freezer"));
    findings.push(freezer(used, used.map(try_freezer)));
    findings
}

fn hierarchies(layout: &Layout) -> Finding {
    const CHECK: &str = "cgroups";
    match layout.name() {
        "none" => Finding::missing(
            CHECK,
            "none is mounted",
            "mount -t cgroup2 cgroup2 /sys/fs/cgroup; in a container, give it its own cgroups",
        ),
        name => Finding::ok(CHECK, name),
    }
}

fn controller(layout: &Layout, of_v2: &str, name: &'static str, loss: &str) -> Finding {
    let place = match &layout.unified {
        Some(root) if of_v2.split_whitespace().any(|known| known == name) => Some(root.as_path()),
        _ => layout.legacy(name),
    };
    let Some(place) = place else {
        let advice =
            format!("boot with a kernel and command line that have it (cgroup_enable={name})");
        return Finding::warning(name, format!("no such controller: {loss}"), advice);
    };
    match Group::make(place) {
        Ok(_group) => Finding::ok(name, format!("controlled at {}", place.display())),
        Err(error) => Finding::missing(
            name,
            format!("{}: {error}", place.display()),
            "run as root; in a container, mount the control groups writable",
        ),
    }
}

fn freezer(place: Option<&Path>, tried: Option<io::Result<()>>) -> Finding {
    const CHECK: &str = "freezer";
    match (place, tried) {
        (Some(place), Some(Ok(()))) => {
            Finding::ok(CHECK, format!("a group at {} froze and thawed", place.display()))
        }
        (Some(place), Some(Err(error))) => Finding::missing(
            CHECK,
            format!("{}: {error}", place.display()),
            "run as root on a kernel with cgroup.freeze (5.2) or the v1 freezer, writable",
        ),
        _ => Finding::missing(CHECK, "no hierarchy that freezes", "mount cgroup v2"),
    }
}

/// A group for the length of a check.
struct Group(PathBuf);

impl Group {
    fn make(root: &Path) -> io::Result<Self> {
        let path = root.join(format!("pipsqueak-doctor-{}", std::process::id()));
        fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The group is empty, so this fails only if another process has removed it.
        let _ = fs::remove_dir(&self.0);
    }
}

fn try_freezer(root: &Path) -> io::Result<()> {
    let group = Group::make(root)?;
    let unified = group.0.join("cgroup.freeze");
    // An empty group freezes like any other, and no process has to be risked.
    if unified.exists() {
        let events = group.0.join("cgroup.events");
        for (state, expected) in [("1", "frozen 1"), ("0", "frozen 0")] {
            fs::write(&unified, state)?;
            wait_for(&events, |text| text.lines().any(|line| line == expected))?;
        }
    } else {
        let state = group.0.join("freezer.state");
        for expected in ["FROZEN", "THAWED"] {
            fs::write(&state, expected)?;
            wait_for(&state, |text| text.trim() == expected)?;
        }
    }
    Ok(())
}

fn wait_for(path: &Path, done: impl Fn(&str) -> bool) -> io::Result<()> {
    let until = Instant::now() + Duration::from_secs(1);
    while !done(&fs::read_to_string(path)?) {
        if Instant::now() > until {
            return Err(io::ErrorKind::TimedOut.into());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict;
    use super::*;

    const HYBRID: &str = "tmpfs /sys/fs/cgroup tmpfs rw,mode=755 0 0
cgroup /sys/fs/cgroup/cpu cgroup rw,relatime,cpu,cpuacct 0 0
cgroup /sys/fs/cgroup/memory cgroup rw,relatime,memory 0 0
cgroup /sys/fs/cgroup/systemd cgroup rw,name=systemd 0 0
cgroup2 /sys/fs/cgroup/unified cgroup2 rw,relatime 0 0
";
    const V2: &str = "cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n";

    #[test]
    fn layouts_are_told_apart() {
        let hybrid = Layout::parse(HYBRID);
        assert_eq!(hybrid.name(), "hybrid (v2 and v1)");
        assert_eq!(hybrid.unified.as_deref(), Some(Path::new("/sys/fs/cgroup/unified")));
        assert_eq!(hybrid.legacy("cpu"), Some(Path::new("/sys/fs/cgroup/cpu")));
        assert_eq!(hybrid.legacy("pids"), None);
        assert_eq!(Layout::parse(V2).name(), "v2");
        assert_eq!(Layout::parse("cgroup /c cgroup rw,freezer 0 0").name(), "v1");
        assert_eq!(hierarchies(&Layout::parse("a b\n")).verdict, Verdict::Missing);
    }

    #[test]
    fn a_controller_that_is_not_there_is_a_loss_and_one_not_writable_a_fault() {
        let layout = Layout { unified: Some("/nowhere".into()), legacy: Vec::new() };
        let absent = controller(&layout, "cpu io", "memory", "no limit");
        assert_eq!(absent.verdict, Verdict::Warning);
        assert_eq!(absent.found, "no such controller: no limit");
        assert_eq!(controller(&layout, "cpu memory", "memory", "").verdict, Verdict::Missing);
        let folder = tempfile::tempdir().unwrap();
        let legacy = vec![("pids".to_owned(), folder.path().to_owned())];
        let layout = Layout { unified: None, legacy };
        assert_eq!(controller(&layout, "", "pids", "").verdict, Verdict::Ok);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_freezer_must_have_frozen() {
        let place = Some(Path::new("/c"));
        assert_eq!(freezer(place, Some(Ok(()))).verdict, Verdict::Ok);
        let failed = Some(Err(io::ErrorKind::TimedOut.into()));
        assert_eq!(freezer(place, failed).verdict, Verdict::Missing);
        assert_eq!(freezer(None, None).verdict, Verdict::Missing);
    }
}
