//! The volume driver's socket: HTTP from an engine, one question at a time on each connection.

use std::convert::Infallible;
use std::io;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{UnixListener, UnixStream};
use tokio::runtime::Handle;
use tokio::task::{AbortHandle, JoinSet};

use super::claim::Claim;
use super::engine::Engine;
use super::given::Given;
use super::protocol::{self, Answer, failed};

/// Media type of the answers that engines ask for.
const MEDIA_TYPE: &str = "application/vnd.docker.plugins.v1+json";
/// Longest question, in bytes.
const MAX_QUESTION: usize = 1 << 20;
/// Time that a question may take to arrive once it has begun.
const PATIENCE: Duration = Duration::from_secs(30);

/// The socket, served until it is dropped.
#[derive(Debug)]
pub struct Driver {
    task: AbortHandle,
    claim: Claim,
}

impl Driver {
    /// Serves the socket that was claimed. Only root may connect.
    pub fn start(claim: Claim, given: &Arc<Given>, runtime: &Handle) -> io::Result<Self> {
        let _entered = runtime.enter();
        let listener = UnixListener::bind(claim.path())?;
        let task = runtime.spawn(accept(listener, Arc::downgrade(given)));
        Ok(Self { task: task.abort_handle(), claim })
    }

    /// The socket.
    pub fn path(&self) -> &Path {
        self.claim.path()
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: UnixListener, given: Weak<Given>) {
    // Dropped with this task, and the connections with it.
    let mut connections = JoinSet::new();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                connections.spawn(converse(stream, given.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "accepting a container engine");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn converse(stream: UnixStream, given: Weak<Given>) {
    let Ok(peer) = stream.peer_cred() else { return };
    let is_root = peer.uid() == 0;
    let engine = Engine::of(peer.pid().unwrap_or(0));
    let service = service_fn(|request: Request<Incoming>| {
        let (given, engine) = (given.upgrade(), engine.as_ref().ok().cloned());
        async move {
            let answer = match (given, engine) {
                (Some(given), Some(engine)) if is_root => respond(request, given, engine).await,
                (Some(_), _) => failed(403, "only root may ask for volumes"),
                (None, _) => failed(503, "the supervisor is stopping"),
            };
            Ok::<_, Infallible>(encode(&answer))
        }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .header_read_timeout(None)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = served.await {
        tracing::debug!(%error, "a container engine's connection ended");
    }
}

async fn respond(request: Request<Incoming>, given: Arc<Given>, engine: Engine) -> Answer {
    if request.method() != Method::POST {
        return failed(405, "questions are sent with POST");
    }
    let path = request.uri().path().to_owned();
    let body = Limited::new(request.into_body(), MAX_QUESTION).collect();
    let text = match tokio::time::timeout(PATIENCE, body).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) => return failed(400, &format!("unreadable question: {error}")),
        Err(_) => return failed(408, "the question did not arrive whole"),
    };
    // Of its own, so that an engine that goes away does not cut a change off half-way.
    let answered = tokio::task::spawn_blocking(move || {
        let answer = protocol::answer(&given, &path, &text, engine);
        if answer.status != 200 {
            tracing::warn!(path, answer = %answer.body, "a container engine's question failed");
        }
        answer
    });
    answered.await.unwrap_or_else(|error| failed(500, &error.to_string()))
}

fn encode(answer: &Answer) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(answer.body.to_string())));
    *response.status_mut() =
        StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let media_type = hyper::header::HeaderValue::from_static(MEDIA_TYPE);
    response.headers_mut().insert(hyper::header::CONTENT_TYPE, media_type);
    response
}
