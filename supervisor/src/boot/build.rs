//! Putting a supervisor together, from its folders to its parts. What was built is undone by drops, in
//! reverse order, where a later step fails.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use pipsqueak::settings::Settings;
use pipsqueak_fs::{IndexOptions, Interpreter, Repository};
use tokio::runtime::Handle;

use super::error::{BootError, machine};
use crate::containers::Containers;
use crate::deployment::{Functions, Payloads};
use crate::ending::{Ender, Ending};
use crate::environment::{Environments, in_memory};
use crate::events::Events;
use crate::logs::Journal;
use crate::machine::cgroups;
use crate::mount::{Keeper, Views};
use crate::network::Nat;
use crate::runtime;
use crate::sandbox::Sandboxes;
use crate::sealed::Keys;
use crate::service::{Service, Stored};
use crate::supervisor::{Resources, Supervisor};

/// What a service manager has to do with this supervisor, and what it has kept for it.
pub type Managed = (Arc<Service>, Vec<Stored>);

/// Builds a supervisor; `ender` is told when the mount is lost or a client asks for the end.
pub fn build(
    settings: Settings,
    (service, stored): Managed,
    ender: Ender,
    handle: &Handle,
) -> Result<Arc<Supervisor>, BootError> {
    let private_folder = settings.state.join("private");
    let root = settings.run.join("root");
    make_folders(&settings, &private_folder, &root)?;
    let python = python(settings.python.as_deref())?;

    let id = instance_id(&settings.run);
    cgroups::Instance::end_earlier(&id).map_err(machine("ending what was left running"))?;
    let repository = repository(&settings)?;
    let of_functions = Stores::open(&settings)?;
    let told = ender.clone();
    let lost = move || told.end(Ending::Lost);
    let keeper = Keeper::start(&settings.mount, &settings.state, &service, stored, lost)
        .map_err(machine("mounting"))?;
    // Not before: a process that waits for a mount that was left is in its group until it is served.
    let groups = cgroups::Instance::create(&id).map_err(machine("making control groups"))?;
    let runtime_folder = settings.run.join("runtime");
    runtime::install(&runtime_folder, &python.executable)
        .map_err(machine("installing the Python runtime"))?;
    let nat = Nat::new(&id, settings.nat, &settings.run, handle.clone())?;
    let sandboxes = std::env::current_exe()
        .and_then(|binary| Sandboxes::start(&binary, groups, nat, &root, handle.clone()))
        .map_err(machine("starting the process that makes sandboxes"))?;
    let (keeper, sandboxes) = (Arc::new(keeper), Arc::new(sandboxes));
    let views = Views::new(&settings.mount, &settings.state);
    let views = views.map_err(machine("looking at the mount"))?;
    let environments = Environments::new(
        repository,
        (keeper.clone(), views),
        sandboxes.clone(),
        python.executable,
        (!settings.tiers.ssd).then_some(private_folder),
        handle.clone(),
    );
    let environments = Arc::new(environments);
    environments.host();
    let containers = Containers::start(&settings, environments.clone(), handle)?;
    let Stores { functions, journal, events } = of_functions;
    let resources = Resources {
        settings: Arc::new(settings),
        environments,
        containers,
        functions,
        sandboxes,
        keeper,
        journal,
        events,
        runtime: runtime_folder,
        background: handle.clone(),
    };
    Ok(Arc::new(Supervisor::new(resources, ender)))
}

fn make_folders(settings: &Settings, private: &Path, root: &Path) -> Result<(), BootError> {
    folder(&settings.state, 0o700)?;
    folder(&settings.cache, 0o700)?;
    // What a killed instance was installing.
    let _ = fs::remove_dir_all(private);
    folder(private, 0o711)?;
    folder(root, 0o700)
}

/// The store of packages.
fn repository(settings: &Settings) -> Result<Repository, BootError> {
    let uv = settings.uv.clone().ok_or(BootError::Uv)?;
    let pipsqueak::settings::Index { url, extra, hosts } = settings.index.clone();
    let index = IndexOptions { url, extra, hosts };
    let mount = settings.mount.clone();
    let repository = Repository::open(&settings.state, &settings.cache, uv, mount, index)?;
    Ok(match in_memory() {
        Ok((root, size)) => repository.with_memory(root, size),
        Err(error) => {
            tracing::info!(%error, "wheels are unpacked on the disk, not in memory");
            repository
        }
    })
}

/// What is stored of functions.
struct Stores {
    functions: Arc<Functions>,
    journal: Arc<Journal>,
    events: Arc<Events>,
}

impl Stores {
    fn open(settings: &Settings) -> Result<Self, BootError> {
        let keys = &settings.secrets;
        let keys = Arc::new(Keys::read(keys.key_file.as_ref(), &keys.old_key_files)?);
        let payloads = Payloads { into: settings.payload_in, out: settings.payload_out };
        let functions = Functions::open(settings.state.join("functions"), payloads, keys.clone())?;
        let names = functions.list().iter().map(|function| function.info.name.clone()).collect();
        let log_folder = settings.state.join("logs");
        let journal = Journal::open(log_folder.clone(), settings.logs, &names)
            .map_err(|error| BootError::Folder { path: log_folder, error })?;
        let events = Events::open(settings.state.join("events.sqlite"), &names, keys)?;
        let (functions, journal) = (Arc::new(functions), Arc::new(journal));
        Ok(Self { functions, journal, events: Arc::new(events) })
    }
}

fn python(named: Option<&Path>) -> Result<Interpreter, BootError> {
    let path = named.ok_or_else(|| BootError::Interpreter("no python3 on the PATH".to_owned()))?;
    Interpreter::inspect(path)
        .map_err(|error| BootError::Interpreter(format!("{}: {error}", path.display())))
}

/// Tells instances apart, by where their sockets are.
fn instance_id(run: &Path) -> String {
    let digest = blake3::hash(run.as_os_str().as_encoded_bytes()).to_hex();
    digest[..8].to_owned()
}

fn folder(path: &Path, mode: u32) -> Result<(), BootError> {
    fs::create_dir_all(path)
        .and_then(|()| fs::set_permissions(path, Permissions::from_mode(mode)))
        .map_err(|error| BootError::Folder { path: path.to_owned(), error })
}
