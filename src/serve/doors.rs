//! Where clients come in: TCP addresses, a Unix socket, and sockets that systemd hands over.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener as StdUnixListener, UnixStream as StdUnixStream};
use std::path::{Path, PathBuf};

use listenfd::ListenFd;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

/// Connections that the kernel keeps until they are accepted.
const BACKLOG: i32 = 1_024;
/// Who may connect to the Unix socket: owner and group.
const SOCKET_MODE: u32 = 0o660;

/// A place to listen at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A TCP address.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
    /// A socket that systemd handed over, by number.
    Handed(usize),
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(formatter),
            Self::Unix(path) => path.display().fmt(formatter),
            Self::Handed(number) => write!(formatter, "socket {number} of systemd"),
        }
    }
}

/// A listener that is bound and not yet used.
#[derive(Debug)]
pub(super) enum Bound {
    Tcp(std::net::TcpListener),
    Unix(StdUnixListener),
}

/// A listener in use.
#[derive(Debug)]
pub(super) enum Door {
    Tcp(TcpListener),
    Unix { listener: UnixListener, remove: Option<PathBuf> },
}

/// A client that came in.
#[derive(Debug)]
pub(super) enum Caller {
    Tcp(TcpStream, IpAddr),
    Unix(UnixStream),
}

/// Binds a place.
pub(super) fn bind_place(place: &Place) -> io::Result<Bound> {
    match place {
        Place::Tcp(address) => bind_tcp(*address).map(Bound::Tcp),
        Place::Unix(path) => bind_unix(path).map(Bound::Unix),
        Place::Handed(_) => Err(io::Error::other("systemd hands sockets over at the start only")),
    }
}

fn bind_tcp(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        // Else [::] would take IPv4 too, and listening on 0.0.0.0 beside it would fail.
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    bind(&socket, &address)?;
    listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

fn bind_unix(path: &Path) -> io::Result<StdUnixListener> {
    clear_stale(path)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    bind(&socket, &rustix::net::SocketAddrUnix::new(path)?)?;
    // Before it listens: until then nobody can connect, whatever the mode.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(SOCKET_MODE))?;
    listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

/// Removes a socket that nobody listens on any more: a process that was killed leaves it behind.
fn clear_stale(path: &Path) -> io::Result<()> {
    let Ok(metadata) = std::fs::symlink_metadata(path) else { return Ok(()) };
    if !metadata.file_type().is_socket() {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "there is something else than a socket",
        ));
    }
    match StdUnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path)
        }
        Err(error) => Err(error),
        Ok(_) => Err(io::ErrorKind::AddrInUse.into()),
    }
}

/// The sockets that systemd handed over. They can be taken once in the life of a process.
pub(super) fn handed_over() -> Vec<(Place, io::Result<Bound>)> {
    let mut handed = ListenFd::from_env();
    (0..handed.len())
        .map(|number| {
            let bound = match handed.take_unix_listener(number) {
                Ok(Some(listener)) => Ok(Bound::Unix(listener)),
                _ => handed.take_tcp_listener(number).and_then(|listener| {
                    listener.map(Bound::Tcp).ok_or_else(|| io::ErrorKind::NotFound.into())
                }),
            };
            (Place::Handed(number), bound)
        })
        .collect()
}

impl Door {
    /// Begins to use a listener; needs the server's runtime.
    pub(super) fn open(bound: Bound, place: &Place) -> io::Result<Self> {
        Ok(match bound {
            Bound::Tcp(listener) => {
                listener.set_nonblocking(true)?;
                Self::Tcp(TcpListener::from_std(listener)?)
            }
            Bound::Unix(listener) => {
                listener.set_nonblocking(true)?;
                let remove = match place {
                    Place::Unix(path) => Some(path.clone()),
                    _ => None,
                };
                Self::Unix { listener: UnixListener::from_std(listener)?, remove }
            }
        })
    }

    /// The address that it got: the port may have been chosen by the kernel.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            Self::Unix { .. } => None,
        }
    }

    /// Waits for the next client.
    pub(super) async fn next(&self) -> io::Result<Caller> {
        match self {
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                // Answers are written whole: there is nothing to wait for.
                stream.set_nodelay(true)?;
                Ok(Caller::Tcp(stream, address.ip().to_canonical()))
            }
            Self::Unix { listener, .. } => Ok(Caller::Unix(listener.accept().await?.0)),
        }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        if let Self::Unix { remove: Some(path), .. } = self {
            let _ = std::fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_socket_is_replaced_and_a_living_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("http.sock");
        drop(bind_unix(&path).unwrap());
        assert!(path.exists(), "a killed process leaves its socket");
        let living = bind_unix(&path).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, SOCKET_MODE);
        assert_eq!(bind_unix(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(living);
        let file = folder.path().join("file");
        std::fs::File::create(&file).unwrap();
        assert_eq!(bind_unix(&file).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert!(file.exists());
    }

    #[test]
    fn both_families_listen_on_one_port() {
        let four = bind_tcp("0.0.0.0:0".parse().unwrap()).unwrap();
        let port = four.local_addr().unwrap().port();
        match bind_tcp(SocketAddr::new("::".parse().unwrap(), port)) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::Unsupported, "{error}"),
        }
    }
}
