//! Why a gateway that is configured cannot be used.

use super::fault::ConfigFault;

/// The reason why a connection cannot even be tried.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The configuration is wrong; all faults.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Config(Vec<ConfigFault>),
    /// There are fewer channels.
    #[error("channel {channel} of {channels} (counted from 0)")]
    NoSuchChannel {
        /// The number that was asked for.
        channel: u16,
        /// How many there are.
        channels: u16,
    },
    /// There is no password.
    #[error(transparent)]
    Password(#[from] PasswordError),
}

/// The reason why there is no password.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    /// Neither or both keys are set.
    #[error("give exactly one of password and password_file")]
    NotExactlyOne,
    /// The file cannot be read.
    #[error("password_file cannot be read: {0}")]
    File(#[from] std::io::Error),
}
