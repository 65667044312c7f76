//! The cable between everybody and the relay: a TCP proxy that can be pulled. While it is, bytes wait, and nobody is told.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

/// A proxy before one address.
pub(super) struct Cable {
    pub(super) port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    target: String,
    carries: Mutex<bool>,
    plugged: Condvar,
    /// Bytes that were carried.
    carried: AtomicU64,
}

impl Shared {
    fn wait(&self) {
        let carries = self.carries.lock().unwrap();
        drop(self.plugged.wait_while(carries, |carries| !*carries).unwrap());
    }
}

impl Cable {
    /// A cable to `target`, plugged in.
    pub(super) fn to(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            target: target.to_owned(),
            carries: Mutex::new(true),
            plugged: Condvar::new(),
            carried: AtomicU64::new(0),
        });
        let serving = Arc::clone(&shared);
        thread::spawn(move || {
            for near in listener.incoming() {
                let shared = Arc::clone(&serving);
                thread::spawn(move || connect(&shared, &near.unwrap()));
            }
        });
        Self { port, shared }
    }

    pub(super) fn pull(&self) {
        *self.shared.carries.lock().unwrap() = false;
    }

    pub(super) fn plug(&self) {
        *self.shared.carries.lock().unwrap() = true;
        self.shared.plugged.notify_all();
    }

    /// How many bytes it has carried, both ways.
    pub(super) fn carried(&self) -> u64 {
        self.shared.carried.load(Ordering::Relaxed)
    }
}

fn connect(shared: &Arc<Shared>, near: &TcpStream) {
    shared.wait();
    let Ok(far) = TcpStream::connect(&shared.target) else { return };
    for socket in [near, &far] {
        socket.set_nodelay(true).unwrap();
    }
    thread::scope(|scope| {
        scope.spawn(|| carry(shared, near, &far));
        carry(shared, &far, near);
    });
}

fn carry(shared: &Shared, mut from: &TcpStream, mut to: &TcpStream) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        shared.wait();
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
        shared.carried.fetch_add(count as u64, Ordering::Relaxed);
    }
    let _gone_already = (to.shutdown(Shutdown::Both), from.shutdown(Shutdown::Both));
}
