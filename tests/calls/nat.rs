//! Functions with an address of their own: the hosts that they reach, the hosts that reach them,
//! and the traces that they leave.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use nix::errno::Errno;
use serde_json::{Value, json};

use crate::harness::world::{HOST, METADATA, NAMED, OUTSIDE};
use crate::harness::{Instance, Options, World, eventually, kill_9};
use crate::tests;

tests!(
    it_reaches_the_outside_by_the_hosts_address,
    it_reaches_neither_the_host_nor_other_functions,
    it_resolves_names_as_the_host_does,
    instances_have_networks_side_by_side,
    nothing_is_left_of_it,
    it_takes_the_addresses_that_it_is_told,
);

const PROBER: &str = "
import socket

def connect(address, port):
    try:
        with socket.create_connection((address, port), timeout=10) as server:
            return server.recv(100).decode()
    except TimeoutError:
        return 'no answer'
    except OSError as error:
        return error.errno

def own():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(('192.0.2.2', 9))
        return probe.getsockname()[0]

def gateway():
    return open('/etc/resolv.conf').read().split()[1]

def listen(port, seconds):
    server = socket.create_server(('0.0.0.0', port))
    server.settimeout(seconds)
    came = []
    with socket.create_connection((own(), port)):
        came.append(server.accept()[1][0] == own())
    try:
        came.append(server.accept()[1][0])
    except TimeoutError:
        pass
    return came

def handler(event):
    return eval(event)
";

const UNREACHABLE: i32 = Errno::EHOSTUNREACH as i32;

fn start(world: &World) -> Instance {
    let instance = world.on_host(|| Instance::start(&Options::default()));
    instance.deploy("prober", PROBER, &["--network", "nat", "--timeout", "60"]);
    instance
}

fn ask(instance: &Instance, function: &str, expression: &str) -> Value {
    let answer = instance.invoke(function, &json!(expression));
    assert_eq!(answer["outcome"], "done", "{expression}: {answer}");
    answer["result"].clone()
}

fn it_reaches_the_outside_by_the_hosts_address() {
    let world = World::start();
    let instance = start(&world);
    let outside = format!("connect('{OUTSIDE}', 8000)");
    for tier in ["cold", "paused", "zygote"] {
        if tier == "zygote" {
            instance.await_zygotes();
            instance.ok(&["evict", "--paused"]);
        }
        let answer = instance.invoke("prober", &json!(outside));
        assert_eq!(answer["tier"], tier);
        assert_eq!(answer["result"], HOST, "{answer}");
    }
    // From the same zygote, and without a network.
    instance.deploy("alone", PROBER, &[]);
    let answer = instance.invoke("alone", &json!(outside));
    assert_eq!(answer["tier"], "zygote");
    assert_eq!(answer["result"], Errno::ENETUNREACH as i32, "{answer}");
}

fn it_reaches_neither_the_host_nor_other_functions() {
    let world = World::start();
    let instance = start(&world);
    instance.deploy("other", PROBER, &["--network", "nat", "--timeout", "60"]);
    let _listeners = world.on_host(|| TcpListener::bind("0.0.0.0:9000").unwrap());
    let connect = |address: &str, port: u16| {
        ask(&instance, "prober", &format!("connect('{address}', {port})"))
    };
    let gateway = ask(&instance, "prober", "gateway()");
    for address in [HOST, gateway.as_str().unwrap(), METADATA] {
        for port in [9000, 8000, 53] {
            let is_resolver = Some(address) == gateway.as_str() && port == 53;
            if !is_resolver {
                assert_eq!(connect(address, port), UNREACHABLE, "{address}:{port}");
            }
        }
    }
    let address: Ipv4Addr = ask(&instance, "other", "own()").as_str().unwrap().parse().unwrap();
    std::thread::scope(|scope| {
        let instance = &instance;
        let listening = scope.spawn(move || ask(instance, "other", "listen(7000, 4)"));
        std::thread::sleep(Duration::from_secs(1));
        let from_outside = world.outside(|| {
            let place = SocketAddr::from((address, 7000));
            TcpStream::connect_timeout(&place, Duration::from_secs(1)).is_ok()
        });
        assert!(!from_outside);
        let from_beside = ask(instance, "prober", &format!("connect('{address}', 7000)"));
        assert_eq!(from_beside, UNREACHABLE);
        assert_eq!(listening.join().unwrap(), json!([true]));
    });
}

fn it_resolves_names_as_the_host_does() {
    let world = World::start();
    let instance = start(&world);
    let named = ask(&instance, "prober", "socket.gethostbyname('somebody.example')");
    assert_eq!(named, NAMED.to_string());
}

fn instances_have_networks_side_by_side() {
    let world = World::start();
    let (first, second) = (start(&world), start(&world));
    let outside = format!("connect('{OUTSIDE}', 8000)");
    let own = [&first, &second].map(|instance| {
        assert_eq!(ask(instance, "prober", &outside), HOST);
        ask(instance, "prober", "own()")
    });
    assert_ne!(own[0], own[1]);
    let listening = std::thread::scope(|scope| {
        let listening = scope.spawn(|| ask(&first, "prober", "listen(7000, 3)"));
        std::thread::sleep(Duration::from_secs(1));
        let place = own[0].as_str().unwrap();
        let reached = ask(&second, "prober", &format!("connect('{place}', 7000)"));
        assert!(reached == "no answer" || reached == UNREACHABLE, "{reached}");
        listening.join().unwrap()
    });
    assert_eq!(listening, json!([true]));
    drop(first);
    assert_eq!(ask(&second, "prober", &outside), HOST);
    drop(second);
    assert_eq!(world.traces(), Vec::<String>::new());
}

fn nothing_is_left_of_it() {
    let world = World::start();
    let none = Vec::<String>::new();
    assert_eq!(world.traces(), none);
    let instance = start(&world);
    assert_eq!(world.traces(), none, "before a function wants it");
    let outside = format!("connect('{OUTSIDE}', 8000)");
    ask(&instance, "prober", &outside);
    let there = world.traces();
    assert!(there.contains(&"forwards by out".to_owned()), "{there:?}");
    instance.ok(&["down"]);
    assert_eq!(world.traces(), none);

    world.on_host(|| instance.up());
    ask(&instance, "prober", &outside);
    kill_9(&instance.status()["pid"]);
    eventually("it has ended", || instance.call(&["status"]).code == 3);
    assert_ne!(world.traces(), none);
    world.on_host(|| instance.up());
    assert_eq!(world.traces(), none);
    assert_eq!(ask(&instance, "prober", &outside), HOST);
    instance.ok(&["down"]);
    assert_eq!(world.traces(), none);
}

fn it_takes_the_addresses_that_it_is_told() {
    let world = World::start();
    let options = Options {
        variables: vec![("PIPSQUEAK_NAT", "10.99.0.0/30".to_owned())],
        ..Options::default()
    };
    let instance = world.on_host(|| Instance::start(&options));
    instance.deploy("one", PROBER, &["--network", "nat"]);
    instance.deploy("two", PROBER, &["--network", "nat"]);
    assert_eq!(ask(&instance, "one", "[own(), gateway()]"), json!(["10.99.0.2", "10.99.0.1"]));
    let output = instance.call(&["invoke", "two", "-d", "\"1\""]);
    assert!(output.stderr.contains("all addresses of 10.99.0.0/30 are in use"), "{output:?}");
    instance.ok(&["evict", "--paused", "one"]);
    eventually("its address is free", || {
        instance.call(&["invoke", "two", "-d", "\"1\""]).code == 0
    });
}
