//! The supervisor's side of making sandboxes.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use pipsqueak::wire::ChangingSandbox;
use pipsqueak_kernel::listener::Listener;
use pipsqueak_kernel::mount::{self, Access};
use pipsqueak_kernel::passage::OWNER;
use pipsqueak_policy::eviction::Reading;
use tokio::runtime::Handle;

use super::changes::Watched;
use super::commons::Commons;
use super::door::Door;
use super::error::SandboxError;
use super::exits::{End, Exits};
use super::handle::{Remains, Sandbox};
use super::maker_process::{Maker, unexpected};
use super::order::{Answer, Order, ProcessOrder, SandboxOrder, Standing};
use super::places::Mounted;
use super::stages::{Stage, Stages};
use super::teardown;
use super::users::{COUNT, User, Users, host_user};
use crate::machine::cgroups::{Group, Instance, Limits};
use crate::network::Nat;
use crate::sync::{Mutex, lock};

/// Plan of a sandbox.
#[derive(Debug)]
pub struct Plan {
    /// Owner of the code that runs in it.
    pub standing: Standing,
    /// Limits of what it may use.
    pub limits: Limits,
    /// Sandboxes with which it shares what it sees of the system, and the kind of network that they have: a network of
    /// its own has a loopback interface alone.
    pub commons: Commons,
    /// Folders of the host's that others see at the same places, of their commons or another: it sees them as it
    /// sees the system's.
    pub shared: Vec<Mounted>,
    /// Mounts that it sees besides the base and those.
    pub mounts: Vec<Mounted>,
    /// Size limit of its `/tmp`, in bytes.
    pub tmp_bytes: u64,
    /// A folder that it sees, kept until it is gone.
    pub keeps: Option<Arc<tempfile::TempDir>>,
}

/// A plan, with the name and the user that were chosen for it.
struct Wanted<'a> {
    name: &'a str,
    standing: Standing,
    commons: &'a Commons,
    tmp_bytes: u64,
    user: &'a User,
}

impl Wanted<'_> {
    /// The order for it: with so many `memberships`, and with mounts at places `inside`, the first of which are
    /// `shared`.
    fn order(
        &self,
        parent: Option<&Arc<Sandbox>>,
        memberships: usize,
        shared: usize,
        inside: Vec<PathBuf>,
    ) -> SandboxOrder {
        let outer = std::iter::successors(parent, |inner| inner.parent.as_ref());
        let (around, hostnames_around): (Vec<_>, _) =
            outer.map(|outer| (outer.user.offset(), outer.name.clone())).unzip();
        SandboxOrder {
            hostname: self.name.to_owned(),
            hostnames_around,
            memberships,
            commons: self.commons.clone(),
            is_zygote: self.standing == Standing::Zygote,
            is_inside: parent.is_some(),
            owner: parent.map_or_else(|| host_user(self.user.offset()), |_| OWNER),
            users: self.user.map(&around),
            shared,
            mounts: inside,
            tmp_bytes: self.tmp_bytes,
        }
    }
}

/// A program to be started in a sandbox.
#[derive(Debug)]
pub struct Program<'a> {
    /// Program and arguments; not empty.
    pub arguments: Vec<String>,
    /// The whole environment.
    pub variables: Vec<(String, String)>,
    /// Working directory inside.
    pub directory: PathBuf,
    /// Descriptors of the program, from 0 on: at least three.
    pub descriptors: Vec<BorrowedFd<'a>>,
}

/// A process that was started in a sandbox.
#[derive(Debug)]
pub struct Process {
    /// Number of the process on the host.
    pub pid: i32,
    /// Descriptor of the process.
    pub pidfd: OwnedFd,
    /// End of the process.
    pub end: End,
    /// Socket on which a zygote asks whether it may enter a sandbox.
    pub listener: Option<Listener>,
}

/// Makes sandboxes.
#[derive(Debug)]
pub struct Sandboxes {
    groups: Arc<Instance>,
    nat: Nat,
    stages: Arc<Stages>,
    maker: Arc<Maker>,
    users: Arc<Users>,
    runtime: Handle,
    next: AtomicU64,
    teardown: Sender<Option<Remains>>,
    teardown_thread: Mutex<Option<JoinHandle<()>>>,
    watched: Arc<Watched>,
    changes: Mutex<Option<(Sender<()>, JoinHandle<()>)>>,
}

