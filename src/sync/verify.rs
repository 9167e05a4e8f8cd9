//! Whether a commit is signed by one of the keys that were given: git's SSH signatures (`gpg.format=ssh`). Only the commit that
//! is applied counts; whoever signs it answers for all that it holds.

use super::Error;
use crate::values::Oid;
use git2::Repository;
use ssh_key::{HashAlg, PublicKey, SshSig};

/// What git signs for (`git-commit(1)`, `ssh-keygen -Y sign -n`).
const NAMESPACE: &str = "git";

/// A line of `authorized_keys`.
///
/// # Errors
/// What is no key.
pub(super) fn key(line: &str) -> Result<PublicKey, String> {
    PublicKey::from_openssh(line).map_err(|error| error.to_string())
}

/// Sees that one of the keys has signed a commit; without keys every commit will do.
///
/// # Errors
/// [`Error::Unsigned`], and a repository that cannot be read.
pub fn commit(repository: &Repository, commit: &Oid, keys: &[String]) -> Result<(), Error> {
    if keys.is_empty() {
        return Ok(());
    }
    let unsigned = |reason: String| Error::Unsigned { commit: commit.short().to_owned(), reason };
    let id = git2::Oid::from_str(commit.as_str())
        .map_err(|error| Error::Repository { reason: error.message().to_owned() })?;
    let Ok((signature, data)) = repository.extract_signature(&id, None) else {
        return Err(unsigned("it is not signed".to_owned()));
    };
    let signature = std::str::from_utf8(&signature).unwrap_or_default();
    let signature =
        SshSig::from_pem(signature).map_err(|_| unsigned("its signature is no SSH signature".to_owned()))?;
    let is_signer = |line: &String| key(line).is_ok_and(|key| key.verify(NAMESPACE, &data, &signature).is_ok());
    if keys.iter().any(is_signer) {
        return Ok(());
    }
    let print = signature.public_key().fingerprint(HashAlg::Sha256);
    let is_known = keys.iter().filter_map(|line| key(line).ok()).any(|key| key.key_data() == signature.public_key());
    Err(unsigned(if is_known {
        format!("its signature by {print} does not fit it")
    } else {
        format!("it is signed by {print}, which is not among the given keys")
    }))
}
