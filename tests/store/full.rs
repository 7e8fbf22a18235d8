//! A disk that is full at every write.

use std::fs::File;

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::{read_all, site};
use serde_json::json;

use crate::harness::{Instance, Options, drop_caches, eventually};
use crate::tests;

tests!(
    nothing_half_written_is_left_on_a_full_disk,
    a_collection_frees_a_full_disk,
    a_full_disk_costs_logs_and_no_invocation,
);

/// A small disk in the place of an instance's state. Unmounted when dropped, after the instance
/// that uses it is stopped.
struct SmallDisk<'a>(&'a Instance);

impl<'a> SmallDisk<'a> {
    fn mount(instance: &'a Instance) -> Self {
        instance.ok(&["down"]);
        let (state, flags) = (instance.state(), MsFlags::empty());
        mount(Some("tmpfs"), &state, Some("tmpfs"), flags, Some("size=64m,mode=700")).unwrap();
        let disk = Self(instance);
        instance.up();
        disk
    }

    /// Leaves `bytes` bytes free.
    fn leave(&self, bytes: u64) {
        let ballast = self.0.state().join("ballast");
        let _ = std::fs::remove_file(&ballast);
        let disk = nix::sys::statvfs::statvfs(&self.0.state()).unwrap();
        let free = disk.blocks_available() * disk.block_size();
        let file = File::create(&ballast).unwrap();
        let length = i64::try_from(free.saturating_sub(bytes)).unwrap();
        nix::fcntl::posix_fallocate(&file, 0, length).unwrap();
    }

    fn empty(&self) {
        let _ = std::fs::remove_file(self.0.state().join("ballast"));
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        self.0.call(&["down"]);
        let _ = umount2(&self.0.state(), MntFlags::MNT_DETACH);
    }
}

fn nothing_half_written_is_left_on_a_full_disk() {
    let instance = Instance::start(&Options::default());
    let disk = SmallDisk::mount(&instance);
    instance.ok(&["env", "add", "kept", "idna"]);
    let sound = |when: &str| {
        let output = instance.call(&["store", "fsck"]);
        assert_eq!(output.code, 0, "{when}: {output:?}");
        drop_caches();
        read_all(&site(&instance, "kept")).unwrap();
    };
    let (mut failed, mut done) = (0, 0);
    // As much as the staging folder needs, and then what each write after it does.
    for pages in (0..90).step_by(6) {
        disk.leave(pages * 4096);
        let output = instance.call(&["env", "add", "new", "six"]);
        disk.empty();
        match output.code {
            0 => done += 1,
            // An installation that would fill the disk is ended before it does.
            2 | 70 => failed += 1,
            other => panic!("{other}: {output:?}"),
        }
        sound(&format!("after adding with {pages} pages"));
        if output.code == 0 {
            instance.ok(&["env", "rm", "new"]);
            disk.leave(pages % 8 * 4096);
            let output = instance.call(&["store", "gc", "--grace", "0"]);
            assert!(matches!(output.code, 0 | 70), "{output:?}");
            disk.empty();
            sound(&format!("after collecting with {} pages", pages % 8));
            instance.ok(&["store", "gc", "--grace", "0"]);
            sound("after collecting");
        }
    }
    assert!(failed > 3 && done > 1, "{failed} failed, {done} done");
}

fn a_collection_frees_a_full_disk() {
    let instance = Instance::start(&Options::default());
    let disk = SmallDisk::mount(&instance);
    for round in 0..2 {
        // In one segment, of which little stays.
        instance.ok(&["env", "add", "gone", "six", "idna", "certifi", "requests"]);
        instance.ok(&["env", "add", "kept", "six"]);
        instance.ok(&["env", "rm", "gone"]);
        disk.leave(0);
        let collected = instance.json(&["store", "gc", "--grace", "0", "--json"]);
        let gone = collected["distributions"].as_array().unwrap().len();
        assert!(gone >= 4, "{round}: {collected}");
        let output = instance.call(&["store", "fsck"]);
        assert_eq!(output.code, 0, "{output:?}");
        read_all(&site(&instance, "kept")).unwrap();
        disk.empty();
        instance.ok(&["store", "gc", "--grace", "0"]);
    }
}

fn a_full_disk_costs_logs_and_no_invocation() {
    let instance = Instance::start(&Options::default());
    let disk = SmallDisk::mount(&instance);
    instance.deploy("talker", "def handler(event): print(event * 9000); return 1\n", &[]);
    instance.invoke("talker", &json!("x"));
    let told = |text: &str| instance.ok(&["logs", "talker"]).contains(text);
    eventually("it is written", || told("REPORT"));
    disk.leave(0);
    for _ in 0..20 {
        assert_eq!(instance.invoke("talker", &json!("lost"))["result"], 1);
    }
    // What cannot be kept is not accepted.
    let mut codes = Vec::new();
    for _ in 0..20 {
        let payload = format!("\"{}\"", "x".repeat(100_000));
        codes.push(instance.call_with(&["invoke", "talker", "--async", "-d", "-"], &payload).code);
    }
    assert!(codes.contains(&70) && codes.iter().all(|code| matches!(code, 0 | 70)), "{codes:?}");
    disk.empty();
    eventually("what was accepted is done", || {
        instance.json(&["events", "ls", "--json"]) == json!([])
    });
    eventually("it is written again", || {
        let answer = instance.invoke("talker", &json!("y"));
        assert_eq!(answer["result"], 1, "{answer}");
        told(&"y".repeat(9000))
    });
    assert!(told("bytes of logs could not be written to the disk]"));
}
