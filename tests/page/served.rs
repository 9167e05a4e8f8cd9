//! `gitops-hooks ui` as a process, and requests to it that no browser would make.

use super::super::context::TestContext;
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Child, Command, Stdio},
    time::Duration,
};

/// A page that is served until this goes away.
pub struct Served {
    pub process: Child,
    /// `http://127.0.0.1:PORT/TOKEN/`
    pub address: String,
}

impl Served {
    pub fn by(context: &TestContext, more: &[&str]) -> Self {
        let mut command = context.command(assert_cmd::cargo::cargo_bin!("gitops-hooks"));
        // No cluster of the user's: what there is belongs to other tests.
        command.env("KUBECONFIG", context.beside("no-kubeconfig"));
        Self::start(command.arg("ui").args(more))
    }

    pub fn start(command: &mut Command) -> Self {
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut address = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut address).unwrap();
        let address = address.trim().to_owned();
        assert!(address.starts_with("http://127.0.0.1:"), "{address:?}");
        Self { process, address }
    }

    pub fn host(&self) -> &str {
        self.address.strip_prefix("http://").unwrap().split('/').next().unwrap()
    }

    /// The path with the token, with a slash at both ends.
    pub fn root(&self) -> &str {
        &self.address["http://".len() + self.host().len()..]
    }

    /// A request as these lines say: the status, the head and the body.
    pub fn ask(&self, first: &str, headers: &[&str], body: &str) -> (u16, String, String) {
        let mut stream = TcpStream::connect(self.host()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut request = format!("{first} HTTP/1.1\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
        for header in headers {
            request.extend([header, "\r\n"]);
        }
        write!(stream, "{request}\r\n{body}").unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), head.to_lowercase(), body.to_owned())
    }

    /// A page below the root, as its own browser asks for it.
    pub fn get(&self, path: &str) -> (u16, String) {
        let (status, _, body) =
            self.ask(&format!("GET {}{path}", self.root()), &[&format!("Host: {}", self.host())], "");
        (status, body)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
