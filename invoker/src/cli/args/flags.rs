//! Flags that say settings of an instance, besides where it is.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Args)]
pub struct Flags {
    /// Where downloads are kept [STATE/cache]
    #[arg(long, value_name = "DIR")]
    pub cache: Option<PathBuf>,
    /// Tiers in use: some of paused,zygote,ssd, or none [all]
    #[arg(long, value_name = "LIST")]
    pub tiers: Option<String>,
    /// Budget for what is kept in memory [half of it]
    #[arg(long, value_name = "SIZE")]
    pub memory: Option<String>,
    /// Which paused sandbox is dropped first: lru, or greedy-dual, which saves more time [lru]
    #[arg(long, value_name = "POLICY")]
    pub eviction: Option<String>,
    /// How long a sandbox runs on after its answer where requests follow each other, in seconds [0.005]
    #[arg(long, value_name = "S")]
    pub linger: Option<String>,
    /// How many children of one zygote may wait for functions, 0 for none [8]
    #[arg(long, value_name = "N")]
    pub spares: Option<String>,
    /// How many sandboxes of functions may serve at the same time [16 for each processor]
    #[arg(long, value_name = "N")]
    pub sandboxes: Option<String>,
    /// How many invocations of one function may wait for their turn [256]
    #[arg(long, value_name = "N")]
    pub queue: Option<String>,
    /// How long something must have been out of reach before `store gc` takes it, in seconds [300]
    #[arg(long, value_name = "S")]
    pub grace: Option<String>,
    /// Most that one function's logs may have on disk [10M]
    #[arg(long, value_name = "SIZE")]
    pub logs: Option<String>,
    /// The uv executable [uv on the PATH]
    #[arg(long, value_name = "PATH")]
    pub uv: Option<PathBuf>,
    /// The interpreter of environments that name none [python3 on the PATH]
    #[arg(long, value_name = "PATH")]
    pub python: Option<PathBuf>,
    /// Socket of Docker's volume driver, or none [/run/docker/plugins/pipsqueak.sock, unless --run]
    #[arg(long, value_name = "PATH")]
    pub docker_plugin: Option<PathBuf>,
    /// File of CDI devices, or none [/var/run/cdi/pipsqueak.json, unless --run]
    #[arg(long, value_name = "PATH")]
    pub cdi: Option<PathBuf>,
    /// Addresses of functions whose network is nat, such as 10.11.0.0/20 [a free part of 198.18.0.0/15]
    #[arg(long, value_name = "CIDR")]
    pub nat: Option<String>,
}
