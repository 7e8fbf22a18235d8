//! Exhaustion of resources: it ends at the function's own limits, while others are served.

use serde_json::{Value, json};

use super::Attacked;
use crate::harness::patience;
use crate::tests;

tests!(
    using_everything_up_ends_at_the_functions_own_limits,
    what_the_kernel_counts_for_all_is_left_to_others,
    connections_of_one_function_leave_the_table_to_others,
);

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

/// Takes a resource that the kernel limits by user or machine until it is refused, and keeps it.
const HOARDER: &str = "
import ctypes, os, signal, socket, struct

libc = ctypes.CDLL(None, use_errno=True)
kept = []

def check(answer):
    if answer < 0:
        raise OSError(ctypes.get_errno(), 'refused')
    return answer

def wait(_):
    check(libc.sigqueue(os.getpid(), signal.SIGRTMIN + 3, None))

def timer(_):
    check(libc.timer_create(1, None, ctypes.byref(ctypes.c_void_p())))

def queue(count):
    check(libc.mq_open(f'/queue{count}'.encode(), 0o102, 0o600, None))

def slots(_):
    check(libc.syscall({'x86_64': 206}.get(os.uname().machine, 0), 4096, ctypes.byref(ctypes.c_ulong())))

def filters(_):
    program = struct.pack('HBBI', 6, 0, 0, 65535)
    kept.append(ctypes.create_string_buffer(program))
    kept.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    kept[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    # SO_ATTACH_FILTER, and SO_ATTACH_REUSEPORT_CBPF.
    for option in (26, 51):
        option_value = struct.pack('HxxxxxxP', 1, ctypes.addressof(kept[-2]))
        kept[-1].setsockopt(socket.SOL_SOCKET, option, option_value)

def datagrams(_):
    kept.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    kept[-1].bind(('127.0.0.1', 0))
    for _ in range(4):
        kept[-1].sendto(bytes(50_000), kept[-1].getsockname())
    # What is not taken was dropped.
    try:
        buffers.bytes += len(kept[-1].recv(1, socket.MSG_DONTWAIT | socket.MSG_PEEK | socket.MSG_TRUNC)) and 150_000
    except BlockingIOError:
        pass

def connections(count):
    if not kept:
        kept.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    try:
        kept[0].sendto(b'x', (f'198.51.100.{1 + count // 50_000}', 1 + count % 50_000))
    except (PermissionError, ConnectionError):
        pass

def buffers(_):
    if not kept:
        kept.append(socket.create_server(('127.0.0.1', 0)))
    near = socket.create_connection(kept[0].getsockname())
    kept.extend([near, kept[0].accept()[0]])
    near.setblocking(False)
    try:
        while True:
            buffers.bytes += near.send(bytes(1 << 16))
    except BlockingIOError:
        pass
buffers.bytes = 0

TAKE = {
    'inotify': lambda _: kept.append(check(libc.inotify_init1(0))),
    'signals': wait,
    'timers': timer,
    'queues': queue,
    'terminals': lambda _: kept.append(os.openpty()),
    'slots': slots,
    'buffers': buffers,
    'datagrams': datagrams,
    'filters': filters,
    'connections': connections,
}

def handler(event):
    signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
    count = 0
    try:
        while count < event['most']:
            TAKE[event['what']](count)
            count += 1
    except OSError as error:
        return [count, error.errno, buffers.bytes]
    return [count, 0, buffers.bytes]
";

fn what_the_kernel_counts_for_all_is_left_to_others() {
    let attacked = Attacked::start();
    let instance = &attacked.instance;
    let take = |function: &str, what: &str, most: u64| {
        let answer = instance.invoke(function, &json!({ "what": what, "most": most }));
        assert_eq!(answer["outcome"], "done", "{what}: {answer}");
        answer["result"].clone()
    };
    let timeout = patience(20).as_secs().to_string();
    for (what, most, most_kept) in [
        ("inotify", 1000, 32),
        ("signals", 200_000, 1200),
        ("timers", 200_000, 1200),
        ("queues", 1000, 0),
        ("terminals", 1000, 80),
        ("slots", 1000, 0),
        ("filters", 10, 0),
    ] {
        // Frozen when it has answered, with all that it has.
        let hoarder = format!("hoarder-{what}");
        instance.deploy(&hoarder, HOARDER, &["--timeout", &timeout]);
        instance.deploy("neighbour", HOARDER, &["--timeout", &timeout]);
        let (taken, least) = (take(&hoarder, what, most), most_kept.min(1));
        assert!((least..=most_kept).contains(&taken[0].as_u64().unwrap()), "{what}: {taken}");
        if most_kept > 0 {
            let taken = take("neighbour", what, 1);
            assert_eq!(taken[0], 1, "{what}: {taken}");
        }
        // What root has is counted for root.
        let watching = "import ctypes; assert ctypes.CDLL(None).inotify_init1(0) >= 0";
        let of_host = std::process::Command::new("python3").args(["-c", watching]).status();
        assert!(of_host.unwrap().success(), "{what}");
    }
    instance.deploy("hoarder-buffers", HOARDER, &["--memory", "128M", "--timeout", &timeout]);
    let answer = instance.invoke("hoarder-buffers", &json!({ "what": "buffers", "most": 400 }));
    let bytes = answer["result"][2].as_u64().unwrap_or(0);
    assert!(bytes < 256 << 20, "{answer}");
    let datagrams = json!({ "what": "datagrams", "most": 1000 });
    instance.deploy("hoarder-datagrams", HOARDER, &["--memory", "128M", "--timeout", &timeout]);
    let answer = instance.invoke("hoarder-datagrams", &datagrams);
    let bytes = answer["result"][2].as_u64().unwrap_or(0);
    assert!((1..128 << 20).contains(&bytes), "{answer}");
    attacked.serves_others();
}

fn connections_of_one_function_leave_the_table_to_others() {
    let attacked = Attacked::start();
    let instance = &attacked.instance;
    let options = ["--network", "nat", "--timeout", &patience(20).as_secs().to_string()];
    instance.deploy("connects", HOARDER, &options);
    let read = |name: &str| {
        let text = std::fs::read_to_string(format!("/proc/sys/net/netfilter/{name}"));
        text.unwrap().trim().parse::<u64>().unwrap()
    };
    let connect = |most: u64| {
        let event = json!({ "what": "connections", "most": most });
        let answer = instance.invoke("connects", &event);
        assert_eq!(answer["result"][0], most, "{answer}");
    };
    connect(1);
    let (before, all) = (read("nf_conntrack_count"), read("nf_conntrack_max"));
    connect((all / 8).min(100_000));
    let taken = read("nf_conntrack_count").saturating_sub(before);
    // None is tracked where no way leads out.
    assert!(taken < all / 32 + 2000, "{taken} of {all}");
    attacked.serves_others();
}
