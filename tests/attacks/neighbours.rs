//! Attacks of a function or a package on others that share something with it.

use serde_json::json;

use super::{Attacked, wheel};
use crate::harness::Index;
use crate::tests;

tests!(a_poisoned_zygote_serves_only_who_has_the_poison, signals_to_all_reach_nobody_else);

/// Changes, at import, what others use.
const POISON: &str = "
import builtins, json, os, sys
builtins.poisoned = True
json.poisoned = True
sys.path.insert(0, '/tmp')
os.environ['POISONED'] = '1'
for place in ('/tmp', '/dev/shm'):
    open(place + '/six.py', 'w').write('poisoned = True')
";

const TASTES: &str = "
import builtins, json, os, sys
try:
    import poison
except ImportError:
    pass
import six

def handler(event):
    return {
        'builtins': hasattr(builtins, 'poisoned'),
        'json': hasattr(json, 'poisoned'),
        'module': 'poison' in sys.modules,
        'path': '/tmp' in sys.path,
        'variable': 'POISONED' in os.environ,
        'files': [os.listdir('/tmp'), os.listdir('/dev/shm')],
        'six': six.__file__,
    }
";

fn a_poisoned_zygote_serves_only_who_has_the_poison() {
    let index = Index::start(&["six"], &[], None);
    index.add("poison-1.0-py3-none-any.whl", &wheel("poison", POISON));
    let attacked = Attacked::from(&index);
    let instance = &attacked.instance;
    instance.ok(&["env", "add", "sick", "poison", "six"]);
    instance.ok(&["env", "add", "well", "six"]);
    instance.deploy("sick", TASTES, &["--env", "sick"]);
    instance.invoke("sick", &json!({}));
    let sick = attacked.forked("sick", &json!({}))["result"].clone();
    assert_eq!(sick["builtins"], true, "the poison does not work: {sick}");

    instance.deploy("well", TASTES, &["--env", "well"]);
    let well = json!({
        "builtins": false, "json": false, "module": false, "path": false, "variable": false,
        "files": [[], []],
        "six": "/pipsqueak/env/lib/python3.11/site-packages/six.py",
    });
    assert_eq!(instance.invoke("well", &json!({}))["result"], well);
    assert_eq!(attacked.forked("well", &json!({}))["result"], well);
    attacked.serves_others();
}

fn signals_to_all_reach_nobody_else() {
    let attacked = Attacked::start();
    let instance = &attacked.instance;
    let code = "
import os, signal

def handler(event):
    for number in (signal.SIGKILL, signal.SIGSTOP):
        if os.fork() == 0:
            if event == 'all':
                os.kill(-1, number)
            elif event == 'group':
                os.killpg(0, number)
            else:
                # All that a process may name, and that has a name here.
                for pid in range(1, 5000):
                    try:
                        os.kill(pid, number)
                    except OSError:
                        pass
            os._exit(0)
        os.wait()
    return 'survived'
";
    instance.deploy("killer", code, &["--timeout", "3"]);
    instance.deploy("sibling", "def handler(event): return 'alive'\n", &[]);
    instance.invoke("killer", &json!("nobody"));
    attacked.forked("sibling", &json!({}));
    let zygotes = instance.status()["zygotes"].clone();
    for event in ["all", "group", "each"] {
        // Once forked and once more: a sibling of another function waits meanwhile.
        let answer = instance.invoke("killer", &json!(event));
        assert_ne!(answer["result"], "survived", "{event}: {answer}");
        let sibling = instance.invoke("sibling", &json!({}));
        assert_eq!((&sibling["result"], &sibling["tier"]), (&json!("alive"), &json!("paused")));
        for (zygote, before) in
            instance.status()["zygotes"].as_array().unwrap().iter().zip(zygotes.as_array().unwrap())
        {
            assert_eq!(zygote["pid"], before["pid"], "{event}");
            assert_eq!(zygote["state"], "ready", "{event}");
        }
    }
    attacked.serves_others();
}
