//! stat, readdir, sequential and random reads of one tree, by 1 and 8 readers, cold and warm: on
//! the mount, on ext4 and in an EROFS image.
//!
//! The cost of the mount is reported in parts: the requests to its server, the time of as many
//! empty round trips, and the processor time of the server, most of it for decompressing.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{IsTerminal, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Instant;

use crate::Failure;
use crate::disk::paths;
use crate::image::{Mounted, erofs};
use crate::instance::{Instance, milliseconds, succeed};
use crate::report::Row;
use crate::statistics::{Random, median};

/// Flags of this benchmark.
#[derive(Debug, clap::Args)]
pub struct Flags {
    /// Packages of the tree
    #[arg(
        long,
        num_args = 1..,
        default_values_t = ["requests", "numpy", "pandas", "scikit-learn"].map(ToOwned::to_owned)
    )]
    packages: Vec<String>,
    /// Measurements of each operation
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Random reads in a measurement, of 4 KiB each
    #[arg(long, default_value_t = 4000)]
    reads: usize,
}

/// Smallest size of files that are read at random, in bytes.
const LARGE: u64 = 1 << 20;
const PAGE: usize = 4096;
/// A tick of `/proc/PID/stat`, in milliseconds: the same on every machine.
const TICK: f64 = 10.0;

#[derive(Debug, Clone, Copy)]
enum Operation {
    Stat,
    Readdir,
    Sequential,
    Random,
}

/// A tree's paths, relative to its root: the same in all trees.
struct Work {
    all: Vec<PathBuf>,
    folders: Vec<PathBuf>,
    files: Vec<PathBuf>,
    /// Files and offsets in them.
    places: Vec<(PathBuf, u64)>,
}

impl Work {
    fn of(tree: &Path, reads: usize) -> Result<Self, Failure> {
        let found = paths(tree)?;
        let below = |path: &Path| path.strip_prefix(tree).unwrap_or(path).to_owned();
        let of = |keep: &dyn Fn(&fs::Metadata) -> bool| {
            let kept = found.iter().filter(|(_, metadata)| keep(metadata));
            kept.map(|(path, _)| below(path)).collect::<Vec<_>>()
        };
        let large: Vec<_> = found.iter().filter(|(_, m)| m.is_file() && m.len() >= LARGE).collect();
        let mut random = Random::new(1);
        let mut places = Vec::with_capacity(reads);
        for _ in 0..if large.is_empty() { 0 } else { reads } {
            let (path, metadata) = large[random.below(large.len())];
            let page = random.below(usize::try_from(metadata.len())? / PAGE);
            places.push((below(path), (page * PAGE) as u64));
        }
        Ok(Self {
            all: of(&|_| true),
            folders: of(&fs::Metadata::is_dir),
            files: of(&fs::Metadata::is_file),
            places,
        })
    }

    /// Does one operation on all of a tree, shared among readers; returns the milliseconds.
    fn time(&self, tree: &Path, operation: Operation, readers: usize) -> Result<f64, Failure> {
        let began = Instant::now();
        thread::scope(|scope| {
            let started: Vec<_> = (0..readers)
                .map(|reader| scope.spawn(move || self.share(tree, operation, reader, readers)))
                .collect();
            started.into_iter().try_for_each(|reader| {
                reader.join().unwrap_or_else(|_| Err("a reader has panicked".into()))
            })
        })?;
        Ok(milliseconds(began.elapsed()))
    }

    fn share(
        &self,
        tree: &Path,
        operation: Operation,
        reader: usize,
        readers: usize,
    ) -> Result<(), Failure> {
        fn shared<T>(of: &[T], reader: usize, readers: usize) -> impl Iterator<Item = &T> {
            of.iter().skip(reader).step_by(readers)
        }
        let mut buffer = vec![0; 128 << 10];
        match operation {
            Operation::Stat => {
                for path in shared(&self.all, reader, readers) {
                    fs::symlink_metadata(tree.join(path))?;
                }
            }
            Operation::Readdir => {
                for path in shared(&self.folders, reader, readers) {
                    for entry in fs::read_dir(tree.join(path))? {
                        entry?;
                    }
                }
            }
            Operation::Sequential => {
                for path in shared(&self.files, reader, readers) {
                    let mut file = File::open(tree.join(path))?;
                    while file.read(&mut buffer)? > 0 {}
                }
            }
            Operation::Random => {
                for (path, offset) in shared(&self.places, reader, readers) {
                    File::open(tree.join(path))?.read_at(&mut buffer[..PAGE], *offset)?;
                }
            }
        }
        Ok(())
    }
}

/// Counters of the server that do not count requests.
const NO_REQUESTS: [&str; 3] = ["decoded-frames", "panic", "read-bytes"];

