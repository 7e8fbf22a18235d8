//! A cold import reads what it needs, and little else.

use std::process::Command;

use crate::harness::{Instance, Options, dropped_caches, eventually, kill_9};
use crate::tests;

tests!(a_cold_import_decodes_little_more_than_it_reads);

/// Content of a frame, in bytes.
const FRAME_BYTES: u64 = 128 << 10;

fn a_cold_import_decodes_little_more_than_it_reads() {
    let instance = Instance::start(&Options::default());
    instance.ok(&["env", "add", "science", "pandas"]);
    kill_9(&instance.status()["mount"]["pid"]);
    eventually("a successor serves", || instance.status()["mount"]["successions"] == 1);
    let counted = |what: &str| instance.status()["mount"]["requests"][what].as_u64().unwrap();
    let (decoded, read) = (counted("decoded-frames"), counted("read-bytes"));
    let _caches = dropped_caches();
    let python = instance.mount().join("envs/science/bin/python");
    let done = Command::new(python).args(["-c", "import pandas"]).status().unwrap();
    assert!(done.success());
    let decoded = (counted("decoded-frames") - decoded) * FRAME_BYTES;
    let read = counted("read-bytes") - read;
    // Pandas has three times as many files as importing it reads. In the order of their paths 1.4
    // times what is read is decoded, in that of the trace 1.2 times.
    assert!(read > 10 << 20, "{read}");
    assert!(decoded < read * 13 / 10, "{decoded} bytes decoded for {read}");
}
