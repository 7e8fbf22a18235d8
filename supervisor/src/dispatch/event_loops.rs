//! Threads that serve clients' connections, each with an event loop of its own.
//!
//! A call passes from its client to the supervisor, on to the function, and back by the same way, and
//! each of these wakes the next. From one processor to another that costs ten times what a switch within
//! one does, on a virtual machine. So whatever the supervisor does for a connection it does in one
//! thread, and none of these threads takes another's work: the kernel comes to have client, thread and
//! function beside each other, and calls of two clients do not meet.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use crate::sync::{Mutex, lock};

/// Most of them: more connections that are busy at once share them.
const MAX_LOOPS: usize = 16;

/// All of them.
#[derive(Debug)]
pub struct EventLoops {
    loops: Vec<EventLoop>,
    threads: Mutex<Vec<(oneshot::Sender<()>, JoinHandle<()>)>>,
}

#[derive(Debug)]
struct EventLoop {
    handle: Handle,
    /// Counted by how many there are.
    connections: Arc<()>,
}

impl EventLoops {
    /// Starts one for each processor that this process may use.
    pub fn start() -> io::Result<Self> {
        let count = std::thread::available_parallelism().map_or(1, usize::from).min(MAX_LOOPS);
        let (mut loops, mut threads) = (Vec::new(), Vec::new());
        for number in 0..count {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let handle = runtime.handle().clone();
            let (stop, stopped) = oneshot::channel::<()>();
            let thread = std::thread::Builder::new().name(format!("connections-{number}"));
            let thread = thread.spawn(move || {
                let _ = runtime.block_on(stopped);
                runtime.shutdown_background();
            })?;
            loops.push(EventLoop { handle, connections: Arc::default() });
            threads.push((stop, thread));
        }
        Ok(Self { loops, threads: Mutex::new(threads) })
    }

    /// The one where connections are accepted.
    pub fn first(&self) -> &Handle {
        &self.loops[0].handle
    }

    /// Serves a connection where there are the fewest, and where they are accepted rather than elsewhere.
    pub fn serve(&self, connection: impl Future<Output = ()> + Send + 'static) {
        let least = self.loops.iter().min_by_key(|one| Arc::strong_count(&one.connections));
        if let Some(least) = least {
            let counted = least.connections.clone();
            least.handle.spawn(async move {
                connection.await;
                drop(counted);
            });
        }
    }

    /// Ends them, whatever they serve. Blocks.
    pub fn stop(&self) {
        let mut threads = lock(&self.threads);
        for (stop, thread) in threads.drain(..) {
            let _ = stop.send(());
            let _ = thread.join();
        }
    }
}
