//! The hooks that were there before: kept, and run first with the same arguments, input and environment.

use super::{
    Error,
    places::{Places, is_executable},
    shim,
};
use crate::{git::Repository, values::HookName};
use std::{
    ffi::OsString,
    io::Write,
    process::{Command, Stdio},
};

/// Runs the kept hook, if there is one. It is the user's and git's, so it gets git's environment as it is.
///
/// # Errors
/// [`Error::Kept`] when it ends with an error.
pub fn run_kept(repository: &Repository, hook: HookName, arguments: &[OsString], input: &[u8]) -> Result<(), Error> {
    // The shim of this hook runs the kept one itself, before it decides whether the program is needed.
    if hook == HookName::ReferenceTransaction {
        return Ok(());
    }
    let path = Places::of(repository).kept(hook);
    if !is_executable(&path) || is_ours(&path) {
        return Ok(());
    }
    let failed = |source| Error::file(&path, source);
    let mut child = Command::new(&path).args(arguments).stdin(Stdio::piped()).spawn().map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A hook need not read its input.
        let _ = stdin.write_all(input);
    }
    let status = child.wait().map_err(failed)?;
    if status.success() {
        return Ok(());
    }
    Err(Error::Kept { hook, path: path.display().to_string(), how: status.to_string() })
}

/// Whether somebody put a shim of ours where the kept hook was: it would call us again, and again.
fn is_ours(path: &std::path::Path) -> bool {
    std::fs::read(path).is_ok_and(|bytes| shim::is_ours(&bytes))
}