impl Sandboxes {
    /// Starts the maker, whose root is put together at `root`, an empty folder. Blocks.
    ///
    /// `binary` is `pipsqueakd` itself, of which the maker is a hidden command.
    /// `runtime` is what follows the reports of holders.
    pub fn start(
        binary: &Path,
        groups: Instance,
        nat: Nat,
        root: &Path,
        runtime: Handle,
    ) -> io::Result<Self> {
        let groups = Arc::new(groups);
        let maker = Maker::start(binary, root, groups.clone()).map_err(io::Error::other)?;
        let (teardown, remains) = channel();
        let stages = Arc::<Stages>::default();
        let noted = stages.clone();
        let teardown_thread = std::thread::Builder::new()
            .name("teardown".to_owned())
            .spawn(move || teardown::run(&remains, &noted))?;
        let (stop, stopped) = channel();
        let (told, watched) = (maker.clone(), Arc::<Watched>::default());
        let watching = watched.clone();
        let changes = std::thread::Builder::new()
            .name("system-changes".to_owned())
            .spawn(move || watching.follow(&told, &stopped))?;
        Ok(Self {
            groups,
            nat,
            stages,
            maker,
            users: Arc::default(),
            runtime,
            next: AtomicU64::new(1),
            teardown,
            teardown_thread: Mutex::new(Some(teardown_thread)),
            watched,
            changes: Mutex::new(Some((stop, changes))),
        })
    }

