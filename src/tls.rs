//! The one choice of a cryptography provider. Several crates bring rustls, each would pick its own, and without a choice
//! made first the first TLS connection panics.

/// Makes ring the provider of every TLS connection of this process. Called wherever the first one may be made; cheap.
pub fn choose_provider() {
    // An error only says that somebody chose before, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
