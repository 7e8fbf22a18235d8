//! Requests a second of a busy function, compared with the same handler behind gunicorn and behind
//! uvicorn, each with a worker for each client, over a Unix socket. A client has a connection and
//! sends one request after the other. Gunicorn's plain workers close theirs after each request.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use pipsqueak::client::Client;
use pipsqueak::wire::{Reply, Request};
use serde_json::value::RawValue;

use crate::Failure;
use crate::instance::{Instance, plain_environment};
use crate::report::{Better, Row};
use crate::statistics::median;

/// Flags of this benchmark.
#[derive(Debug, clap::Args)]
pub struct Flags {
    /// Clients, workers, and sandboxes at most
    #[arg(long, default_value_t = 2)]
    clients: usize,
    /// Measurements of each side
    #[arg(long, default_value_t = 8)]
    rounds: usize,
    /// Time of each measurement, in seconds
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Leave out handlers that are coroutines
    #[arg(long)]
    plain_only: bool,
}

const EVENT: &str = r#"{"name": "Ada", "numbers": [1, 2, 3]}"#;
/// Longest time until a server listens.
const PATIENCE: Duration = Duration::from_secs(60);

const PLAIN: &str = "
def handler(event):
    return {'hello': event['name'], 'sum': sum(event['numbers'])}
";

const WSGI: &str = "
import json
from plain import handler

def app(environ, start_response):
    event = json.loads(environ['wsgi.input'].read(int(environ['CONTENT_LENGTH'])))
    body = json.dumps(handler(event)).encode()
    headers = [('Content-Type', 'application/json'), ('Content-Length', str(len(body)))]
    start_response('200 OK', headers)
    return [body]
";

const COROUTINE: &str = "
async def handler(event):
    return {'hello': event['name'], 'sum': sum(event['numbers'])}
";

const ASGI: &str = "
import json
from coroutine import handler

async def app(scope, receive, send):
    if scope['type'] != 'http':
        return
    body, more = b'', True
    while more:
        message = await receive()
        body, more = body + message['body'], message.get('more_body', False)
    body = json.dumps(await handler(json.loads(body))).encode()
    headers = [(b'content-type', b'application/json'), (b'content-length', b'%d' % len(body))]
    await send({'type': 'http.response.start', 'status': 200, 'headers': headers})
    await send({'type': 'http.response.body', 'body': body})
";

/// Measures.
pub fn run(flags: &Flags) -> Result<Vec<Row>, Failure> {
    let instance = Instance::start("paused,zygote,ssd")?;
    let folder = instance.folder().join("peers");
    let packages: &[&str] =
        if flags.plain_only { &["gunicorn"] } else { &["gunicorn", "uvicorn[standard]"] };
    let python = plain_environment(&folder, packages)?;
    for (name, code) in [("plain", PLAIN), ("wsgi", WSGI), ("coroutine", COROUTINE), ("asgi", ASGI)]
    {
        std::fs::write(folder.join(format!("{name}.py")), code)?;
    }
    let sandboxes = flags.clients.to_string();
    let workers = flags.clients.to_string();
    instance.deploy("plain", PLAIN, &["--sandboxes", &sandboxes])?;
    let socket = folder.join("gunicorn.sock");
    let bind = format!("unix:{}", socket.display());
    let gunicorn = ["-m", "gunicorn", "--preload", "-w", &workers, "-b", &bind, "wsgi:app"];
    let peer = Peer::start(&python, &gunicorn, socket)?;
    let mut rows = vec![compare(flags, &instance, &peer, ("plain", "gunicorn", 2.0))?];
    drop(peer);
    if !flags.plain_only {
        instance.deploy("coroutine", COROUTINE, &["--sandboxes", &sandboxes])?;
        let socket = folder.join("uvicorn.sock");
        let bind = socket.to_str().ok_or("the temporary folder is not UTF-8")?.to_owned();
        let uvicorn =
            ["-m", "uvicorn", "--no-access-log", "--workers", &workers, "--uds", &bind, "asgi:app"];
        let peer = Peer::start(&python, &uvicorn, socket)?;
        rows.push(compare(flags, &instance, &peer, ("coroutine", "uvicorn", 1.2))?);
    }
    Ok(rows)
}

