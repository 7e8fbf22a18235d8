//! Tiers: the best available one answers.

use serde_json::json;

use crate::harness::{Instance, Options};
use crate::tests;

tests!(each_tier_answers_once, tiers_that_are_off_do_not_answer);

const FUNCTION: &str = "
import six

def handler(event):
    return {'python': six.PY3, 'echo': event}
";

fn deploy(instance: &Instance) {
    let requirements = instance.scratch().join("requirements.txt");
    std::fs::write(&requirements, "six\n").unwrap();
    instance.deploy("echo", FUNCTION, &["-r", requirements.to_str().unwrap()]);
}

fn tier(instance: &Instance) -> String {
    let answer = instance.invoke("echo", &json!({ "n": 1.5 }));
    assert_eq!(answer["result"], json!({ "python": true, "echo": { "n": 1.5 } }), "{answer}");
    for time in ["queue_us", "start_us", "run_us", "total_us"] {
        assert!(answer[time].is_u64(), "{answer}");
    }
    answer["tier"].as_str().unwrap().to_owned()
}

fn each_tier_answers_once() {
    let instance = Instance::start(&Options::default());
    deploy(&instance);
    assert_eq!(tier(&instance), "cold");
    assert_eq!(tier(&instance), "paused");
    instance.await_zygotes();
    instance.ok(&["evict", "echo", "--paused"]);
    assert_eq!(tier(&instance), "zygote");
    assert_eq!(tier(&instance), "paused");
    instance.ok(&["evict"]);
    assert_eq!(tier(&instance), "ssd");
    let starts = &instance.status()["starts"];
    assert_eq!(*starts, json!({ "cold": 1, "paused": 2, "ssd": 1, "zygote": 1 }));
}

fn tiers_that_are_off_do_not_answer() {
    let none = Instance::start(&Options { tiers: Some("none"), ..Options::default() });
    deploy(&none);
    assert_eq!([tier(&none), tier(&none)], ["cold", "cold"]);
    assert_eq!(none.status()["zygotes"], json!([]));
    let zygote = Instance::start(&Options { tiers: Some("zygote"), ..Options::default() });
    deploy(&zygote);
    assert_eq!(tier(&zygote), "cold");
    zygote.await_zygotes();
    assert_eq!([tier(&zygote), tier(&zygote)], ["zygote", "zygote"]);
}
