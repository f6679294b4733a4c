//! A proxy that leads one client to a server on this host.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread::{JoinHandle, spawn};

/// Answers one CONNECT, whatever it names, and passes bytes on in both directions.
pub(crate) struct Proxy {
    pub(crate) url: String,
    served: JoinHandle<String>,
}

impl Proxy {
    /// Leads to this port of this host.
    pub(crate) fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://127.0.0.1:{}", listener.local_addr().unwrap().port());
        let served = spawn(move || {
            let (mut client, _) = listener.accept().unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                client.read_exact(&mut byte).unwrap();
                head.push(byte[0]);
            }
            let mut upstream = TcpStream::connect(("127.0.0.1", port)).unwrap();
            client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
            let (mut back, mut forth) =
                (upstream.try_clone().unwrap(), client.try_clone().unwrap());
            let copying = spawn(move || _ = std::io::copy(&mut back, &mut forth));
            _ = std::io::copy(&mut client, &mut upstream);
            _ = upstream.shutdown(Shutdown::Both);
            copying.join().unwrap();
            String::from_utf8(head).unwrap()
        });
        Self { url, served }
    }

    /// The head of the request that it was sent.
    pub(crate) fn asked(self) -> String {
        self.served.join().unwrap()
    }
}