/// The requests to the server, and its processor time, in a measurement.
#[derive(Debug, Clone, Default)]
struct Asked {
    requests: BTreeMap<String, u64>,
    processor: f64,
}

impl Asked {
    fn by_now(instance: &Instance) -> Result<Self, Failure> {
        let mount = instance.status()?.mount;
        let pid = mount.pid.ok_or("nobody serves the mount")?;
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // Fields 14 and 15 of the line, counted from after the name, which may hold anything.
        let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        let ticks: Vec<f64> = fields.skip(11).take(2).map(str::parse).collect::<Result<_, _>>()?;
        let processor = ticks.iter().sum::<f64>() * TICK;
        let mut requests = mount.requests;
        requests.retain(|name, _| !NO_REQUESTS.contains(&name.as_str()));
        Ok(Self { requests, processor })
    }

    fn since(&self, before: &Self) -> Self {
        let requests = self.requests.iter().map(|(name, count)| {
            let earlier = before.requests.get(name).copied().unwrap_or(0);
            (name.clone(), count.saturating_sub(earlier))
        });
        Self {
            requests: requests.filter(|(_, count)| *count > 0).collect(),
            processor: self.processor - before.processor,
        }
    }
}

/// Measures.
pub fn run(flags: &Flags) -> Result<Vec<Row>, Failure> {
    let instance = Instance::start("ssd")?;
    let mut arguments = vec!["env", "add", "tree"];
    arguments.extend(flags.packages.iter().map(String::as_str));
    instance.call(&arguments)?;
    let (ours, copy) = (instance.view("tree"), instance.folder().join("ext4"));
    // What the name leads to, and not the link.
    succeed(std::process::Command::new("cp").arg("-a").arg(ours.join(".")).arg(&copy))?;
    let image = instance.folder().join("erofs.image");
    erofs(&copy, &image)?;
    let mounted = instance.folder().join("erofs");
    let _mounted = Mounted::erofs(&image, &mounted)?;

    let work = Work::of(&ours, flags.reads)?;
    let round_trip = round_trip(&ours, &work)?;
    eprintln!(
        "{} paths, {} folders; a round trip to the server that does nothing takes {:.1} us",
        work.all.len(),
        work.folders.len(),
        round_trip * 1000.0
    );
    let mut rows = Vec::new();
    for cold in [true, false] {
        for (operation, name) in [
            (Operation::Stat, "stat"),
            (Operation::Readdir, "readdir"),
            (Operation::Sequential, "sequential read"),
            (Operation::Random, "random read"),
        ] {
            for readers in [1, 8] {
                let mut times = [Vec::new(), Vec::new(), Vec::new()];
                let mut asked = Asked::default();
                for _ in 0..flags.rounds {
                    for (tree, times) in [&copy, &mounted, &ours].into_iter().zip(&mut times) {
                        if cold {
                            succeed(std::process::Command::new("sync").arg("-f").arg(tree))?;
                            fs::write("/proc/sys/vm/drop_caches", "3")?;
                        } else {
                            work.time(tree, operation, readers)?;
                        }
                        let before = Asked::by_now(&instance)?;
                        times.push(work.time(tree, operation, readers)?);
                        asked = Asked::by_now(&instance)?.since(&before);
                    }
                }
                let [ext4, erofs, ours] = times.map(|times| median(&times));
                let temperature = if cold { "cold" } else { "warm" };
                let s = if readers == 1 { "" } else { "s" };
                let name = format!("{name}, {temperature}, {readers} reader{s}");
                explain(&name, ours - ext4, &asked, round_trip);
                rows.push(Row::new(&format!("{name} / ext4"), "ms", ext4, ours, None));
                rows.push(Row::new(&format!("{name} / EROFS"), "ms", erofs, ours, None));
            }
        }
    }
    Ok(rows)
}

/// Milliseconds of a request that the server answers without reading anything: the question whether
/// a file is a terminal.
fn round_trip(tree: &Path, work: &Work) -> Result<f64, Failure> {
    let file = File::open(tree.join(work.files.first().ok_or("the tree has no file")?))?;
    let times = (0..2000).map(|_| {
        let began = Instant::now();
        let _ = file.is_terminal();
        milliseconds(began.elapsed())
    });
    Ok(median(&times.collect::<Vec<_>>()))
}

#[expect(clippy::cast_precision_loss, reason = "counts of a few thousand")]
fn explain(name: &str, gap: f64, asked: &Asked, round_trip: f64) {
    let requests: u64 = asked.requests.values().sum();
    let by_name: Vec<_> = asked.requests.iter().map(|(name, n)| format!("{n} {name}")).collect();
    eprintln!(
        "{name}: {gap:+.1} ms to ext4; {requests} requests ({}), as many empty round trips take \
         {:.1} ms; the server used {:.0} ms of processor time",
        by_name.join(", "),
        requests as f64 * round_trip,
        asked.processor
    );
}
