//! `/sys` of every sandbox: which processors there are and how they are arranged, and nothing else.
//!
//! The folder is a copy of the host's, made when the maker starts. The host's own tells more, such as how busy
//! each processor is, and what other devices there are.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::layout::{create_folder, write_file};

/// A folder of `/sys`, and what is shown of it.
struct Shown {
    folder: &'static str,
    files: &'static [&'static str],
    /// Begin of the name of a member, which a number ends.
    member: &'static str,
    /// Files of each member.
    of_member: &'static [&'static str],
    /// Folders of each member of which all files are shown, and those of folders in them.
    whole: &'static [&'static str],
}

const SHOWN: [Shown; 2] = [
    Shown {
        folder: "devices/system/cpu",
        files: &["kernel_max", "offline", "online", "possible", "present"],
        member: "cpu",
        of_member: &[],
        whole: &["cache", "regs", "topology"],
    },
    Shown {
        folder: "devices/system/node",
        files: &["has_cpu", "has_memory", "has_normal_memory", "online", "possible"],
        member: "node",
        of_member: &["cpulist", "cpumap", "distance"],
        whole: &[],
    },
];

/// Folders that programs list without asking whether they are there: there is nothing of the kind.
const EMPTY: [&str; 1] = ["class/power_supply"];

/// Most bytes that are read of a file.
const MOST_BYTES: u64 = 64 << 10;
/// Depth of the folders that are shown whole.
const DEPTH: usize = 2;

/// Fills `sys` with it.
pub fn fill(sys: &Path) -> io::Result<()> {
    create_folder(sys)?;
    for folder in EMPTY {
        create_folder(&sys.join(folder))?;
    }
    SHOWN.iter().try_for_each(|shown| {
        let (from, to) = (Path::new("/sys").join(shown.folder), sys.join(shown.folder));
        Copies::default().folder(shown, &from, &to)
    })
}

/// Files by their content. Most of those of one processor are like those of another, and become one.
#[derive(Default)]
struct Copies(HashMap<Vec<u8>, PathBuf>);

impl Copies {
    fn folder(&mut self, shown: &Shown, from: &Path, to: &Path) -> io::Result<()> {
        for name in shown.files {
            self.file(&from.join(name), &to.join(name))?;
        }
        // Where there is no /sys there is nothing to be shown.
        for entry in fs::read_dir(from).into_iter().flatten().flatten() {
            let name = entry.file_name();
            if !is_member(&name, shown.member) {
                continue;
            }
            let (from, to) = (entry.path(), to.join(&name));
            create_folder(&to)?;
            for name in shown.of_member {
                self.file(&from.join(name), &to.join(name))?;
            }
            for name in shown.whole {
                self.whole(&from.join(name), &to.join(name), DEPTH)?;
            }
        }
        Ok(())
    }

    fn whole(&mut self, from: &Path, to: &Path, depth: usize) -> io::Result<()> {
        for entry in fs::read_dir(from).into_iter().flatten().flatten() {
            let (kind, from, to) = (entry.file_type()?, entry.path(), to.join(entry.file_name()));
            if kind.is_file() && entry.file_name() != "uevent" {
                self.file(&from, &to)?;
            } else if kind.is_dir() && depth > 1 && entry.file_name() != "power" {
                self.whole(&from, &to, depth - 1)?;
            }
        }
        Ok(())
    }

    /// Copies a file that can be read.
    fn file(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let mut content = Vec::new();
        let read =
            File::open(from).and_then(|file| file.take(MOST_BYTES).read_to_end(&mut content));
        if read.is_err() {
            return Ok(());
        }
        if let Some(folder) = to.parent() {
            create_folder(folder)?;
        }
        if let Some(same) = self.0.get(&content) {
            return fs::hard_link(same, to);
        }
        write_file(to, &content)?;
        self.0.insert(content, to.to_owned());
        Ok(())
    }
}

fn is_member(name: &OsStr, start: &str) -> bool {
    let number = name.to_str().and_then(|name| name.strip_prefix(start));
    number.is_some_and(|number| number.parse::<u32>().is_ok())
}
