//! The way from a request to a reply: one arm for each verb.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pipsqueak::wire::{Accepted, Fault, FaultKind, Progress, Reply, Request};
use pipsqueak_fs::Owner;
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedSender;

use crate::ending::Ending;
use crate::environment::{self, Wanted};
use crate::fault::internal;
use crate::instance::Streams;
use crate::supervisor::{Asked, Kept, Supervisor};

/// Work that is left when the reply is on its way.
#[derive(Debug, Default)]
pub struct After {
    /// Work that is left of an invocation.
    pub kept: Option<Kept>,
    /// The supervisor's end, if the request asks for it.
    pub ending: Option<Ending>,
}

impl After {
    /// Does the work that is left.
    pub fn carry_out(self, supervisor: &Supervisor) {
        if let Some(kept) = self.kept {
            supervisor.invocations.settle(kept);
        }
        if let Some(ending) = self.ending {
            supervisor.end(ending);
        }
    }
}

/// Client of a request, as far as the request needs it.
#[derive(Debug)]
pub struct Caller<'a> {
    /// Time at which the request was read.
    pub arrived: Instant,
    /// Notified when the client goes away.
    pub gone: &'a Notify,
    /// The client's streams, if the request is streamed.
    pub streams: Option<Streams>,
}

/// Carries a request out. A failure becomes a reply like any other.
pub async fn route(
    supervisor: &Arc<Supervisor>,
    request: Request,
    caller: Caller<'_>,
    progress: &UnboundedSender<Progress>,
) -> (Reply, After) {
    let mut after = After::default();
    let reply = match carry_out(supervisor, request, caller, progress, &mut after).await {
        Ok(reply) => reply,
        Err(fault) => {
            if fault.kind == FaultKind::Internal {
                tracing::error!(fault = fault.message, "a request failed");
            }
            Reply::Fault(fault)
        }
    };
    (reply, after)
}

async fn carry_out(
    supervisor: &Arc<Supervisor>,
    request: Request,
    caller: Caller<'_>,
    progress: &UnboundedSender<Progress>,
    after: &mut After,
) -> Result<Reply, Fault> {
    Ok(match request {
        Request::Status => Reply::Status(supervisor.administration.status().await?),
        Request::Settings => Reply::Settings { settings: supervisor.resources.settings.values() },
        Request::Down => {
            after.ending = Some(Ending::Stop);
            Reply::Done { message: "stopping".to_owned() }
        }
        Request::Upgrade => {
            supervisor.administration.check_successor().await?;
            after.ending = Some(Ending::Upgrade);
            Reply::Done { message: "upgrading".to_owned() }
        }
        Request::EnvAdd { name, requirements, python, python_version, upgrade } => {
            check_name("an environment", &name)?;
            let requirements = environment::requirements(requirements);
            let owner = Owner::User;
            let wanted = Wanted { owner, requirements, python, python_version, upgrade };
            let administration = &supervisor.administration;
            let added = administration.add_environment(name, wanted, progress).await?;
            Reply::Environment(added)
        }
        Request::EnvLs => {
            Reply::Environments { environments: supervisor.resources.environments.list().await? }
        }
        Request::EnvShow { name } => {
            Reply::Environment(supervisor.resources.environments.show(name).await?)
        }
        Request::EnvExport { name } => {
            Reply::Export(supervisor.resources.containers.export(name).await?)
        }
        Request::EnvRm { name } => {
            let message = format!("removed environment {name}");
            supervisor.administration.remove_environment(name).await?;
            Reply::Done { message }
        }
        Request::Deploy(deploy) => {
            check_name("a function", &deploy.name)?;
            if let Some(tenant) = &deploy.tenant {
                check_name("a tenant", tenant)?;
            }
            Reply::Function(supervisor.administration.deploy(*deploy).await?)
        }
        Request::FunctionsLs => {
            let functions = supervisor.resources.functions.list();
            Reply::Functions { functions: functions.iter().map(|f| f.shown()).collect() }
        }
        Request::FunctionsShow { name } => {
            Reply::Function(supervisor.resources.functions.get(&name)?.shown())
        }
        Request::FunctionsRm { name } => {
            supervisor.administration.remove_function(&name).await?;
            Reply::Done { message: format!("removed function {name}") }
        }
        Request::Invoke { function, payload, deadline_ms }
        | Request::InvokeStreamed { function, payload, deadline_ms, .. } => {
            let deadline = deadline_ms.map(Duration::from_millis);
            let request_id = supervisor.request_ids.draw();
            let Caller { arrived, gone, streams } = caller;
            let asked = Asked { request_id, arrived, deadline, gone, streams };
            let (invocation, kept) =
                supervisor.invocations.invoke(&function, &payload, asked, progress).await?;
            after.kept = Some(kept);
            Reply::Invocation(invocation)
        }
        Request::InvokeAsync { function, payload } => {
            let payload = payload.get().to_owned();
            let id = supervisor.later.enqueue(&function, payload).await?;
            Reply::Accepted(Accepted { id, function })
        }
        Request::Events(request) => supervisor.later.manage_events(request).await?,
        // The connection answers it, because the answer is many frames.
        Request::Logs(_) => return Err(internal("logs are not asked for here")),
        Request::Store(request) => supervisor.upkeep.care(request, progress).await?,
        Request::Explain { function } => {
            Reply::Explanation(supervisor.administration.explain(&function).await?)
        }
        Request::ZygotesExport => Reply::Trees { trees: supervisor.invocations.zygotes.export() },
        Request::ZygotesImport { trees } => {
            let count = supervisor.administration.give_zygotes(&trees).await?;
            Reply::Done { message: format!("starting {count} zygotes") }
        }
        Request::Evict(evict) => Reply::Done { message: supervisor.administration.evict(&evict)? },
    })
}

fn check_name(what: &str, name: &str) -> Result<(), Fault> {
    pipsqueak::name::check(name).map_err(|error| Fault {
        kind: FaultKind::BadInput,
        message: format!("{name:?} cannot name {what}: {error}"),
    })
}
