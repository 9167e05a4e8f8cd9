//! Images that are in the registry for real, and tiny: a manifest of one empty layer. Two commits with the same sources have
//! the same digest, as two builds of one key do.

use gitops_hooks::values::Digest;
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
};

/// An empty tar.
const LAYER: [u8; 1024] = [0; 1024];

/// Publishes an image under a tag, and gives its digest.
pub fn publish(registry: &str, name: &str, tag: &str, content: &str) -> String {
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux",
        "config": { "Labels": { "content": content } },
        "rootfs": { "type": "layers", "diff_ids": [Digest::of(&LAYER).to_string()] },
    })
    .to_string();
    let blob = |bytes: &[u8], kind: &str| serde_json::json!({ "mediaType": kind, "digest": Digest::of(bytes).to_string(), "size": bytes.len() });
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": blob(config.as_bytes(), "application/vnd.oci.image.config.v1+json"),
        "layers": [blob(&LAYER, "application/vnd.oci.image.layer.v1.tar")],
    })
    .to_string();
    for bytes in [&LAYER[..], config.as_bytes()] {
        let digest = Digest::of(bytes);
        if call(registry, "HEAD", &format!("/v2/{name}/blobs/{digest}"), "", &[]).0 == 200 {
            continue;
        }
        let (status, location) = call(registry, "POST", &format!("/v2/{name}/blobs/uploads/"), "", &[]);
        assert_eq!(status, 202);
        let location = location.unwrap();
        let path = location.find("/v2/").map(|at| &location[at..]).unwrap();
        let sign = if path.contains('?') { '&' } else { '?' };
        let (status, _) =
            call(registry, "PUT", &format!("{path}{sign}digest={digest}"), "application/octet-stream", bytes);
        assert_eq!(status, 201);
    }
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let (status, _) = call(registry, "PUT", &format!("/v2/{name}/manifests/{tag}"), kind, manifest.as_bytes());
    assert_eq!(status, 201);
    Digest::of(manifest.as_bytes()).to_string()
}

/// One request; its status and where the answer leads.
fn call(registry: &str, method: &str, path: &str, kind: &str, body: &[u8]) -> (u16, Option<String>) {
    let mut stream = TcpStream::connect(registry).unwrap();
    let kind = if kind.is_empty() { String::new() } else { format!("Content-Type: {kind}\r\n") };
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {registry}\r\nConnection: close\r\n{kind}Content-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let status = line.split(' ').nth(1).unwrap().parse().unwrap();
    let mut location = None;
    loop {
        line.clear();
        if reader.read_line(&mut line).unwrap() == 0 || line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':').filter(|(name, _)| name.eq_ignore_ascii_case("location")) {
            assert!(!name.is_empty());
            location = Some(value.trim().to_owned());
        }
    }
    let _ = reader.read_to_end(&mut Vec::new());
    (status, location)
}
