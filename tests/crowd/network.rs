//! A network of the test's own between the laptops and a server: it can be down, and it cuts connections in the middle.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread,
};

/// How one line behaves; shared with its threads.
#[derive(Default)]
pub struct Weather {
    pub down: AtomicBool,
    /// How many of a hundred connections are cut, after how many bytes at most.
    pub cut_percent: AtomicU64,
    pub cuts: AtomicUsize,
    open: Mutex<Vec<TcpStream>>,
    turn: AtomicU64,
}

impl Weather {
    /// Cuts whatever is connected.
    pub fn cut_all(&self) {
        for stream in self.open.lock().unwrap().drain(..) {
            if stream.peer_addr().is_ok() && stream.shutdown(Shutdown::Both).is_ok() {
                self.cuts.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// After how many bytes a new connection is cut, if it is.
    fn fate(&self) -> Option<u64> {
        // Not random, but spread: the golden ratio never repeats itself.
        let turn = self.turn.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        (turn % 100 < self.cut_percent.load(Ordering::Relaxed)).then_some(turn >> 32 & 0x3fff)
    }
}

/// Listens on a port of its own and passes on to `server`.
pub fn line(server: &str, weather: Arc<Weather>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = server.to_owned();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            if weather.down.load(Ordering::Relaxed) {
                continue;
            }
            let Ok(upstream) = TcpStream::connect(&server) else { continue };
            let fate = weather.fate();
            {
                let mut open = weather.open.lock().unwrap();
                open.retain(|stream| stream.peer_addr().is_ok());
                open.extend(client.try_clone());
            }
            for (from, to) in [
                (client.try_clone().unwrap(), upstream.try_clone().unwrap()),
                (upstream.try_clone().unwrap(), client.try_clone().unwrap()),
            ] {
                let weather = Arc::clone(&weather);
                thread::spawn(move || pass(from, to, fate, &weather));
            }
        }
    });
    port
}

fn pass(mut from: TcpStream, mut to: TcpStream, fate: Option<u64>, weather: &Weather) {
    let mut buffer = [0; 8192];
    let mut passed = 0;
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        passed += read as u64;
        if fate.is_some_and(|fate| passed > fate) {
            weather.cuts.fetch_add(1, Ordering::Relaxed);
            let _ = from.shutdown(Shutdown::Both);
            break;
        }
        if to.write_all(&buffer[..read]).is_err() {
            let _ = from.shutdown(Shutdown::Both);
            break;
        }
    }
    let _ = to.shutdown(if fate.is_some_and(|fate| passed > fate) { Shutdown::Both } else { Shutdown::Write });
}
