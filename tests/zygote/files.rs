//! Files that an import leaves in `/tmp`, at home or in shared memory, and properties of the
//! process that it stores, are the same in a zygote's children.

use serde_json::{Value, json};

use super::{fresh_and_forked, index, instance, zygote};
use crate::harness::{Instance, write};
use crate::tests;

tests!(
    files_that_imports_leave_are_their_childrens,
    files_of_a_zygotes_zygote_are_there_too,
    files_that_cannot_be_given_keep_a_module_out,
    files_for_which_a_tmp_has_no_room_are_imported_anew,
);

/// Leaves files, as packages that keep settings and caches do.
const WRITING: &str = "
import getpass, os, pwd, socket, tempfile

host = socket.gethostname()
user = [getpass.getuser(), os.getuid(), os.getgid(), pwd.getpwuid(os.getuid()).pw_dir]
home = os.path.expanduser('~/.config/writing')
os.makedirs(home + '/closed')
with open(home + '/settings', 'w') as file:
    file.write('x' * 50000)
os.chmod(home + '/settings', 0o640)
os.utime(home + '/settings', (1000, 1000))
os.symlink('settings', home + '/link')
with open(home + '/closed/tool', 'w') as file:
    file.write('tool')
os.chmod(home + '/closed/tool', 0o700)
os.chmod(home + '/closed', 0o500)
os.utime(home + '/closed', (2000, 2000))
with open(b'/tmp/odd-\\xff', 'w') as file:
    file.write('odd')
with open('/dev/shm/block', 'wb') as file:
    file.write(b'block')
chosen = tempfile.mkdtemp(prefix='chosen-')
# Made anew after a fork, unless it is there.
os.mkdir('/tmp/renewed')
os.register_at_fork(after_in_child=lambda: os.makedirs('/tmp/renewed', exist_ok=True))
os.environ['WRITING'] = chosen
";
/// Adds to the files of `writing`.
const ADDING: &str = "
import os, writing

with open(writing.home + '/settings', 'a') as file:
    file.write(' and more')
os.mkdir(writing.home + '/added')
";
const PIPING: &str = "import os\nos.mkfifo('/tmp/pipe')\n";
const HOARDING: &str = "
with open('/tmp/hoard', 'wb') as file:
    file.write(bytes(5 << 20))
";
const SCATTERING: &str = "
import os
for number in range(1100):
    os.mkdir(f'/tmp/{number}')
";
/// Leaves no file in the end.
const PASSING: &str = "
import os, socket
with open('/tmp/passing', 'wb') as file:
    file.write(bytes(5 << 20))
os.unlink('/tmp/passing')
with socket.socket(socket.AF_UNIX) as server:
    server.bind('/tmp/socket')
os.unlink('/tmp/socket')
";

/// Lists the files, and tells whether all can be changed. The name of a new folder is left out.
const TELLING: &str = "
import os, socket

def told(path):
    status = os.lstat(path)
    if os.path.islink(path):
        content = os.readlink(path)
    elif os.path.isdir(path):
        content = None
    else:
        with open(path) as file:
            content = file.read()
    # Nobody knows when the others were made.
    age = int(status.st_mtime) if status.st_mtime < 10000 else None
    return [oct(status.st_mode), status.st_uid == os.getuid(), age, content and [len(content), content[-9:]]]

def all_told():
    found = {}
    for top in ('/tmp', '/dev/shm'):
        for folder, folders, files in os.walk(top):
            for name in folders + files:
                path = os.path.join(folder, name)
                found[ascii('/tmp/chosen' if 'chosen-' in path else path)] = told(path)
    return found

def handler(event):
    found = all_told()
    # Each has its own.
    for path in ('/tmp/.config/writing/settings', os.environ['WRITING'] + '/new', '/dev/shm/block'):
        with open(path, 'a') as file:
            file.write('changed')
    os.unlink('/tmp/.config/writing/link')
    is_known = socket.gethostbyname(writing.host) == socket.gethostbyname(socket.gethostname())
    return [found, writing.user, writing.chosen == os.environ['WRITING'], is_known]
";

fn teller(imports: &str) -> String {
    format!("import {imports}\n{TELLING}")
}

fn started(packages: &[(&str, &str)], names: &[&str]) -> Instance {
    let index = index(&["six"], packages);
    let instance = instance(&index, None, None);
    instance.ok(&[["env", "add", "files"].as_slice(), names].concat());
    instance
}

