//! A port at which nothing may ask for anything, or which redirects every client.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// A listener that keeps the requests that it hears. Ends when dropped.
pub struct Catcher {
    port: u16,
    heard: Arc<Mutex<Vec<String>>>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Catcher {
    /// Starts a listener whose answers are useless.
    pub fn start() -> Self {
        Self::answering("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    }

    /// Starts a listener that redirects every client to an address.
    pub fn sending_to(address: &str) -> Self {
        Self::answering(&format!(
            "HTTP/1.1 302 Found\r\nLocation: {address}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        ))
    }

    fn answering(answer: &str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (heard, ended) =
            (Arc::<Mutex<Vec<String>>>::default(), Arc::new(AtomicBool::new(false)));
        let (keeps, over, answer) = (heard.clone(), ended.clone(), answer.to_owned());
        let thread = std::thread::spawn(move || {
            while let Ok((mut stream, _)) = listener.accept() {
                if over.load(Ordering::SeqCst) {
                    return;
                }
                stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
                let mut said = vec![0; 8192];
                let bytes = stream.read(&mut said).unwrap_or(0);
                keeps.lock().unwrap().push(String::from_utf8_lossy(&said[..bytes]).into_owned());
                // Who goes away has had enough.
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        Self { port, heard, ended, thread: Some(thread) }
    }

    /// The port, open at every address of this machine.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The requests so far.
    pub fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }
}

impl Drop for Catcher {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        drop(TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