    /// Makes a sandbox, inside the one of a zygote if there is a `parent`. Blocks.
    pub fn make(&self, plan: Plan, parent: Option<&Arc<Sandbox>>) -> Result<Sandbox, SandboxError> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let name = format!("s{id}");
        // First, because nothing can be made for a user that there is not.
        let user = self.user(plan.standing)?;
        self.watched.note(plan.shared.iter().map(|(inside, _)| inside));
        let group = self
            .groups
            .group(&name, &plan.limits)
            .map_err(|source| SandboxError::Group { name: name.clone(), source })?;
        // From here on there is something to be seen, and to be cleared.
        let _making = self.stages.enter(id, plan.standing, Stage::Making);
        let Plan { standing, commons, tmp_bytes, keeps, shared, mounts, .. } = plan;
        let wanted = Wanted { name: &name, standing, commons: &commons, tmp_bytes, user: &user };
        match self.begin(&wanted, &group, parent, (shared, mounts)) {
            Ok((door, exits)) => Ok(Sandbox {
                id,
                name,
                standing,
                commons,
                group: Arc::new(group),
                door,
                user,
                exits,
                parent: parent.cloned(),
                keeps,
                teardown: self.teardown.clone(),
            }),
            Err(error) => {
                if let Err(error) = group.end() {
                    tracing::error!(sandbox = name, %error, "clearing what was begun of a sandbox");
                    // What may still run as this user must not meet another.
                    std::mem::forget(user);
                }
                Err(error)
            }
        }
    }

    /// Has the maker make a sandbox whose group is there; the way into it, and what its holder reports.
    fn begin(
        &self,
        wanted: &Wanted<'_>,
        group: &Group,
        parent: Option<&Arc<Sandbox>>,
        (shared, mounts): (Vec<Mounted>, Vec<Mounted>),
    ) -> Result<(Door, Arc<Exits>), SandboxError> {
        let named = || wanted.name.to_owned();
        let first = shared.len();
        let (mut inside, mut mounts): (Vec<_>, Vec<_>) = shared.into_iter().chain(mounts).unzip();
        for (place, folder) in group.shown() {
            let taken = mount::take(folder, Access::ReadOnly);
            mounts.push(taken.map_err(|source| SandboxError::Take {
                name: named(),
                path: folder.to_owned(),
                source,
            })?);
            inside.push(place);
        }
        let memberships =
            group.memberships().map_err(|source| SandboxError::Group { name: named(), source })?;
        let (reports, report) = UnixStream::pair().map_err(SandboxError::Socket)?;
        let commons = self.maker.commons(wanted.commons)?;
        let order = Order::Sandbox(wanted.order(parent, memberships.len(), first, inside));
        // In the order in which `SandboxOrder` tells them.
        let mut descriptors = vec![commons.as_fd(), report.as_fd()];
        descriptors.extend(memberships.iter().map(AsFd::as_fd));
        descriptors.extend(parent.map(|parent| parent.holder()));
        descriptors.extend(mounts.iter().map(AsFd::as_fd));
        let (holder_pid, holder) = match self.maker.carry_out(wanted.name, &order, &descriptors)? {
            (Answer::Sandbox { holder }, pidfd, _) => (holder, pidfd),
            (other, ..) => return Err(unexpected(wanted.name, other)),
        };
        // The holder has the other copy, and its end is to be seen.
        drop(report);
        let exits = Arc::new(Exits::default());
        self.follow(reports, exits.clone()).map_err(SandboxError::Follow)?;
        Ok((Door { holder: Arc::new(holder), holder_pid, address: Arc::default() }, exits))
    }

    /// Starts a program in a sandbox that is in no other. Blocks until it has been executed.
    pub fn launch(&self, sandbox: &Sandbox, program: Program<'_>) -> Result<Process, SandboxError> {
        let memberships = sandbox.memberships()?;
        let order = ProcessOrder {
            memberships: memberships.len(),
            standing: sandbox.standing,
            own_network: sandbox.own_network(),
            user: sandbox.user(),
            arguments: program.arguments,
            variables: program.variables,
            directory: program.directory,
        };
        let mut descriptors = vec![sandbox.holder()];
        descriptors.extend(memberships.iter().map(AsFd::as_fd));
        descriptors.extend(program.descriptors);
        let exits = self.maker.exits();
        let earlier = exits.reports();
        match self.maker.carry_out(&sandbox.name, &Order::Process(order), &descriptors)? {
            (Answer::Process { pid }, pidfd, listener) => Ok(Process {
                pid,
                pidfd,
                end: exits.end_of(pid, earlier),
                listener: listener.map(Listener::from_sent),
            }),
            (other, ..) => Err(unexpected(&sandbox.name, other)),
        }
    }

    /// Gives a sandbox with a network namespace of its own an address behind the host's. Blocks.
    pub fn connect(&self, door: &Door) -> Result<(), SandboxError> {
        let address = self.nat.attach(door.holder(), door.holder_pid)?;
        // One that has an address already keeps it.
        let _ = door.address.set(address);
        Ok(())
    }

    /// Mount for `/etc/resolv.conf` of a sandbox with an address. Blocks.
    pub fn resolv_conf(&self) -> Result<Mounted, SandboxError> {
        let path = self.nat.resolv_conf()?;
        let taken = mount::take(path, Access::ReadOnly);
        Ok(("/etc/resolv.conf".into(), taken.map_err(SandboxError::Resolver)?))
    }

    /// Sandboxes that are being made or taken down, by number.
    pub fn changing(&self) -> Vec<ChangingSandbox> {
        self.stages.all()
    }

    /// Readings of memory of the groups around all sandboxes.
    pub fn readings(&self) -> Vec<Reading> {
        self.groups.readings()
    }

    /// The file that tells of stalls in sandboxes, if the kernel has one.
    pub fn stalls(&self) -> Option<PathBuf> {
        self.groups.stalls()
    }

    /// Name of the control group that all sandboxes' groups are in.
    pub fn group(&self) -> &str {
        self.groups.name()
    }

    /// Ends the maker and everything that is left, and removes the control groups. Blocks.
    ///
    /// Orders that are being carried out are waited for, later ones are refused: so every process
    /// there is is in its control group when those are cleared.
    pub fn stop(&self) -> io::Result<()> {
        let Some(maker) = self.maker.stop() else { return Ok(()) };
        let changes = lock(&self.changes).take();
        if let Some((stop, thread)) = changes {
            drop(stop);
            if thread.join().is_err() {
                tracing::error!("the thread that looks for changes of the system has panicked");
            }
        }
        let thread = lock(&self.teardown_thread).take();
        // What is dropped after this word is ended with the groups.
        let stopping = self.teardown.send(None).is_ok();
        if let Some(thread) = thread.filter(|_| stopping)
            && thread.join().is_err()
        {
            tracing::error!("the thread that takes sandboxes down has panicked");
        }
        let cleared = self.groups.clear();
        let disconnected = self.nat.stop().map_err(io::Error::other);
        maker.end()?;
        cleared.and(disconnected)
    }

    fn user(&self, standing: Standing) -> Result<User, SandboxError> {
        let take = || self.users.take().map(Arc::new).ok_or(SandboxError::Users(COUNT));
        Ok(match standing {
            Standing::Function => User::One(take()?),
            Standing::Zygote => User::Range(take()?),
            Standing::Installer => User::Installer,
        })
    }

    fn follow(&self, reports: UnixStream, exits: Arc<Exits>) -> io::Result<()> {
        reports.set_nonblocking(true)?;
        let _inside = self.runtime.enter();
        let reports = tokio::net::UnixStream::from_std(reports)?;
        self.runtime.spawn(async move { exits.follow(reports).await });
        Ok(())
    }
}

impl Drop for Sandboxes {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            tracing::error!(%error, "ending what sandboxes are left");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_has_what_was_planned() {
        let (commons, user) = (Commons::of_installers(), User::Installer);
        let wanted = Wanted {
            name: "s7",
            standing: Standing::Installer,
            commons: &commons,
            tmp_bytes: 5,
            user: &user,
        };
        let order = wanted.order(None, 2, 1, vec!["/usr/local".into(), "/function".into()]);
        assert_eq!((order.hostname.as_str(), order.memberships, order.shared), ("s7", 2, 1));
        assert_eq!((order.is_zygote, order.is_inside, order.tmp_bytes), (false, false, 5));
        assert_eq!((order.owner, order.users), (host_user(user.offset()), user.map(&[])));
        assert_eq!(order.mounts, [PathBuf::from("/usr/local"), "/function".into()]);
    }
}
