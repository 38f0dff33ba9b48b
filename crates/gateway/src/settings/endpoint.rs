//! Keys that every gateway over HTTP has: where the provider is, and how long it is waited for.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;
use serde::Deserialize;

use super::fault::ConfigFault;
use super::tls;

/// Address of a provider, and how it is talked to.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    /// The provider's address, if it is not the usual one: another region, a proxy, a test.
    #[serde(default)]
    pub base_url: Option<String>,
    /// Requests in flight: as many connections are kept while there is work.
    #[serde(default = "Endpoint::default_window")]
    pub window: u16,
    /// Seconds to wait for the answer to a request that was sent. Too short a time makes messages that were taken look lost.
    #[serde(default = "Endpoint::default_response_timeout_s")]
    pub response_timeout_s: u64,
    /// PEM file with the only authorities to trust; without it those of the public web.
    #[serde(default)]
    pub tls_ca_file: Option<PathBuf>,
}

impl Default for Endpoint {
    fn default() -> Self {
        Self {
            base_url: None,
            window: Self::default_window(),
            response_timeout_s: Self::default_response_timeout_s(),
            tls_ca_file: None,
        }
    }
}

impl Endpoint {
    /// The keys, which stand next to those of the type.
    pub(super) const KEYS: [&'static str; 4] = ["base_url", "window", "response_timeout_s", "tls_ca_file"];

    /// 200 requests a second at a round trip of 100 ms, and few enough for any provider.
    const fn default_window() -> u16 {
        20
    }

    /// Well under the minute that a worker holds a message for.
    const fn default_response_timeout_s() -> u64 {
        30
    }

    pub(crate) const fn response_timeout(&self) -> Duration {
        Duration::from_secs(self.response_timeout_s)
    }

    /// The provider's address without a slash at its end. Without TLS secrets and texts travel in the clear, so `http://` is
    /// for providers that are in our own network: always on this machine and in private networks, elsewhere only where
    /// `in_the_clear` says that the provider has nothing else.
    ///
    /// # Errors
    /// A [`ConfigFault`] if there is none, or it is no address, or not `https://` although the provider is not near.
    pub(crate) fn base_url(&self, default: Option<&str>, in_the_clear: bool) -> Result<String, ConfigFault> {
        let fault = |reason: &str| Err(ConfigFault::new("base_url", reason));
        let Some(url) = self.base_url.as_deref().or(default) else {
            return fault("is missing: this provider has no common address");
        };
        if !is_base_url(url) {
            return fault("must be http:// or https:// with a host, without query or fragment");
        }
        if url.starts_with("http://") && !in_the_clear && !is_near(url) {
            return fault("must be https:// for an address outside of private networks");
        }
        Ok(url.trim_end_matches('/').to_owned())
    }

    /// The host in `base_url`.
    pub(crate) fn host(&self) -> Option<&str> {
        let (_, rest) = self.base_url.as_deref()?.split_once("://")?;
        let authority = rest.split_once('/').map_or(rest, |(authority, _)| authority);
        let port = authority.rsplit_once(':').filter(|(_, port)| !port.contains(']'));
        Some(port.map_or(authority, |(host, _)| host))
    }

    pub(crate) fn validate(&self, faults: &mut Vec<ConfigFault>) {
        if !(1..=1_000).contains(&self.window) {
            faults.push(ConfigFault::new("window", "must be 1 to 1000"));
        }
        if !(1..=600).contains(&self.response_timeout_s) {
            faults.push(ConfigFault::new("response_timeout_s", "must be 1 to 600"));
        }
        faults.extend(tls::client_config(self.tls_ca_file.as_deref()).err());
    }
}

/// Whether it is an address to put paths behind. A user name in it would be a secret in an address, so there may be none.
pub(crate) fn is_base_url(url: &str) -> bool {
    // Parsing mends what a signature over the address as it was written would not.
    let plain = url.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#@\\".contains(&byte));
    let scheme = url.starts_with("http://") || url.starts_with("https://");
    plain && scheme && url.parse::<Url>().is_ok_and(|url| url.has_host())
}

fn is_near(url: &str) -> bool {
    let url = url.parse::<Url>().ok();
    let host = url.as_ref().and_then(Url::host_str).unwrap_or_default();
    match host.trim_matches(['[', ']']).parse() {
        Ok(IpAddr::V4(address)) => address.is_loopback() || address.is_private(),
        Ok(IpAddr::V6(address)) => address.is_loopback() || address.is_unique_local(),
        Err(_) => host == "localhost",
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("https://api.example.com:8443/v1", "api.example.com")]
    #[case("http://[::1]:8080", "[::1]")]
    #[case("http://[::1]", "[::1]")]
    fn a_host_is_an_address_without_its_port(#[case] url: &str, #[case] host: &str) {
        let endpoint = Endpoint { base_url: Some(url.to_owned()), ..Endpoint::default() };
        assert_eq!(endpoint.host(), Some(host));
    }

    #[rstest]
    #[case("https://api.example.com/", false, Ok("https://api.example.com"))]
    #[case("https://api.example.com/v1", false, Ok("https://api.example.com/v1"))]
    #[case("http://127.0.0.1:8080", false, Ok("http://127.0.0.1:8080"))]
    #[case("http://[::1]:8080", false, Ok("http://[::1]:8080"))]
    #[case("http://10.0.0.3", false, Ok("http://10.0.0.3"))]
    #[case("http://api.example.com", false, Err("must be https://"))]
    #[case("http://8.8.8.8", false, Err("must be https://"))]
    #[case("http://kannel.example.com", true, Ok("http://kannel.example.com"))]
    #[case("HTTP://8.8.8.8", false, Err("must be http://"))]
    #[case("http:/8.8.8.8", false, Err("must be http://"))]
    #[case("http:\\\\8.8.8.8", false, Err("must be http://"))]
    #[case(" https://api.example.com", false, Err("must be http://"))]
    #[case("https://api.example.com:443/v1/", false, Ok("https://api.example.com:443/v1"))]
    #[case("ftp://api.example.com", true, Err("must be http://"))]
    #[case("api.example.com", true, Err("must be http://"))]
    #[case("https://key@api.example.com", true, Err("must be http://"))]
    #[case("https://api.example.com/?key=1", true, Err("must be http://"))]
    #[case("https://", true, Err("must be http://"))]
    fn an_address_is_https_unless_it_is_near(
        #[case] url: &str,
        #[case] in_the_clear: bool,
        #[case] expected: Result<&str, &str>,
    ) {
        let endpoint = Endpoint { base_url: Some(url.to_owned()), ..Endpoint::default() };
        match (endpoint.base_url(None, in_the_clear), expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected),
            (Err(fault), Err(expected)) => assert!(fault.reason.contains(expected), "{fault}"),
            (found, _) => panic!("{url}: {found:?}"),
        }
    }
}
