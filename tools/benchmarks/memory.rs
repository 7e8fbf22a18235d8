//! Memory of the process that serves the mount, after all files of many environments were read.

use std::fs;
use std::io::Read;
use std::thread;
use std::time::Duration;

use crate::Failure;
use crate::disk::paths;
use crate::instance::Instance;
use crate::report::Row;

/// Flags of this benchmark.
#[derive(Debug, clap::Args)]
pub struct Flags {
    /// Number of environments
    #[arg(long, default_value_t = 50)]
    environments: usize,
    /// Packages in each
    #[arg(long, default_value_t = 4)]
    each: usize,
}

/// The packages of the environments; each environment has a few consecutive ones.
const PACKAGES: [&str; 12] = [
    "numpy",
    "requests",
    "pandas",
    "flask",
    "boto3",
    "scipy",
    "pydantic",
    "scikit-learn",
    "rich",
    "sqlalchemy",
    "jinja2",
    "pyyaml",
];

/// Most memory, in MiB.
const FLOOR: f64 = 64.0;
/// Time until no data that was read ahead is kept.
const REST: Duration = Duration::from_secs(15);

/// Measures.
pub fn run(flags: &Flags) -> Result<Vec<Row>, Failure> {
    let instance = Instance::start("ssd")?;
    for number in 0..flags.environments {
        // Twice through the list, each has other neighbours.
        let stride = 1 + number / PACKAGES.len();
        let chosen = (0..flags.each).map(|n| PACKAGES[(number + n * stride) % PACKAGES.len()]);
        let name = format!("e{number}");
        let mut arguments = vec!["env", "add", &name];
        arguments.extend(chosen);
        instance.call(&arguments)?;
    }
    let mut bytes = 0;
    for number in 0..flags.environments {
        bytes += read_all(&instance, &format!("e{number}"))?;
    }
    let servers = instance.servers()?;
    let read = Pss::of(&servers)?;
    thread::sleep(REST);
    let rest = Pss::of(&servers)?;
    eprintln!("{} environments, {:.1} GiB in them read", flags.environments, gibibytes(bytes));
    for (when, pss) in [("just read", &read), ("at rest", &rest)] {
        eprintln!("{when}: {:.1} MiB anonymous, {:.1} MiB of files", pss.anonymous, pss.files);
    }
    let row = |when, pss: &Pss| {
        let name = format!("PSS of pipsqueak-fs, {} environments, {when}", flags.environments);
        Row::new(&name, "MiB", FLOOR, pss.total(), Some(1.0))
    };
    Ok(vec![row("just read", &read), row("at rest", &rest)])
}

/// Reads every file of an environment; returns the number of bytes.
fn read_all(instance: &Instance, environment: &str) -> Result<u64, Failure> {
    let mut buffer = vec![0; 1 << 20];
    let mut bytes = 0;
    for (path, metadata) in paths(&instance.view(environment))? {
        if !metadata.is_file() {
            continue;
        }
        let mut file = fs::File::open(&path)?;
        loop {
            match file.read(&mut buffer)? {
                0 => break,
                read => bytes += read as u64,
            }
        }
    }
    Ok(bytes)
}

/// Proportional set size of some processes, in MiB: shared memory counts in part.
#[derive(Default)]
pub struct Pss {
    anonymous: f64,
    files: f64,
}

impl Pss {
    /// The PSS of these processes together.
    pub fn of(processes: &[u32]) -> Result<Self, Failure> {
        let mut sum = Self::default();
        for process in processes {
            let rollup = fs::read_to_string(format!("/proc/{process}/smaps_rollup"))?;
            let mebibytes = |name: &str| -> Result<f64, Failure> {
                let kibibytes = rollup
                    .lines()
                    .find_map(|line| line.strip_prefix(name)?.trim().strip_suffix("kB"))
                    .ok_or_else(|| format!("smaps_rollup does not say {name}"))?;
                Ok(kibibytes.trim().parse::<f64>()? / 1024.0)
            };
            sum.anonymous += mebibytes("Pss_Anon:")?;
            sum.files += mebibytes("Pss_File:")?;
        }
        Ok(sum)
    }

    /// The PSS of all kinds of memory.
    pub fn total(&self) -> f64 {
        self.anonymous + self.files
    }
}

#[expect(clippy::cast_precision_loss, reason = "told with one decimal")]
fn gibibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 30)
}
