//! Acceptance of clients.

use std::sync::Arc;

use tokio::sync::{Semaphore, watch};

use super::connection;
use super::event_loops::EventLoops;
use super::frames;
use super::socket::Socket;
use crate::ending::Ending;
use crate::supervisor::Supervisor;

/// Most connections at once; more wait to be accepted.
const MAX_CONNECTIONS: usize = 4096;

/// Accepts clients, which `loops` serve, until `ending` has a value.
pub async fn serve(
    socket: &mut Socket,
    loops: &EventLoops,
    supervisor: Arc<Supervisor>,
    mut ending: watch::Receiver<Option<Ending>>,
) {
    if let Err(error) = socket.attach() {
        tracing::warn!(%error, "connections are accepted by another thread than serves them");
    }
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let room = Arc::new(Semaphore::new(frames::ROOM));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        tokio::select! {
            () = async { drop(ending.wait_for(Option::is_some).await) } => return,
            accepted = socket.accept() => match accepted {
                Ok(stream) => {
                    let (supervisor, room) = (supervisor.clone(), room.clone());
                    loops.serve(async move {
                        if let Err(error) = connection::serve(stream, &supervisor, &room).await {
                            tracing::debug!(%error, "a client's connection ended");
                        }
                        drop(place);
                    });
                }
                Err(error) => {
                    // Most likely there are no descriptors left; connections that end free some.
                    tracing::warn!(%error, "accepting a client");
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                }
            }
        }
    }
}
