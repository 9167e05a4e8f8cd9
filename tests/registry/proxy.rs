//! A proxy of the tests' own in front of a real registry, for what a real one cannot be told to do: to be overloaded, to be
//! cut off, to answer like a hotel, to keep its tags, to hand out tokens that run out. Everything else it passes on.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Asked {
    pub method: String,
    /// The path with its query.
    pub path: String,
    pub authorization: Option<String>,
    pub length: usize,
    pub at: Instant,
    /// How many of its body's bytes were passed on.
    pub passed: usize,
}

impl Asked {
    pub fn is(&self, method: &str, part: &str) -> bool {
        self.method == method && self.path.contains(part)
    }
}

/// What becomes of a request.
pub enum Fate {
    Pass,
    /// An answer in place of the registry's.
    Answer {
        status: u16,
        headers: Vec<(&'static str, String)>,
        body: String,
    },
    /// So many bytes of the body are passed on, then both connections end.
    CutAfter(usize),
}

impl Fate {
    pub fn status(status: u16) -> Self {
        Self::answer(status, &[], "")
    }

    pub fn answer(status: u16, headers: &[(&'static str, &str)], body: &str) -> Self {
        let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        Self::Answer { status, headers, body: body.to_owned() }
    }
}

pub struct Proxy {
    /// `127.0.0.1:PORT`.
    pub address: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Proxy {
    /// In front of a registry; `decide` is asked about each request with the number of those before it that were alike in
    /// method and path.
    pub fn to(registry: &str, decide: impl Fn(&Asked, usize) -> Fate + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (decide, log, registry) = (Arc::new(decide), Arc::clone(&asked), registry.to_owned());
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let (decide, log, registry) = (Arc::clone(&decide), Arc::clone(&log), registry.clone());
                std::thread::spawn(move || serve(client, &registry, &*decide, &log));
            }
        });
        Self { address, asked }
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    pub fn count(&self, method: &str, part: &str) -> usize {
        self.asked().iter().filter(|asked| asked.is(method, part)).count()
    }
}

/// One request on a connection; the answer says that there is no other.
fn serve(
    client: TcpStream,
    registry: &str,
    decide: &(dyn Fn(&Asked, usize) -> Fate + Send + Sync),
    log: &Mutex<Vec<Asked>>,
) -> Option<()> {
    let mut from = BufReader::new(client.try_clone().ok()?);
    let mut head = Vec::new();
    // An engine tries TLS first; a server without it answers so, and the engine goes on without.
    if from.fill_buf().ok()?.first() == Some(&0x16) {
        let mut client = client;
        return client.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n").ok();
    }
    loop {
        let mut line = Vec::new();
        if from.read_until(b'\n', &mut line).ok()? == 0 {
            return None;
        }
        if line == b"\r\n" {
            break;
        }
        head.push(String::from_utf8(line).ok()?.trim_end().to_owned());
    }
    let mut words = head.first()?.split(' ');
    let header = |name: &str| {
        let found = head.iter().skip(1).filter_map(|line| line.split_once(':'));
        found.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned()).next()
    };
    let asked = Asked {
        method: words.next()?.to_owned(),
        path: words.next()?.to_owned(),
        authorization: header("authorization"),
        length: header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0),
        at: Instant::now(),
        passed: 0,
    };
    let (place, before) = {
        let mut log = log.lock().unwrap();
        let before = log.iter().filter(|other| other.method == asked.method && other.path == asked.path).count();
        log.push(asked.clone());
        (log.len() - 1, before)
    };
    let fate = decide(&asked, before);
    let limit = match fate {
        Fate::Pass => usize::MAX,
        Fate::CutAfter(bytes) => bytes,
        Fate::Answer { status, headers, body } => {
            // Whoever is still sending must be heard out, or it sees a reset instead of the answer.
            let mut rest = asked.length;
            let mut piece = [0; 16 << 10];
            while rest > 0 {
                let most = piece.len().min(rest);
                let length = from.read(&mut piece[..most]).ok().filter(|length| *length > 0)?;
                rest -= length;
            }
            let mut answer = format!("HTTP/1.1 {status} So\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
            for (name, value) in headers {
                answer.extend([name, ": ", &value, "\r\n"]);
            }
            let mut client = client;
            let body = if asked.method == "HEAD" { "" } else { &body };
            client.write_all(format!("{answer}\r\n{body}").as_bytes()).ok()?;
            client.shutdown(Shutdown::Write).ok()?;
            return Some(());
        }
    };
    let mut server = TcpStream::connect(registry).ok()?;
    let kept = head.iter().filter(|line| !line.to_ascii_lowercase().starts_with("connection:"));
    let head: String = kept.flat_map(|line| [line.as_str(), "\r\n"]).collect();
    server.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes()).ok()?;
    let chunked = header_is_chunked(&head);
    let (mut back, mut to) = (server.try_clone().ok()?, client.try_clone().ok()?);
    let answering = std::thread::spawn(move || {
        let _ = std::io::copy(&mut back, &mut to);
        let _ = to.shutdown(Shutdown::Both);
    });
    let passed = AtomicUsize::new(0);
    let mut piece = [0; 16 << 10];
    while chunked || passed.load(Ordering::Relaxed) < asked.length {
        let Ok(length) = from.read(&mut piece) else { break };
        if length == 0 {
            break;
        }
        let all = passed.fetch_add(length, Ordering::Relaxed) + length;
        log.lock().unwrap()[place].passed = all.min(limit);
        if all > limit {
            let fits = length - (all - limit);
            let _ = server.write_all(&piece[..fits]);
            let _ = server.flush();
            // What was sent is to arrive before the end of it.
            std::thread::sleep(std::time::Duration::from_millis(20));
            let _ = server.shutdown(Shutdown::Both);
            let _ = client.shutdown(Shutdown::Both);
            break;
        }
        if server.write_all(&piece[..length]).is_err() {
            break;
        }
    }
    let _ = answering.join();
    Some(())
}

fn header_is_chunked(head: &str) -> bool {
    head.to_ascii_lowercase().contains("transfer-encoding: chunked")
}
