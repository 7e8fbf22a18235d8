//! A warm import asks the mount for nothing.

use std::process::Command;

use crate::harness::{Instance, Options, kept_caches};
use crate::tests;

tests!(a_warm_import_sends_no_request);

fn a_warm_import_sends_no_request() {
    let instance = Instance::start(&Options::default());
    instance.ok(&["env", "add", "science", "pandas"]);
    let python = instance.mount().join("envs/science/bin/python");
    let import = || {
        let done = Command::new(&python).args(["-c", "import pandas"]).status().unwrap();
        assert!(done.success());
    };
    let requests = || instance.status()["mount"]["requests"].clone();
    let _caches = kept_caches();
    import();
    import();
    let before = requests();
    import();
    let after = requests();
    assert_eq!(before, after);
    assert!(before["lookup"].as_u64().unwrap() > 100, "the counters count: {before}");
    assert_eq!(after["panic"], 0);
}
