//! The order of eviction, and the freezing of paused sandboxes.

use std::path::Path;

use super::{deploy, paused, tier};
use crate::harness::{Instance, Options, eventually, kill_9};
use crate::tests;

tests!(
    lru_drops_the_least_recently_used,
    greedy_dual_keeps_what_starts_slowly,
    what_follows_closely_finds_its_sandbox_running_and_it_is_frozen_in_the_end,
    a_frozen_sandbox_that_was_killed_is_not_asked,
);

/// The functions that are kept, of several of the same size; the first one starts slowly.
fn kept(eviction: &str) -> Vec<String> {
    let variables = vec![("PIPSQUEAK_EVICTION", eviction.to_owned())];
    let (tiers, memory) = (Some("paused,ssd"), Some("110M"));
    let instance = Instance::start(&Options { tiers, memory, variables, ..Options::default() });
    for name in ["slow", "one", "two", "three"] {
        deploy(&instance, name, 40, if name == "slow" { 5 } else { 0 });
        // The first time makes their environment.
        tier(&instance, name);
        if name == "slow" {
            assert_eq!(tier(&instance, name), "paused");
        }
    }
    let mut kept = Vec::new();
    eventually("as many are kept as there is memory for", || {
        kept = paused(&instance.status());
        kept.len() < 3
    });
    assert_eq!(tier(&instance, kept.last().unwrap()), "paused");
    kept
}

fn lru_drops_the_least_recently_used() {
    assert_eq!(kept("lru"), ["two", "three"]);
}

fn greedy_dual_keeps_what_starts_slowly() {
    let kept = kept("greedy-dual");
    assert_eq!((kept.len(), kept[0].as_str()), (2, "slow"), "{kept:?}");
}

fn what_follows_closely_finds_its_sandbox_running_and_it_is_frozen_in_the_end() {
    let variables = |linger: &str| vec![("PIPSQUEAK_LINGER", linger.to_owned())];
    // Longer than this test can take.
    let long = Options { variables: variables("1000"), ..Options::default() };
    let instance = Instance::start(&long);
    deploy(&instance, "busy", 1, 0);
    tier(&instance, "busy");
    await_frozen(&instance, "1");
    assert_eq!(tier(&instance, "busy"), "paused");
    await_frozen(&instance, "0");
    assert_eq!(tier(&instance, "busy"), "paused");
    await_frozen(&instance, "0");
    drop(instance);

    let instance = Instance::start(&Options { variables: variables("0.3"), ..long });
    deploy(&instance, "busy", 1, 0);
    for _ in 0..20 {
        tier(&instance, "busy");
    }
    await_frozen(&instance, "1");
    assert_eq!(tier(&instance, "busy"), "paused");
    await_frozen(&instance, "1");
}

fn a_frozen_sandbox_that_was_killed_is_not_asked() {
    let instance = Instance::start(&Options::default());
    deploy(&instance, "function", 1, 0);
    tier(&instance, "function");
    await_frozen(&instance, "1");
    let pid = instance.status()["sandboxes"][0]["pid"].clone();
    kill_9(&pid);
    // Its holder, which is frozen too, has not reaped it.
    eventually("it is dead", || {
        std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count) == 0
    });
    assert_ne!(tier(&instance, "function"), "paused");
    assert_eq!(tier(&instance, "function"), "paused");
    assert_ne!(instance.status()["sandboxes"][0]["pid"], pid);
}

/// Waits until the only sandbox is frozen (`1`) or runs (`0`).
fn await_frozen(instance: &Instance, state: &str) {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    let unified = mounts.lines().find(|line| line.split(' ').nth(2) == Some("cgroup2")).unwrap();
    let group = Path::new(unified.split(' ').nth(1).unwrap()).join(instance.group().unwrap());
    eventually("the sandbox is frozen or runs on", || {
        let id = &instance.status()["sandboxes"][0]["id"];
        let path = group.join(format!("s{id}")).join("cgroup.freeze");
        std::fs::read_to_string(path).is_ok_and(|text| text.trim() == state)
    });
}
