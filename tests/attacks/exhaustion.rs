//! Using up what there is: it ends at the function's own limits, while others are served.

use serde_json::{Value, json};

use super::Attacked;
use crate::harness::patience;
use crate::tests;

tests!(using_everything_up_ends_at_the_functions_own_limits);

const GREEDY: &str = "
import os, sys, threading, time

def until_refused(act):
    count = 0
    try:
        while True:
            act(count)
            count += 1
    except (OSError, RuntimeError) as error:
        return [count, getattr(error, 'errno', None)]

def fill(folder):
    with open(folder + '/full', 'wb', buffering=0) as file:
        return until_refused(lambda _: file.write(bytes(1 << 20)))

def bomb():
    while True:
        try:
            os.fork()
        except OSError:
            pass

kept = []

def handler(event):
    if event == 'descriptors':
        import resource
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        return until_refused(lambda _: kept.append(os.open('/dev/null', os.O_RDONLY)))
    if event == 'threads':
        return until_refused(lambda _: threading.Thread(target=time.sleep, args=(9,)).start())
    if event == 'processes':
        bomb()
    if event == 'memory':
        kept.append(bytes(range(256)) * (1 << 30))
    if event in ('/tmp', '/dev/shm'):
        return fill(event)
    if event == 'names':
        return until_refused(lambda n: open(f'/tmp/{n}', 'w').close())
    if event == 'memory files':
        return until_refused(lambda n: kept.append(os.memfd_create('x')) or os.ftruncate(kept[-1], 1 << 20) or os.write(kept[-1], bytes(1 << 20)))
    if event == 'output':
        if os.fork() == 0:
            while True:
                os.write(1, b'x' * 65536)
        time.sleep(1)
        return 'said much'
";

fn using_everything_up_ends_at_the_functions_own_limits() {
    let attacked = Attacked::start();
    let instance = &attacked.instance;
    let timeout = patience(3).as_secs().to_string();
    instance.deploy("greedy", GREEDY, &["--memory", "128M", "--timeout", &timeout]);
    let refused = |answer: &Value, kinds: &[&str]| {
        let kind = answer["error"]["errorType"].as_str().unwrap_or("none");
        assert!(kinds.contains(&kind), "{answer}");
    };
    for event in [
        "descriptors",
        "threads",
        "processes",
        "memory",
        "/tmp",
        "/dev/shm",
        "names",
        "memory files",
        "output",
    ] {
        let answer = std::thread::scope(|scope| {
            let attack = scope.spawn(|| instance.invoke("greedy", &json!(event)));
            let mut served = 0;
            while !attack.is_finished() || served == 0 {
                assert_eq!(instance.invoke("bystander", &json!(served))["result"], served + 1);
                served += 1;
            }
            attack.join().unwrap()
        });
        let count = answer["result"][0].as_u64().unwrap_or(0);
        match event {
            "descriptors" => assert!(count > 0 && count < 1 << 16, "{answer}"),
            "threads" => assert!(count > 0 && count < 1000, "{answer}"),
            "output" => {
                assert_eq!(answer["result"], "said much", "{answer}");
                assert!(answer["logs"].as_str().unwrap().len() < 1 << 20);
            }
            "processes" => refused(&answer, &["Runtime.Timeout", "Runtime.OutOfMemory"]),
            // Either there is no more of it, or what it is made of is used up.
            _ if count > 0 => {
                assert_eq!(answer["result"][1], nix::libc::ENOSPC, "{event}: {answer}");
            }
            _ => refused(
                &answer,
                &["Runtime.OutOfMemory", "Runtime.Timeout", "Runtime.ExitError", "MemoryError"],
            ),
        }
        instance.ok(&["evict", "--paused", "greedy"]);
    }
    attacked.serves_others();
}
