use super::{Invalid, serde_as_text};
use std::{fmt, str::FromStr};

/// What an image runs on, as `os/architecture[/variant]` with the names of the OCI image specification, which are Go's. An
/// image for several has commas between them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Platform(Box<str>);

/// The systems and architectures that Go builds for (`go tool dist list`).
const KNOWN: &[(&str, &[&str])] = &[
    ("aix", &["ppc64"]),
    ("android", &["386", "amd64", "arm", "arm64"]),
    ("darwin", &["amd64", "arm64"]),
    ("dragonfly", &["amd64"]),
    ("freebsd", &["386", "amd64", "arm", "arm64", "riscv64"]),
    ("illumos", &["amd64"]),
    ("ios", &["amd64", "arm64"]),
    ("js", &["wasm"]),
    (
        "linux",
        &[
            "386", "amd64", "arm", "arm64", "loong64", "mips", "mips64", "mips64le", "mipsle", "ppc64", "ppc64le",
            "riscv64", "s390x",
        ],
    ),
    ("netbsd", &["386", "amd64", "arm", "arm64"]),
    ("openbsd", &["386", "amd64", "arm", "arm64", "ppc64", "riscv64"]),
    ("plan9", &["386", "amd64", "arm"]),
    ("solaris", &["amd64"]),
    ("wasip1", &["wasm"]),
    ("windows", &["386", "amd64", "arm", "arm64"]),
];
/// The variants of an architecture; where it is not listed it has none.
const VARIANTS: &[(&str, &[&str])] = &[
    ("amd64", &["v1", "v2", "v3", "v4"]),
    ("arm", &["v5", "v6", "v7", "v8"]),
    ("arm64", &["v8", "v9"]),
    ("ppc64le", &["power8", "power9", "power10"]),
    ("riscv64", &["rva20u64", "rva22u64", "rva23u64"]),
];

impl Platform {
    /// Its text, as engines and registries take it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether there is more than one.
    #[must_use]
    pub fn is_several(&self) -> bool {
        self.0.contains(',')
    }

    /// What most clusters' nodes are.
    #[must_use]
    pub fn usual() -> Self {
        Self("linux/amd64".into())
    }
}

impl FromStr for Platform {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let names: Vec<&str> = text.split(',').map(str::trim).collect();
        let expected = "a platform such as linux/amd64, linux/arm64 or linux/arm/v7 (os/architecture[/variant])";
        if names.iter().all(|name| is_known(name)) {
            Ok(Self(names.join(",").into()))
        } else {
            Err(Invalid::new(expected, text))
        }
    }
}

fn is_known(name: &str) -> bool {
    let mut parts = name.splitn(3, '/');
    let (system, architecture, variant) = (parts.next(), parts.next(), parts.next());
    let found = |known: &[(&str, &[&str])], first: Option<&str>, second: &str| {
        known.iter().any(|(name, of_it)| Some(*name) == first && of_it.contains(&second))
    };
    architecture.is_some_and(|architecture| found(KNOWN, system, architecture))
        && variant.is_none_or(|variant| found(VARIANTS, architecture, variant))
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

serde_as_text!(Platform);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_go_and_oci_know_is_a_platform() {
        for text in ["linux/amd64", "linux/arm/v7", "linux/arm64/v8", "windows/amd64", "linux/s390x"] {
            assert_eq!(text.parse::<Platform>().unwrap().as_str(), text);
        }
        assert_eq!("linux/amd64, linux/arm64".parse::<Platform>().unwrap().as_str(), "linux/amd64,linux/arm64");
        for text in [
            "linux/amd64,",
            "linux/potato",
            "linux",
            "amd64",
            "linux/x86_64",
            "linux/arm/v9",
            "linux/amd64/",
            "Linux/amd64",
            "",
        ] {
            assert!(text.parse::<Platform>().is_err(), "{text}");
        }
    }
}
