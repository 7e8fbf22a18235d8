//! Containers of real engines, which know nothing of Pipsqueak.

pub mod docker;
pub mod documentation;
mod engine;
pub mod leases;
pub mod lifetime;
pub mod podman;

use std::sync::{Arc, Mutex, PoisonError};

use crate::harness::{Instance, Manager, Options};
use engine::{Docker, Podman};

/// Keeps a container running until it is told to end.
const SLEEP: &str = "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit()); \
                     signal.pause()";

static DOCKER: Mutex<Option<Arc<Docker>>> = Mutex::new(None);
static PODMAN: Mutex<Option<Arc<Podman>>> = Mutex::new(None);

fn docker() -> Arc<Docker> {
    let mut docker = DOCKER.lock().unwrap_or_else(PoisonError::into_inner);
    docker.get_or_insert_with(|| Arc::new(Docker::start())).clone()
}

fn podman() -> Arc<Podman> {
    let mut podman = PODMAN.lock().unwrap_or_else(PoisonError::into_inner);
    podman.get_or_insert_with(|| Arc::new(Podman::new())).clone()
}

/// Ends the engines.
pub fn end_shared() {
    drop(DOCKER.lock().unwrap_or_else(PoisonError::into_inner).take());
    drop(PODMAN.lock().unwrap_or_else(PoisonError::into_inner).take());
    engine::remove_image();
}

/// Starts an instance that engines know, with an environment of small packages. The environment has
/// the name of the driver, because names of devices are machine-wide.
fn instance(packages: &[&str]) -> Instance {
    let instance = Instance::start(&Options { engines: true, ..Options::default() });
    add(&instance, packages);
    instance
}

/// Starts such an instance by a service manager.
fn managed_instance(packages: &[&str], manager: &mut Manager) -> Instance {
    let options = Options { engines: true, ..Options::default() };
    let instance = Instance::start_managed(&options, manager);
    add(&instance, packages);
    instance
}

fn add(instance: &Instance, packages: &[&str]) {
    instance.ok(&[&["env", "add", &environment(instance)], packages].concat());
}

/// The name of the environment that [`instance`] makes.
fn environment(instance: &Instance) -> String {
    instance.driver().to_owned()
}

/// The arguments that `env docker-args` prints, as a shell would split them.
fn docker_args(instance: &Instance) -> Vec<String> {
    let line = instance.ok(&["env", "docker-args", &environment(instance)]);
    line.split_whitespace().map(ToOwned::to_owned).collect()
}

/// The digests of the views that containers have.
fn views_in_use(instance: &Instance) -> Vec<String> {
    serde_json::from_value(instance.status()["containers"]["views"].clone()).unwrap()
}

/// The digest of the view that the environment's name stands for.
fn view(instance: &Instance) -> String {
    let shown = instance.json(&["env", "show", &environment(instance), "--json"]);
    shown["view"].as_str().unwrap().to_owned()
}
