//! One question to a web server: a GET, and what it answers. HTTP/1.0, so that the server closes when it is done and sends
//! nothing in chunks.

use std::io;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The status line is short; a body is looked at as far as this.
const HEAD_BYTES: u64 = 64;
const BODY_BYTES: u64 = 1 << 20;

/// What a server answered.
pub(super) struct Answer {
    pub status: u16,
    /// Its body, where that was wanted.
    pub body: Vec<u8>,
}

/// Asks over a connection.
pub(super) async fn ask(
    mut connection: impl AsyncRead + AsyncWrite + Unpin,
    path: &str,
    body_wanted: bool,
) -> io::Result<Answer> {
    let request = format!(
        "GET {} HTTP/1.0\r\nHost: localhost\r\nUser-Agent: gitops-hooks\r\nAccept: */*\r\n\r\n",
        request_path(path)
    );
    connection.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    let read = (&mut connection).take(if body_wanted { BODY_BYTES } else { HEAD_BYTES }).read_to_end(&mut answer).await;
    // That it broke off after it has answered does not matter.
    read.or_else(|error| if answer.is_empty() { Err(error) } else { Ok(0) })?;
    let status = status(&answer).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
    let head = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").map_or(answer.len(), |at| at + 4);
    Ok(Answer { status, body: answer.split_off(head) })
}

fn status(answer: &[u8]) -> Option<u16> {
    let line = std::str::from_utf8(answer.split(|byte| *byte == b'\r').next()?).ok()?;
    line.strip_prefix("HTTP/")?.split(' ').nth(1)?.parse().ok()
}

/// A path as a request line takes it: with a leading slash, and no space or control character that would end it.
fn request_path(path: &str) -> String {
    use std::fmt::Write;
    let mut written = if path.starts_with('/') { String::new() } else { "/".to_owned() };
    for byte in path.bytes() {
        if byte.is_ascii_graphic() {
            written.push(char::from(byte));
        } else {
            let _ = write!(written, "%{byte:02X}");
        }
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_and_a_path_stays_one() {
        assert_eq!(status(b"HTTP/1.1 204 No Content\r\nX: y\r\n"), Some(204));
        assert_eq!(status(b"SSH-2.0-OpenSSH\r\n"), None);
        assert_eq!(request_path("health check\r\nX: y"), "/health%20check%0D%0AX:%20y");
        assert_eq!(request_path("/a?b=c"), "/a?b=c");
    }
}
