//! Order and time of evictions: by the budget, and when memory is short.

pub mod paused;
pub mod pressure;

use serde_json::{Value, json};

use crate::harness::Instance;

/// Deploys a function whose start takes `pause` seconds, and which then keeps so many MiB.
pub fn deploy(instance: &Instance, name: &str, mebibytes: u32, pause: u32) {
    let code = format!(
        "
import time

kept = bytearray({mebibytes} << 20)
for at in range(0, len(kept), 4096):
    kept[at] = 1
time.sleep({pause})

def handler(event): return event
"
    );
    instance.deploy(name, &code, &[]);
}

/// Invokes a function; returns the tier that answered.
pub fn tier(instance: &Instance, name: &str) -> Value {
    let answer = instance.invoke(name, &json!(7));
    assert_eq!(answer["result"], 7, "{answer}");
    answer["tier"].clone()
}

/// The functions of paused sandboxes, in the order of their starts.
pub fn paused(status: &Value) -> Vec<String> {
    let sandboxes = status["sandboxes"].as_array().unwrap();
    let mut paused: Vec<_> = sandboxes.iter().filter(|one| one["state"] == "paused").collect();
    paused.sort_by_key(|one| one["id"].as_u64());
    paused.iter().map(|one| one["function"].as_str().unwrap().to_owned()).collect()
}
