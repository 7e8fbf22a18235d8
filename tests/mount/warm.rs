//! Warm imports send the mount no request.

use std::process::Command;

use crate::harness::{Instance, Options, kept_caches};
use crate::tests;

tests!(a_warm_import_sends_no_request);

/// Repeats an action until the mount gets no request at all, which must come soon. A library's
/// place in memory is random, and so are the pages that are read ahead.
pub fn until_nothing_is_asked(instance: &Instance, act: impl Fn()) {
    let requests = || instance.status()["mount"]["requests"].clone();
    let mut asked = Vec::new();
    for _ in 0..5 {
        let before = requests();
        act();
        let after = requests();
        if before == after {
            return;
        }
        asked.push((before, after));
    }
    panic!("each time something was asked: {asked:?}");
}

fn a_warm_import_sends_no_request() {
    let instance = Instance::start(&Options::default());
    instance.ok(&["env", "add", "science", "pandas"]);
    let python = instance.mount().join("envs/science/bin/python");
    let import = || {
        let done = Command::new(&python).args(["-c", "import pandas"]).status().unwrap();
        assert!(done.success());
    };
    let _caches = kept_caches();
    import();
    until_nothing_is_asked(&instance, import);
    let counted = instance.status()["mount"]["requests"].clone();
    assert!(counted["lookup"].as_u64().unwrap() > 100, "the counters count: {counted}");
    assert_eq!(counted["panic"], 0);
}
