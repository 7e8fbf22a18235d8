//! The hierarchies of control groups that a machine has.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The hierarchies that this machine has and that we use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// The v2 hierarchy.
    pub(super) unified: Option<PathBuf>,
    /// Mounts of v1 controllers: `memory`, `pids`, `cpu`, `freezer`.
    pub(super) legacy: Vec<(String, PathBuf)>,
}

/// Controllers that limit a group.
pub(super) const CONTROLLERS: [&str; 3] = ["memory", "pids", "cpu"];

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
    pub(super) fn groups(&self, name: &str) -> io::Result<Vec<PathBuf>> {
        let mut groups = Vec::new();
        for top in self.roots().map(|root| root.join(name)).filter(|top| top.exists()) {
            groups.extend(subgroups(&top)?);
            groups.push(top);
        }
        Ok(groups)
    }

    pub(super) fn roots(&self) -> impl Iterator<Item = &PathBuf> {
        self.unified.iter().chain(self.legacy.iter().map(|(_, path)| path))
    }
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

#[cfg(test)]
mod tests {
    use super::*;

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
