//! What is imported ahead finds what it would find in a function, or is not imported ahead.

use serde_json::json;

use super::{fresh_and_forked, index, instance, zygote};
use crate::tests;

tests!(what_fails_in_a_zygote_is_left_out_of_the_next);

/// Fails in a zygote, and leaves something there.
const FRAGILE: &str = "
import builtins, sys
if sys.orig_argv[-1] == 'zygote':
    builtins.poisoned = True
    raise OSError('not here, ' + 300 * 'x')
";
const TOLERANT: &str = "
try:
    import fragile
except OSError:
    fragile = None
";
const FINE: &str = "import os\nbirth = os.getpid()\n";

fn what_fails_in_a_zygote_is_left_out_of_the_next() {
    let packages = [
        ("fine", FINE),
        ("fragile", FRAGILE),
        ("strict", "import fragile"),
        ("tolerant", TOLERANT),
    ];
    let index = index(&["six"], &packages);
    let instance = instance(&index, None, None);
    instance.ok(&["env", "add", "failing", "fine", "fragile", "strict", "tolerant"]);
    let code = "
import builtins, os
import fine, strict, tolerant

def handler(event):
    poisoned = hasattr(builtins, 'poisoned')
    return [poisoned, tolerant.fragile is strict.fragile, fine.birth != os.getpid()]
";
    instance.deploy("user", code, &["--env", "failing"]);
    assert_eq!(
        fresh_and_forked(&instance, "user", &json!({})),
        (json!([false, true, false]), json!([false, true, true]))
    );
    let seen = zygote(&instance);
    assert_eq!(seen["modules"], json!(["fine"]), "{seen}");
    let reason = seen["reason"].as_str().unwrap();
    assert!(reason.starts_with("fragile left out: cannot be imported ahead: OSError: not here"));
    assert!(reason.len() < 300 && reason.matches("not here").count() == 1, "{reason}");
    let explained = instance.ok(&["explain", "user"]);
    assert_eq!(explained.matches("not here").count(), 1, "{explained}");
}
