//! Limits of a function, as programs find them in various ways.

use serde_json::json;

use crate::attacks::wheel;
use crate::harness::{Index, Instance, Options};
use crate::tests;

tests!(programs_find_the_functions_own_limits, a_limit_that_an_import_reads_is_the_functions_own,);

const LIMITS: &str = include_str!("limits.py");

fn programs_find_the_functions_own_limits() {
    let instance = Instance::start(&Options::default());
    let megabytes = |count: u64| count << 20;
    for (name, memory, cpu) in [("small", 256, 0.5), ("large", 700, 1.5)] {
        let options = ["--memory", &format!("{memory}M"), "--cpus", &cpu.to_string()];
        instance.deploy(name, LIMITS, &options);
        let memory = megabytes(memory);
        let expected = json!({
            "duckdb": memory, "java": [memory, cpu], "ray": memory, "written": [], "seen": [[], []],
        });
        instance.invoke(name, &json!({}));
        instance.await_zygotes();
        for way in [&["evict"][..], &["evict", "--paused"], &[]] {
            if !way.is_empty() {
                instance.ok(way);
            }
            let answer = instance.invoke(name, &json!({}));
            assert_eq!(answer["result"], expected, "{way:?}: {answer}");
            instance.await_zygotes();
        }
    }
}

/// A package that reads the memory limit at its import.
const SIZES: &str = "
import os
LIMIT = next(int(open(path).read()) for path in
             ('/sys/fs/cgroup/memory/memory.limit_in_bytes', '/sys/fs/cgroup/memory.max') if os.path.exists(path))
";

fn a_limit_that_an_import_reads_is_the_functions_own() {
    let index = Index::start(&[], &[], None);
    index.add("sizes-1.0-py3-none-any.whl", &wheel("sizes", SIZES));
    let variables = vec![("UV_DEFAULT_INDEX", index.url(""))];
    let instance = Instance::start(&Options { variables, ..Options::default() });
    instance.ok(&["env", "add", "sizes", "sizes"]);
    let code = "import sizes\ndef handler(event): return sizes.LIMIT\n";
    for (name, memory) in [("first", 200), ("second", 300)] {
        instance.deploy(name, code, &["--env", "sizes", "--memory", &format!("{memory}M")]);
    }
    for _ in 0..3 {
        for (name, memory) in [("first", 200), ("second", 300)] {
            let answer = instance.invoke(name, &json!({}));
            assert_eq!(answer["result"], memory << 20, "{name}: {answer}");
        }
        instance.await_zygotes();
        instance.ok(&["evict", "--paused"]);
    }
}