fn compare(
    flags: &Flags,
    instance: &Instance,
    peer: &Peer,
    (function, name, budget): (&str, &str, f64),
) -> Result<Row, Failure> {
    let (mut floors, mut ours) = (Vec::new(), Vec::new());
    // The first round warms both up.
    for round in 0..=flags.rounds {
        let floor = rate(flags, || Ok(peer.client()))?;
        let own = rate(flags, || caller(instance, function))?;
        if round > 0 {
            floors.push(floor);
            ours.push(own);
        }
    }
    let name = format!("{function} / {name}, {} clients", flags.clients);
    let row = Row::new(&name, "requests/s", median(&floors), median(&ours), Some(budget));
    Ok(Row { better: Better::Higher, ..row })
}

/// Requests a second of all clients together; each client is a function that makes a request.
fn rate<C>(flags: &Flags, make: impl Fn() -> Result<C, Failure>) -> Result<f64, Failure>
where
    C: FnMut() -> Result<(), Failure> + Send,
{
    let clients: Vec<C> = (0..flags.clients).map(|_| make()).collect::<Result<_, _>>()?;
    let is_over = AtomicBool::new(false);
    let began = Instant::now();
    let counts = std::thread::scope(|scope| {
        let is_over = &is_over;
        let call = |mut client: C| {
            scope.spawn(move || -> Result<u32, Failure> {
                let mut count = 0;
                while !is_over.load(Ordering::Relaxed) {
                    client()?;
                    count += 1;
                }
                Ok(count)
            })
        };
        let threads: Vec<_> = clients.into_iter().map(call).collect();
        std::thread::sleep(Duration::from_secs_f64(flags.seconds));
        is_over.store(true, Ordering::Relaxed);
        let joined =
            threads.into_iter().map(|thread| thread.join().map_err(|_| "a client died")?);
        joined.collect::<Result<Vec<u32>, Failure>>()
    })?;
    Ok(f64::from(counts.iter().sum::<u32>()) / began.elapsed().as_secs_f64())
}

/// A client of ours, over one connection.
fn caller(
    instance: &Instance,
    function: &str,
) -> Result<impl FnMut() -> Result<(), Failure> + use<>, Failure> {
    let mut client = Client::connect(&instance.folder().join("run"))?;
    let payload = RawValue::from_string(EVENT.to_owned())?;
    let request = Request::Invoke { function: function.to_owned(), payload, deadline_ms: None };
    Ok(move || match client.call(&request, &mut |_| {})? {
        Reply::Invocation(invocation) if invocation.result.is_some() => Ok(()),
        other => Err(format!("unexpected answer {other:?}").into()),
    })
}

/// A server to compare with, in a process group of its own.
struct Peer {
    child: Child,
    socket: PathBuf,
}

impl Peer {
    fn start(python: &Path, arguments: &[&str], socket: PathBuf) -> Result<Self, Failure> {
        let mut command = Command::new(python);
        let folder = socket.parent().ok_or("no folder")?;
        command.args(arguments).current_dir(folder).process_group(0);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let peer = Self { child, socket };
        let until = Instant::now() + PATIENCE;
        while UnixStream::connect(&peer.socket).is_err() {
            if Instant::now() > until {
                return Err(format!("{arguments:?} does not listen").into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(peer)
    }

    /// A client that keeps its connection for as long as the server does.
    fn client(&self) -> impl FnMut() -> Result<(), Failure> + use<> {
        let socket = self.socket.clone();
        let head = format!(
            "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{EVENT}",
            EVENT.len()
        );
        let mut kept: Option<BufReader<UnixStream>> = None;
        move || {
            let mut stream = match kept.take() {
                Some(stream) => stream,
                None => BufReader::new(UnixStream::connect(&socket)?),
            };
            stream.get_mut().write_all(head.as_bytes())?;
            if answer(&mut stream)? {
                kept = Some(stream);
            }
            Ok(())
        }
    }
}

/// Reads an answer; returns true if the connection stays open.
fn answer(stream: &mut BufReader<UnixStream>) -> Result<bool, Failure> {
    let (mut length, mut stays) = (0, true);
    let mut line = String::new();
    stream.read_line(&mut line)?;
    if !line.starts_with("HTTP/1.1 200") {
        return Err(format!("unexpected answer {line:?}").into());
    }
    loop {
        line.clear();
        stream.read_line(&mut line)?;
        let header = line.trim_end().to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("content-length: ") {
            length = value.parse()?;
        }
        stays &= header != "connection: close";
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok(stays)
}

impl Drop for Peer {
    fn drop(&mut self) {
        if let Ok(pid) = i32::try_from(self.child.id()) {
            let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
        }
        let _ = self.child.wait();
    }
}
