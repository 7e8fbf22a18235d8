//! The kernel's list of the mounts that a process sees: `/proc/PID/mountinfo`.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// A mount, as one mount namespace sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Number.
    pub id: u32,
    /// The number of the mount that it is mounted on.
    pub parent: u32,
    /// Device of the file system: `major:minor`.
    pub device: String,
    /// Folder of that file system that it shows.
    pub root: PathBuf,
    /// Mount point.
    pub point: PathBuf,
    /// The file system's type.
    pub kind: String,
    /// Source, as whoever mounted it has said.
    pub source: String,
}

/// The mounts of such a list, in the order in which they were made.
pub fn parse(text: &[u8]) -> Vec<Mount> {
    text.split(|byte| *byte == b'\n').filter_map(parse_line).collect()
}

fn parse_line(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ');
    let mut number = || std::str::from_utf8(fields.next()?).ok()?.parse().ok();
    let (id, parent) = (number()?, number()?);
    let text = |field: &[u8]| String::from_utf8_lossy(field).into_owned();
    let device = text(fields.next()?);
    let (root, point) = (unescape(fields.next()?), unescape(fields.next()?));
    // Options, and as many fields on propagation as there are, up to a dash.
    let mut fields = fields.skip_while(|field| *field != b"-").skip(1);
    let (kind, source) = (text(fields.next()?), unescape(fields.next()?));
    let source = source.to_string_lossy().into_owned();
    Some(Mount { id, parent, device, root, point, kind, source })
}

/// Undoes the octal escapes of blanks and backslashes.
fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let octal = after.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        let escaped = octal.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        if let (b'\\', Some(byte)) = (first, escaped) {
            bytes.push(byte);
            rest = &after[3..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_read_with_their_blanks() {
        let text =
            b"36 35 98:0 /a\\040b/views /mnt\\0112 rw,noatime master:1 - ext4 /dev/root rw\n\
                     nonsense\n37 36 0:39 / /\\134x ro - fuse.pipsqueak pipsqueak ro\n";
        let mount =
            |id: u32, device: &str, root: &str, point: &str, kind: &str, source: &str| Mount {
                id,
                parent: id - 1,
                device: device.to_owned(),
                root: root.into(),
                point: point.into(),
                kind: kind.to_owned(),
                source: source.to_owned(),
            };
        let first = mount(36, "98:0", "/a b/views", "/mnt\t2", "ext4", "/dev/root");
        let second = mount(37, "0:39", "/", "/\\x", "fuse.pipsqueak", "pipsqueak");
        assert_eq!(parse(text), [first, second]);
    }
}