/// Invokes a function in a new process; returns its tier and result.
fn again(instance: &Instance, function: &str) -> (Value, Value) {
    instance.ok(&["evict", "--paused"]);
    let answer = instance.invoke(function, &json!({}));
    assert_eq!(answer["outcome"], "done", "{answer}");
    (answer["tier"].clone(), answer["result"].clone())
}

fn files_that_imports_leave_are_their_childrens() {
    let instance = started(&[("writing", WRITING)], &["writing"]);
    instance.deploy("telling", &teller("writing"), &["--env", "files"]);
    let (fresh, forked) = fresh_and_forked(&instance, "telling", &json!({}));
    assert_eq!(fresh, forked);
    let found = fresh[0].as_object().unwrap();
    assert_eq!(found["'/tmp/.config/writing/closed'"], json!(["0o40500", true, 2000, null]));
    let settings = json!(["0o100640", true, 1000, [50000, "xxxxxxxxx"]]);
    assert_eq!(found["'/tmp/.config/writing/settings'"], settings);
    assert_eq!(found.len(), 10, "{found:?}");
    assert_eq!(fresh[1], json!(["function", 1000, 1000, "/tmp"]));
    assert_eq!((&fresh[2], &fresh[3]), (&json!(true), &json!(true)));
    // What one has changed, no other sees, whether it has waited or not.
    for _ in 0..3 {
        assert_eq!(again(&instance, "telling"), (json!("zygote"), fresh.clone()));
    }
    assert_eq!(zygote(&instance)["modules"], json!(["writing"]));
}

fn files_of_a_zygotes_zygote_are_there_too() {
    let instance = started(&[("writing", WRITING), ("adding", ADDING)], &["adding", "writing"]);
    instance.deploy("telling", &teller("writing, adding"), &["--env", "files"]);
    let (_, fresh) = again(&instance, "telling");
    let given = r#"{"packages": [], "children": [{"packages": ["writing"], "children": [
        {"packages": ["adding"], "children": []}]}]}"#;
    let file = write(&instance.scratch(), "tree.json", given);
    instance.ok(&["evict", "--zygotes"]);
    instance.ok(&["zygotes", "import", file.to_str().unwrap()]);
    instance.await_zygotes();
    let tree = instance.ok(&["zygotes", "tree"]);
    assert!(tree.lines().any(|line| line.starts_with("    ") && line.contains("adding")), "{tree}");
    assert_eq!(again(&instance, "telling"), (json!("zygote"), fresh));
}

fn files_that_cannot_be_given_keep_a_module_out() {
    let packages = [
        ("hoarding", HOARDING),
        ("passing", PASSING),
        ("piping", PIPING),
        ("scattering", SCATTERING),
    ];
    let instance = started(&packages, &packages.map(|(name, _)| name));
    let code = "
import hoarding, passing, piping, scattering
import os, stat

def handler(event):
    pipe, hoard = os.stat('/tmp/pipe'), os.stat('/tmp/hoard')
    return [stat.S_ISFIFO(pipe.st_mode), hoard.st_size, len(os.listdir('/tmp'))]
";
    instance.deploy("user", code, &["--env", "files"]);
    let (fresh, forked) = fresh_and_forked(&instance, "user", &json!({}));
    assert_eq!((&fresh, &forked), (&json!([true, 5 << 20, 1102]), &fresh));
    let seen = zygote(&instance);
    assert_eq!(seen["modules"], json!(["passing"]), "{seen}");
    for part in [
        "hoarding, scattering left out: leaves more than 1000 files or 4 MiB in /tmp",
        "piping left out: leaves a pipe's file: /tmp/pipe",
    ] {
        assert!(seen["reason"].as_str().unwrap().contains(part), "{part} is not in {seen}");
    }
}

fn files_for_which_a_tmp_has_no_room_are_imported_anew() {
    let instance = started(&[("writing", WRITING)], &["writing"]);
    instance.deploy("telling", &teller("writing"), &["--env", "files"]);
    instance.deploy("small", &teller("writing"), &["--env", "files", "--tmp", "80K"]);
    let (fresh, _) = fresh_and_forked(&instance, "telling", &json!({}));
    assert_eq!(again(&instance, "small"), (json!("ssd"), fresh.clone()));
    assert_eq!(again(&instance, "small"), (json!("ssd"), fresh));
}
