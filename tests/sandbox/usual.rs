//! Programs that run elsewhere, which must run in a sandbox, too.

use serde_json::json;

use crate::harness::{Instance, Options};
use crate::tests;

tests!(what_programs_usually_do_works);

const USUAL: &str = include_str!("usual.py");

fn what_programs_usually_do_works() {
    let instance = Instance::start(&Options::default());
    instance.deploy("usual", USUAL, &["--timeout", "60"]);
    let fresh = instance.invoke("usual", &json!({}));
    assert_eq!(fresh["result"], json!({}), "{fresh}");
    instance.await_zygotes();
    instance.ok(&["evict", "--paused"]);
    let forked = instance.invoke("usual", &json!({}));
    assert_eq!((&forked["result"], &forked["tier"]), (&json!({}), &json!("zygote")), "{forked}");
}
