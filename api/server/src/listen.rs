//! Where the API is served: unix sockets for their owner alone, and TCP on loopback without any identity.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use tokio::net::{TcpListener, UnixListener, UnixStream};

/// One place to listen at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A socket file.
    Unix(PathBuf),
    /// A port of the loopback interface.
    Tcp(SocketAddr),
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return match path.len() {
                0 => Err("unix: needs the path of a socket".into()),
                // The kernel's bound on the address, with its closing zero.
                108.. => Err(format!("path of a socket must be shorter than 108 bytes, got {}", path.len())),
                _ => Ok(Self::Unix(path.into())),
            };
        }
        let Some(address) = text.strip_prefix("tcp:") else {
            return Err(format!("must be unix:PATH or tcp:ADDRESS:PORT, got `{text}`"));
        };
        let address: SocketAddr = address
            .parse()
            .map_err(|_| format!("must be an address and a port, as 127.0.0.1:7443, got `{address}`"))?;
        if !address.ip().is_loopback() {
            return Err(format!("TCP without identity is served on loopback only, got `{address}`"));
        }
        Ok(Self::Tcp(address))
    }
}

impl Place {
    /// The address under which a client, or another server on this machine, reaches it.
    pub fn address(&self) -> String {
        match self {
            Self::Unix(path) => {
                let absolute = std::path::absolute(path).unwrap_or_else(|_| path.clone());
                format!("unix:{}", absolute.display())
            }
            Self::Tcp(address) => format!("http://{address}"),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp:{address}"),
        }
    }
}

/// An open listener.
pub enum Listener {
    /// On a socket file.
    Unix(UnixListener),
    /// On a port.
    Tcp(TcpListener),
}

/// Opens a listener. A socket file that nobody answers at is replaced; one that is in use is not.
pub async fn open(place: &Place) -> io::Result<Listener> {
    match place {
        Place::Unix(path) => open_unix(path).await.map(Listener::Unix),
        Place::Tcp(address) => {
            tracing::warn!(%address, "whoever can reach this port on this machine has all rights: it asks for no identity");
            TcpListener::bind(address).await.map(Listener::Tcp)
        }
    }
}

async fn open_unix(path: &Path) -> io::Result<UnixListener> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder)?;
    }
    remove_stale(path).await?;
    // Made under a name of its own and moved into place once only its owner can open it.
    let unready = path.with_extension(format!("{}", std::process::id()));
    let _ = std::fs::remove_file(&unready);
    let listener = UnixListener::bind(&unready)?;
    std::fs::set_permissions(&unready, std::fs::Permissions::from_mode(0o600))?;
    std::fs::rename(&unready, path)?;
    Ok(listener)
}

async fn remove_stale(path: &Path) -> io::Result<()> {
    let kind = match std::fs::symlink_metadata(path) {
        Ok(metadata) => metadata.file_type(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !kind.is_socket() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "it exists and is no socket"));
    }
    if UnixStream::connect(path).await.is_ok() {
        return Err(io::Error::new(io::ErrorKind::AddrInUse, "another process serves there"));
    }
    std::fs::remove_file(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_is_its_owners_alone_and_a_stale_one_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run/api.sock");
        let place: Place = format!("unix:{}", path.display()).parse().unwrap();
        let first = open(&place).await.unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(open(&place).await.err().unwrap().kind(), io::ErrorKind::AddrInUse);
        drop(first);
        let _second = open(&place).await.unwrap();
        UnixStream::connect(&path).await.unwrap();
    }

    #[tokio::test]
    async fn what_is_no_socket_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("precious");
        std::fs::write(&path, "x").unwrap();
        let refused = open(&Place::Unix(path.clone())).await.err().unwrap();
        assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(&path).unwrap(), b"x");
    }

    #[test]
    fn tcp_is_served_on_loopback_alone() {
        for (text, fine) in [
            ("tcp:127.0.0.1:7443", true),
            ("tcp:[::1]:7443", true),
            ("tcp:0.0.0.0:7443", false),
            ("tcp:10.0.0.1:7443", false),
            ("tcp:localhost", false),
            ("unix:/run/x", true),
            ("/run/x", false),
        ] {
            assert_eq!(text.parse::<Place>().is_ok(), fine, "{text}");
        }
    }
}
