//! gitops-hooks: a CI/CD pipeline with no CI server. `docs/design.md` names the rooms and what flows between them.

pub mod check;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod deliver;
pub mod doctor;
pub mod git;
pub mod hook;
pub mod image;
pub mod import;
pub mod manifest;
pub mod page;
pub mod pipeline;
pub mod status;
pub mod sync;
pub mod tls;
pub mod ui;
pub mod values;
pub mod yaml;
