//! An image FROM scratch that holds one static binary, made without an engine, and pushed or written to a file. The same
//! binary gives the same bytes everywhere, so that it is pushed once.

use super::{
    Error, Transport,
    registry::{OCI_MANIFEST, Registry},
};
use crate::values::{Digest, ImageRef, Repository, Tag};
use flate2::{Compression, write::GzEncoder};
use serde_json::json;
use std::{
    collections::BTreeSet,
    io::{self, Write},
    path::{Path, PathBuf},
};

/// The media types of what an image is made of (OCI image specification).
const IMAGE_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const IMAGE_LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// Where the binary lies in the image, and what is started.
const BINARY: &str = "gitops-hooks";

/// A user without a name or rights: `nonroot` of the distroless images.
const USER: &str = "65532:65532";

/// A file of the image beside the binary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtraFile {
    /// Its path from the image's root, without a leading slash.
    pub path: String,
    /// What it holds.
    pub bytes: Vec<u8>,
    /// Its permissions, such as `0o644`.
    pub mode: u32,
}

/// Pushes an image of one static binary at `/gitops-hooks`, which is also its entry point, for `os/architecture`.
///
/// Where `tag` already names another image it is left alone, and the image gets `<tag>-<first digits of its digest>`.
///
/// # Errors
/// The binary cannot be read; or what the registry answers.
pub async fn push_binary(
    repository: &Repository,
    transport: Transport,
    tag: &Tag,
    binary: &Path,
    platform: &str,
    extra_files: &[ExtraFile],
) -> Result<ImageRef, Error> {
    let parts = make(binary, platform, extra_files).await?;
    let registry = Registry::open(repository, transport).await?;
    let digest = Digest::of(&parts.manifest);
    let named = |tag: Tag| ImageRef { repository: repository.clone(), tag: Some(tag), digest: Some(digest.clone()) };

    let mut tag = tag.clone();
    for _ in 0..2 {
        match registry.digest(&tag).await? {
            Some(existing) if existing == digest => return Ok(named(tag)),
            Some(_) => {
                let other = format!("{:.100}-{}", tag.as_str(), digest.short());
                tag = other.parse().unwrap_or(tag);
            }
            None => break,
        }
    }
    registry.log_in().await?;
    registry.put_blob(parts.layer).await?;
    registry.put_blob(parts.config).await?;
    let there = registry.put_new(&tag, parts.manifest).await?;
    Ok(ImageRef { digest: Some(there), ..named(tag) })
}

/// Writes the same image into a file, which `docker load`, `ctr images import` and `skopeo` read: an OCI layout as a tar, with
/// the list that engines from before OCI layouts ask for.
///
/// # Errors
/// The binary cannot be read, or the file cannot be written.
pub async fn save_binary(to: &Path, name: &ImageRef, binary: &Path, platform: &str) -> Result<(), Error> {
    let parts = make(binary, platform, &[]).await?;
    let archive = archive(&parts, name).and_then(|bytes| std::fs::write(to, bytes));
    archive.map_err(|source| Error::File { path: to.display().to_string(), source })
}

/// An OCI image layout (image-layout.md of the OCI image specification) as `docker save` writes it.
fn archive(Parts { layer, config, manifest }: &Parts, name: &ImageRef) -> io::Result<Vec<u8>> {
    let tag = name.tag.as_ref().map_or("latest", Tag::as_str);
    let blob = |bytes: &[u8]| format!("blobs/sha256/{}", Digest::of(bytes).hex());
    let index = json!({
        "schemaVersion": 2,
        "manifests": [{
            "mediaType": OCI_MANIFEST,
            "digest": Digest::of(manifest),
            "size": manifest.len(),
            "annotations": {
                // In full: a node keeps what it imports under this very name, and finds no other.
                "io.containerd.image.name": format!("{}/{}:{tag}", name.repository.registry(), name.repository.path()),
                "org.opencontainers.image.ref.name": tag,
            },
        }],
    });
    let list = json!([{ "Config": blob(config), "RepoTags": [name.to_string()], "Layers": [blob(layer)] }]);
    let file = |path: String, bytes: &[u8]| ExtraFile { path, bytes: bytes.to_vec(), mode: 0o644 };
    tarred(&[
        file(blob(layer), layer),
        file(blob(config), config),
        file(blob(manifest), manifest),
        file("index.json".to_owned(), &serde_json::to_vec(&index)?),
        file("manifest.json".to_owned(), &serde_json::to_vec(&list)?),
        file("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#),
    ])
}

/// The three things that make an image.
#[derive(Debug, PartialEq, Eq)]
struct Parts {
    layer: Vec<u8>,
    config: Vec<u8>,
    manifest: Vec<u8>,
}

async fn make(binary: &Path, platform: &str, extra_files: &[ExtraFile]) -> Result<Parts, Error> {
    let path: PathBuf = binary.to_owned();
    let shown = path.display().to_string();
    let (files, platform) = (extra_files.to_vec(), platform.to_owned());
    // Reading, packing and hashing some 20 MB would hold up everything else on this thread.
    let made = tokio::task::spawn_blocking(move || {
        let mut files = files;
        files.push(ExtraFile { path: BINARY.to_owned(), bytes: std::fs::read(path)?, mode: 0o755 });
        pack(&files, &platform)
    });
    let made = made.await.unwrap_or_else(|error| Err(io::Error::other(error)));
    made.map_err(|source| Error::File { path: shown, source })
}

fn pack(files: &[ExtraFile], platform: &str) -> io::Result<Parts> {
    let tar = tarred(files)?;
    let mut parts = platform.split('/');
    let (os, architecture) = (parts.next().unwrap_or("linux"), parts.next().unwrap_or("amd64"));
    let mut config = json!({
        "architecture": architecture,
        "os": os,
        "config": { "User": USER, "Entrypoint": [format!("/{BINARY}")], "WorkingDir": "/" },
        "rootfs": { "type": "layers", "diff_ids": [Digest::of(&tar)] },
        "history": [{ "created_by": "gitops-hooks cluster install" }],
    });
    if let Some(variant) = parts.next() {
        config["variant"] = variant.into();
    }
    let config = serde_json::to_vec(&config)?;
    let mut layer = GzEncoder::new(Vec::new(), Compression::default());
    layer.write_all(&tar)?;
    let layer = layer.finish()?;
    let manifest = serde_json::to_vec(&json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": { "mediaType": IMAGE_CONFIG, "digest": Digest::of(&config), "size": config.len() },
        "layers": [{ "mediaType": IMAGE_LAYER, "digest": Digest::of(&layer), "size": layer.len() }],
    }))?;
    Ok(Parts { layer, config, manifest })
}

