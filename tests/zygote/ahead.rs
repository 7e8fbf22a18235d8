//! Imports ahead of a call find everything that they find in a function, or are not made.

use serde_json::json;

use super::{fresh_and_forked, index, instance, zygote};
use crate::harness::Index;
use crate::tests;

tests!(
    what_fails_in_a_zygote_is_left_out_of_the_next,
    what_packages_require_is_there_for_their_imports,
);

/// Fails in a zygote, and leaves a trace there.
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

/// Writes a wheel with files and requirements.
const WHEEL: &str = r"
import sys, zipfile
name, requires, files = {NAME!}, {REQUIRES!}, {FILES!}
info = f'{name}-1.0.dist-info/'
requires = ''.join(f'{line}\n' for line in requires)
with zipfile.ZipFile(sys.argv[1], 'w') as wheel:
    for path, content in files:
        wheel.writestr(path, content)
    wheel.writestr(info + 'METADATA', f'Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{requires}')
    wheel.writestr(info + 'WHEEL', 'Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n')
    record = ''.join(f'{path},,\n' for path in wheel.namelist())
    wheel.writestr(info + 'RECORD', record + info + 'RECORD,,\n')
";

fn add(index: &Index, name: &str, requires: &[&str], files: &[(&str, &str)]) {
    let program = WHEEL
        .replace("{NAME!}", &json!(name).to_string())
        .replace("{REQUIRES!}", &json!(requires).to_string())
        .replace("{FILES!}", &json!(files).to_string());
    index.add(&format!("{name}-1.0-py3-none-any.whl"), &program);
}

fn what_packages_require_is_there_for_their_imports() {
    // No module, and loaded by its place.
    let loading = "
import os
birth = os.getpid()
with open(os.path.join(os.path.dirname(__file__), 'parts', 'library.so')) as library:
    content = library.read()
";
    let index = index(&["six"], &[]);
    let by_extra = ["Provides-Extra: some.Parts", "Requires-Dist: parts; extra == 'some.Parts'"];
    add(&index, "parts", &[], &[("parts/library.so", "code")]);
    add(&index, "between", &by_extra, &[]);
    add(&index, "whole", &["Requires-Dist: Between[some-parts]>=1"], &[("whole.py", loading)]);
    add(&index, "optional", &by_extra, &[("optional.py", loading)]);
    let instance = instance(&index, None, None);
    for (module, wanted) in [("whole", "whole"), ("optional", "optional[some_parts]")] {
        // The zygote sees less than all.
        instance.ok(&["env", "add", module, wanted, "six"]);
        let code = format!(
            "import os\nimport {module} as it\n\n\
             def handler(event): return [it.content, it.birth != os.getpid()]\n"
        );
        instance.deploy("user", &code, &["--env", module]);
        assert_eq!(
            fresh_and_forked(&instance, "user", &json!({})),
            (json!(["code", false]), json!(["code", true]))
        );
        instance.ok(&["functions", "rm", "user"]);
        instance.ok(&["evict"]);
    }
}
