//! Whether a program can run in an image that holds nothing but it: an ELF file that asks for no dynamic linker. Pure but for
//! reading the file's head.

use super::Error;
use std::{fs::File, io::Read, path::Path};

/// Enough for the ELF header and the program headers behind it.
const HEAD: u64 = 8192;
/// The segment that names the dynamic linker (`elf(5)`).
const PT_INTERP: u32 = 3;

/// What a program runs on, as image platforms write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Platform {
    /// `linux/amd64`
    Amd64,
    /// `linux/arm64`
    Arm64,
}

impl Platform {
    /// Its text.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Amd64 => "linux/amd64",
            Self::Arm64 => "linux/arm64",
        }
    }
}

/// The platform of a static program.
///
/// # Errors
/// [`Error::NotStatic`] with the reason, and a file that cannot be read.
pub fn check_static(path: &Path) -> Result<Platform, Error> {
    let failed = |source| Error::File { path: path.display().to_string(), source };
    let mut head = Vec::new();
    File::open(path).map_err(failed)?.take(HEAD).read_to_end(&mut head).map_err(failed)?;
    inspect(&head).map_err(|reason| Error::NotStatic { reason: format!("{} {reason}", path.display()) })
}

fn inspect(head: &[u8]) -> Result<Platform, &'static str> {
    const NO_ELF: &str = "is no program of Linux";
    const TORN: &str = "is a torn ELF file";
    // 64-bit, little-endian.
    if head.get(..6) != Some(&[0x7f, b'E', b'L', b'F', 2, 1]) {
        return Err(NO_ELF);
    }
    let u16_at = |at: usize| Some(u16::from_le_bytes(head.get(at..at + 2)?.try_into().ok()?));
    let u32_at = |at: usize| Some(u32::from_le_bytes(head.get(at..at + 4)?.try_into().ok()?));
    let platform = match u16_at(18).ok_or(TORN)? {
        62 => Platform::Amd64,
        183 => Platform::Arm64,
        _ => return Err("is built for a machine that images of gitops-hooks do not know"),
    };
    let table = head.get(32..40).and_then(|bytes| bytes.try_into().ok()).map(u64::from_le_bytes).ok_or(TORN)?;
    let table = usize::try_from(table).map_err(|_| TORN)?;
    let size = usize::from(u16_at(54).ok_or(TORN)?);
    let count = usize::from(u16_at(56).ok_or(TORN)?);
    for index in 0..count {
        if u32_at(table.saturating_add(index * size)).ok_or(TORN)? == PT_INTERP {
            return Err("is linked dynamically, and an image FROM scratch has no linker");
        }
    }
    Ok(platform)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elf(machine: u8, segments: &[u8]) -> Vec<u8> {
        let mut head = vec![0; 64 + segments.len() * 56];
        head[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1]);
        head[18] = machine;
        head[32] = 64;
        head[54] = 56;
        head[56] = u8::try_from(segments.len()).unwrap();
        for (index, kind) in segments.iter().enumerate() {
            head[64 + index * 56] = *kind;
        }
        head
    }

    #[test]
    fn a_program_that_needs_a_linker_is_told_from_one_that_does_not() {
        assert_eq!(inspect(&elf(62, &[1, 2, 1])), Ok(Platform::Amd64));
        assert_eq!(inspect(&elf(183, &[1])), Ok(Platform::Arm64));
        assert!(inspect(&elf(62, &[1, 3])).unwrap_err().contains("dynamically"));
        assert!(inspect(&elf(40, &[1])).is_err());
        assert!(inspect(b"#!/bin/sh\n").unwrap_err().contains("no program of Linux"));
        assert!(inspect(&elf(62, &[1, 1])[..100]).is_err());
    }
}