/// A tar of the files in the order of their paths, folders before what they hold, all of it at time 0 and owned by root.
fn tarred(files: &[ExtraFile]) -> io::Result<Vec<u8>> {
    let mut sorted: Vec<&ExtraFile> = files.iter().collect();
    sorted.sort_by(|a, b| a.path.cmp(&b.path));
    let mut tar = tar::Builder::new(Vec::new());
    let mut folders = BTreeSet::new();
    for file in sorted {
        for (end, _) in file.path.match_indices('/') {
            let folder = &file.path[..=end];
            if folders.insert(folder) {
                let mut header = header(tar::EntryType::Directory, 0o755, 0);
                tar.append_data(&mut header, folder, io::empty())?;
            }
        }
        let mut header = header(tar::EntryType::Regular, file.mode, file.bytes.len() as u64);
        tar.append_data(&mut header, &file.path, file.bytes.as_slice())?;
    }
    tar.into_inner()
}

/// A header that says nothing about who made it, or when.
pub(super) fn header(kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, bytes: &[u8], mode: u32) -> ExtraFile {
        ExtraFile { path: path.to_owned(), bytes: bytes.to_vec(), mode }
    }

    #[test]
    fn the_same_files_are_the_same_image_in_any_order() {
        let files = [file("gitops-hooks", b"elf", 0o755), file("etc/ssl/certs/ca.pem", b"pem", 0o644)];
        let mut turned = files.clone();
        turned.reverse();
        let made = pack(&files, "linux/arm64").unwrap();
        assert_eq!(made, pack(&turned, "linux/arm64").unwrap());
        assert_ne!(made.config, pack(&files, "linux/amd64").unwrap().config);

        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(made.layer.as_slice()));
        let entries: Vec<_> = archive
            .entries()
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                (
                    entry.path().unwrap().display().to_string(),
                    entry.header().mode().unwrap(),
                    entry.header().mtime().unwrap(),
                )
            })
            .collect();
        assert_eq!(
            entries,
            [
                ("etc/".to_owned(), 0o755, 0),
                ("etc/ssl/".to_owned(), 0o755, 0),
                ("etc/ssl/certs/".to_owned(), 0o755, 0),
                ("etc/ssl/certs/ca.pem".to_owned(), 0o644, 0),
                ("gitops-hooks".to_owned(), 0o755, 0),
            ]
        );
    }

    #[test]
    fn an_archive_names_its_image_as_nodes_and_engines_look_for_it() {
        let made = pack(&[file("gitops-hooks", b"elf", 0o755)], "linux/amd64").unwrap();
        for (written, in_full) in [
            ("gitops-hooks:v1", "docker.io/library/gitops-hooks:v1"),
            ("r.example.com:5000/team/gitops-hooks:v1", "r.example.com:5000/team/gitops-hooks:v1"),
        ] {
            let bytes = archive(&made, &written.parse().unwrap()).unwrap();
            let mut files = std::collections::BTreeMap::new();
            for entry in tar::Archive::new(bytes.as_slice()).entries().unwrap() {
                let mut entry = entry.unwrap();
                let path = entry.path().unwrap().display().to_string();
                let mut bytes = Vec::new();
                std::io::copy(&mut entry, &mut bytes).unwrap();
                files.insert(path, bytes);
            }
            let json = |path: &str| serde_json::from_slice::<serde_json::Value>(&files[path]).unwrap();
            let (index, list) = (json("index.json"), json("manifest.json"));
            assert_eq!(index["manifests"][0]["annotations"]["io.containerd.image.name"], in_full);
            assert_eq!(list[0]["RepoTags"], json!([written]));
            let digest = index["manifests"][0]["digest"].as_str().unwrap().replace(':', "/");
            assert_eq!(files[&format!("blobs/{digest}")], made.manifest);
        }
    }

    #[test]
    fn the_configuration_names_user_entry_point_and_platform() {
        let made = pack(&[file("gitops-hooks", b"elf", 0o755)], "linux/arm/v7").unwrap();
        let config: serde_json::Value = serde_json::from_slice(&made.config).unwrap();
        assert_eq!(config["config"]["Entrypoint"], json!(["/gitops-hooks"]));
        assert_eq!(config["config"]["User"], "65532:65532");
        assert_eq!(
            (&config["os"], &config["architecture"], &config["variant"]),
            (&json!("linux"), &json!("arm"), &json!("v7"))
        );
        let mut tar = Vec::new();
        std::io::copy(&mut flate2::read::GzDecoder::new(made.layer.as_slice()), &mut tar).unwrap();
        assert_eq!(config["rootfs"]["diff_ids"][0], Digest::of(&tar).as_str());
    }
}
