//! Participants: the registry. `http` and `http_files` speak HTTP; the rest can be called without it.

pub mod export;
pub mod find;
pub(crate) mod http;
pub(crate) mod http_files;
pub mod import;
pub mod request;
pub mod view;
pub mod write;
