//! New settings without a stop, and a stop without a cut.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use crate::support::*;

#[test]
fn places_come_and_go_and_a_bad_one_changes_nothing() {
    let house = House::open("");
    house.show(&lists(1, &[]));
    let first = house.address();
    let reload = |listen: &str| {
        let text = format!("[serve]\nlisten = [{listen}]");
        let config = tagwall::config::Config::parse("test.toml".as_ref(), text).unwrap();
        house.server.reload(&config.serve_settings().unwrap())
    };
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let error =
        reload(&format!("\"127.0.0.1:0\", \"{}\"", taken.local_addr().unwrap())).unwrap_err();
    assert!(error.to_string().contains("the settings before stay in service"), "{error}");
    assert_eq!(house.server.addresses(), [first]);
    assert_eq!(house.get("/healthz", &[]).status, 200);
    // The first place stays open through the reload, the second comes beside it, and then the first goes.
    reload("\"127.0.0.1:0\", \"[::1]:0\"").unwrap();
    assert!(house.server.addresses().contains(&first), "{:?}", house.server.addresses());
    assert_eq!(house.server.addresses().len(), 2);
    reload("\"[::1]:0\"").unwrap();
    eventually("the first place is closed", || TcpStream::connect(first).is_err());
    assert_eq!(house.get("/healthz", &[]).status, 200);
}

#[test]
fn a_place_that_is_taken_is_tried_again() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let house = House::open_at(&address.to_string(), "");
    assert!(house.server.addresses().is_empty());
    assert!(house.server.faults()[0].contains(&address.to_string()), "{:?}", house.server.faults());
    drop(taken);
    eventually("it is listened at", || house.server.addresses() == [address]);
    assert!(house.server.faults().is_empty());
    assert_eq!(house.get("/healthz", &[]).status, 200);
}

#[test]
fn a_stop_lets_a_busy_client_finish_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("http.sock");
    let house = House::open_in(folder, "socket = \"http.sock\"");
    let text = "192.0.2.0/24\n".repeat(200_000);
    house.show(&lists(1, &[("fw", "a.txt", &text)]));
    let address = house.address();
    let mut busy = TcpStream::connect(address).unwrap();
    busy.write_all(b"GET /lists/fw/a.txt HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let mut first = [0; 1_000];
    busy.read_exact(&mut first).unwrap();
    let idle = TcpStream::connect(address).unwrap();
    let House { server, folder, .. } = house;
    let stop = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(server.stop(Duration::from_secs(20)));
    });
    let mut rest = Vec::new();
    busy.read_to_end(&mut rest).unwrap();
    assert!(first.len() + rest.len() > text.len(), "it got all of its list");
    stop.join().unwrap();
    assert!(TcpStream::connect(address).is_err());
    assert!(!socket.exists());
    drop((idle, folder));
}
