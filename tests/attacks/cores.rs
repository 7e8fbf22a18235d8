//! Crashes in a sandbox: none of its memory reaches the host, whatever the host does with cores.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use serde_json::json;

use super::Attacked;
use crate::harness::eventually;
use crate::tests;

tests!(; long no_memory_of_a_sandbox_is_in_a_core);

const CRASHES: &str = "
import ctypes, os, resource, subprocess, sys

SECRET = ''.join(map(chr, [115, 101, 99, 114, 101, 116])) * 4096

def handler(event):
    if event == 'lower the limit':
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    elif event == 'execute another':
        code = 'import os; secret = chr(115) + \\'ecret\\' * 4096; os.abort()'
        return subprocess.run([sys.executable, '-c', code]).returncode
    os.abort()
";

/// The machine's pattern of core files; dropping it restores the pattern of before.
struct Pattern(String);

const PATTERN: &str = "/proc/sys/kernel/core_pattern";

impl Pattern {
    fn set(pattern: &str) -> Self {
        let before = fs::read_to_string(PATTERN).unwrap();
        fs::write(PATTERN, pattern).unwrap();
        Self(before)
    }
}

impl Drop for Pattern {
    fn drop(&mut self) {
        fs::write(PATTERN, self.0.trim_end()).unwrap();
    }
}

/// Changes the pattern of core files of the whole machine for a moment.
fn no_memory_of_a_sandbox_is_in_a_core() {
    let attacked = Attacked::start();
    let folder = attacked.instance.scratch();
    let (program, taken) = (folder.join("take"), folder.join("taken"));
    let script = format!("#!/bin/sh\nexec cat > {}/$1\n", taken.display());
    fs::create_dir(&taken).unwrap();
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let size = |path: &Path| fs::metadata(path).map_or(0, |metadata| metadata.len());

    let _pattern = Pattern::set(&format!("|{} %P", program.display()));
    // A crash of the host's, to see that it works.
    let crash =
        ["-c", "import resource, os; resource.setrlimit(resource.RLIMIT_CORE, (0, 0)); os.abort()"];
    assert!(!std::process::Command::new("python3").args(crash).status().unwrap().success());
    let cores =
        || fs::read_dir(&taken).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    eventually("the host's own core is taken", || cores().iter().any(|core| size(core) > 1 << 20));
    for core in cores() {
        fs::remove_file(core).unwrap();
    }
    attacked.instance.deploy("crashes", CRASHES, &[]);
    for forked in [false, true] {
        for event in ["plainly", "lower the limit", "execute another"] {
            if forked {
                attacked.instance.await_zygotes();
                attacked.instance.ok(&["evict", "--paused"]);
            }
            attacked.instance.invoke("crashes", &json!(event));
            // The program that cores are handed to is waited for by nobody.
            std::thread::sleep(Duration::from_millis(300));
            for core in cores() {
                let content = fs::read(&core).unwrap();
                let has_secret = content.windows(18).any(|bytes| bytes == b"secretsecretsecret");
                assert!(
                    !has_secret && content.len() < 64 << 10,
                    "{event}: {} bytes",
                    content.len()
                );
                assert_eq!(event, "lower the limit");
                fs::remove_file(core).unwrap();
            }
        }
    }
    attacked.serves_others();
}
