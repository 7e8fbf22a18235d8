//! Threads that serve clients' connections, each with an event loop of its own.
//!
//! A call passes from its client to the supervisor, on to the function, and back, and each wakes the
//! next. On a virtual machine a wake-up on another processor costs ten times a switch on the same one.
//! So the supervisor does all work for a connection in one thread, and none of these threads takes
//! another's work: the kernel then places client, thread and function together, and calls of two
//! clients do not meet.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use crate::sync::{Mutex, lock};

/// Most threads. More connections that are busy at once share them.
const MAX_LOOPS: usize = 16;

/// All threads with event loops.
#[derive(Debug)]
pub struct EventLoops {
    loops: Vec<EventLoop>,
    threads: Mutex<Vec<(oneshot::Sender<()>, JoinHandle<()>)>>,
}

#[derive(Debug)]
struct EventLoop {
    handle: Handle,
    /// The number of its references counts the connections.
    connections: Arc<()>,
}

impl EventLoops {
    /// Starts a thread for each processor that this process may use, at most `MAX_LOOPS`.
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

    /// The event loop in which connections are accepted.
    pub fn first(&self) -> &Handle {
        &self.loops[0].handle
    }

    /// Serves a connection in the loop with the fewest; of several such loops, in the one that comes first.
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

    /// Ends the threads, whatever they serve. Blocks.
    pub fn stop(&self) {
        let mut threads = lock(&self.threads);
        for (stop, thread) in threads.drain(..) {
            let _ = stop.send(());
            let _ = thread.join();
        }
    }
}
