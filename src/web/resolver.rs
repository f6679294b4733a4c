//! Names of servers, resolved in this process.
//!
//! The program is linked statically, where libc's resolver cannot be relied on; so `/etc/hosts` and `/etc/resolv.conf` are
//! read here, when the first name is asked for.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use hickory_resolver::TokioResolver;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::OnceCell;

/// Resolves as the system is set up.
#[derive(Clone, Default)]
pub struct SystemResolver {
    inner: Arc<OnceCell<TokioResolver>>,
}

/// A name could not be resolved.
type Failure = Box<dyn std::error::Error + Send + Sync>;

impl SystemResolver {
    /// The addresses of a name.
    pub async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, Failure> {
        // RFC 6761: never asked of a server.
        if name == "localhost" || name.ends_with(".localhost") {
            return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
        }
        let resolver = self
            .inner
            .get_or_try_init(|| async {
                let builder = TokioResolver::builder_tokio()
                    .map_err(|error| format!("/etc/resolv.conf cannot be used: {error}"))?;
                builder.build().map_err(|error| error.to_string())
            })
            .await?;
        let found: Vec<IpAddr> = resolver.lookup_ip(name).await?.iter().collect();
        if found.is_empty() { Err(format!("{name} has no address").into()) } else { Ok(found) }
    }
}

impl std::fmt::Debug for SystemResolver {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("SystemResolver")
    }
}

impl Resolve for SystemResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let resolver = self.clone();
        Box::pin(async move {
            let found = resolver.addresses(name.as_str()).await?;
            let addresses: Addrs =
                Box::new(found.into_iter().map(|address| SocketAddr::new(address, 0)));
            Ok(addresses)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn this_host_is_known_without_a_server() {
        let found = SystemResolver::default().addresses("localhost").await.unwrap();
        assert_eq!(found, [IpAddr::from([127, 0, 0, 1]), Ipv6Addr::LOCALHOST.into()]);
    }
}
