//! A paused function, compared with the same steps without a supervisor: thaw the control group,
//! send, receive. Both sides are Python processes that read JSON and answer with it.

use std::fs;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use pipsqueak::wire::Tier;

use crate::Failure;
use crate::instance::{Instance, milliseconds};
use crate::report::{Better, Row};
use crate::statistics::{median, percentile};

/// Flags of this benchmark.
#[derive(Debug, clap::Args)]
pub struct Flags {
    /// Round trips of each side
    #[arg(long, default_value_t = 1000)]
    rounds: usize,
}

const ECHO: &str = "
import json, socket, sys
own = socket.socket(fileno=0)
while True:
    message = own.recv(65536)
    if not message:
        break
    own.sendall(json.dumps(json.loads(message)).encode())
";

/// A process that echoes, in a control group that can be frozen.
struct Floor {
    child: Child,
    socket: UnixStream,
    group: PathBuf,
}

impl Floor {
    fn start() -> Result<Self, Failure> {
        let mounts = fs::read_to_string("/proc/self/mounts")?;
        let root = mounts
            .lines()
            .find_map(|line| {
                let mut fields = line.split(' ').skip(1);
                let place = fields.next()?;
                (fields.next()? == "cgroup2").then_some(place)
            })
            .ok_or("the floor is measured with cgroup2, which is not mounted")?;
        let group = PathBuf::from(root).join(format!("pipsqueak-bench-{}", std::process::id()));
        let (socket, far) = UnixStream::pair()?;
        let child = Command::new("python3")
            .args(["-c", ECHO])
            .stdin(Stdio::from(OwnedFd::from(far)))
            .spawn()?;
        let floor = Self { child, socket, group };
        fs::create_dir(&floor.group)?;
        fs::write(floor.group.join("cgroup.procs"), floor.child.id().to_string())?;
        Ok(floor)
    }

    fn freeze(&self, frozen: bool) -> Result<(), Failure> {
        Ok(fs::write(self.group.join("cgroup.freeze"), if frozen { "1" } else { "0" })?)
    }

    fn round_trip(&mut self) -> Result<f64, Failure> {
        let began = Instant::now();
        self.freeze(false)?;
        self.socket.write_all(b"{}")?;
        let mut answer = [0; 16];
        let length = self.socket.read(&mut answer)?;
        let took = began.elapsed();
        self.freeze(true)?;
        if &answer[..length] == b"{}" {
            Ok(milliseconds(took))
        } else {
            Err("the floor's process did not echo".into())
        }
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        let _ = self.freeze(false);
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir(&self.group);
    }
}

/// Measures.
pub fn run(flags: &Flags) -> Result<Vec<Row>, Failure> {
    // Frozen after each answer, however soon the next request comes; and running on, if it comes soon.
    let frozen = start("0")?;
    let lingering = start("0.1")?;
    let mut floor = Floor::start()?;
    floor.round_trip()?;
    let (mut floors, mut ours, mut lingered) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..flags.rounds {
        floors.push(floor.round_trip()?);
        ours.push(answer(&frozen)?);
        lingered.push(answer(&lingering)?);
    }
    let p99 = |values: &[f64]| percentile(values, 0.99);
    Ok(vec![
        Row::milliseconds("paused p50", median(&floors), median(&ours), 2.5, Better::Lower),
        Row::milliseconds("paused p99", p99(&floors), p99(&ours), 4.0, Better::Lower),
        Row::new("lingering / frozen p50", "ms", median(&ours), median(&lingered), None),
        Row::new("lingering / frozen p99", "ms", p99(&ours), p99(&lingered), None),
    ])
}

fn start(linger: &str) -> Result<Instance, Failure> {
    let flags = ["--tiers", "paused,ssd", "--linger", linger];
    let instance = Instance::start_with(&flags, None)?;
    instance.deploy("echo", "def handler(event):\n    return event\n", &[])?;
    instance.invoke("echo")?;
    // One that was started for its request lingers after the next.
    answer(&instance)?;
    Ok(instance)
}

fn answer(instance: &Instance) -> Result<f64, Failure> {
    let (invocation, took) = instance.invoke("echo")?;
    if invocation.tier != Tier::Paused {
        return Err(format!("the {:?} tier answered", invocation.tier).into());
    }
    Ok(milliseconds(took))
}
