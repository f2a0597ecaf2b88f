//! The LAN that other tests stand on does what they rely on.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use kinsync_tests::lan::{Host, Lan};

const MDNS: (Ipv4Addr, u16) = (Ipv4Addr::new(224, 0, 0, 251), 5353);

/// A hang ends here. A dial or a datagram between hosts of one machine takes well under a millisecond.
const LIMIT: Duration = Duration::from_secs(10);

/// What a dial into a cut cable waits: it cannot succeed, however long.
const SHORT: Duration = Duration::from_millis(200);

fn dial(from: &Host, to: SocketAddr, limit: Duration) -> std::io::Result<TcpStream> {
    from.run(|| TcpStream::connect_timeout(&to, limit))
}

fn hear_multicast(on: &Host) -> UdpSocket {
    let address = on.address();
    on.run(move || {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, MDNS.1)).unwrap();
        socket.join_multicast_v4(&MDNS.0, &address).unwrap();
        socket.set_read_timeout(Some(LIMIT)).unwrap();
        socket
    })
}

fn next_datagram(socket: &UdpSocket) -> String {
    let mut buffer = [0; 64];
    let (length, _) = socket.recv_from(&mut buffer).unwrap();
    String::from_utf8_lossy(&buffer[..length]).into_owned()
}

#[test]
fn hosts_dial_each_other_until_they_are_cut() {
    let Some(lan) = Lan::new_or_say_why(2) else { return };
    let (laptop, desktop) = (lan.host(0), lan.host(1));
    let listener = desktop.run(|| TcpListener::bind("0.0.0.0:0")).unwrap();
    let to = SocketAddr::from((desktop.address(), listener.local_addr().unwrap().port()));

    let mut dialed = dial(&laptop, to, LIMIT).unwrap();
    let (mut accepted, from) = listener.accept().unwrap();
    assert_eq!(from.ip(), laptop.address());
    dialed.write_all(b"hello").unwrap();
    accepted.read_exact(&mut [0; 5]).unwrap();

    lan.cut(1);
    dial(&laptop, to, SHORT).unwrap_err();
    lan.heal(1);
    dial(&laptop, to, LIMIT).unwrap();
    lan.unplug(1);
    dial(&laptop, to, SHORT).unwrap_err();

    let elsewhere = SocketAddr::from(([192, 0, 2, 1], to.port()));
    dial(&laptop, elsewhere, LIMIT).expect_err("there is no way out of the LAN");
    TcpStream::connect_timeout(&to, SHORT).expect_err("there is no way in");
}

#[test]
fn multicast_reaches_every_host_until_it_is_blocked() {
    let Some(lan) = Lan::new_or_say_why(3) else { return };
    let (laptop, desktop, phone) = (lan.host(0), lan.host(1), lan.host(2));
    let sender = laptop.run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))).unwrap();
    let receivers = [hear_multicast(&desktop), hear_multicast(&phone)];

    sender.send_to(b"first", MDNS).unwrap();
    for receiver in &receivers {
        assert_eq!(next_datagram(receiver), "first");
    }

    // Had the second one not been blocked, it would come before the third.
    lan.block_multicast();
    sender.send_to(b"second", MDNS).unwrap();
    for (receiver, host) in receivers.iter().zip([&desktop, &phone]) {
        sender.send_to(b"third", (host.address(), MDNS.1)).unwrap();
        assert_eq!(next_datagram(receiver), "third");
    }

    lan.allow_multicast();
    sender.send_to(b"fourth", MDNS).unwrap();
    for receiver in &receivers {
        assert_eq!(next_datagram(receiver), "fourth");
    }
}

#[test]
fn a_program_runs_on_its_host_and_ends_with_the_test() {
    let Some(lan) = Lan::new_or_say_why(1) else { return };
    let mut show = std::process::Command::new("ip");
    let shown = lan.host(0).output(show.args(["-brief", "address", "show", "eth0"])).unwrap();
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("10.77.1.1/24"), "{shown}");

    let running = lan.host(0).start(std::process::Command::new("sleep").arg("600")).unwrap();
    let process = format!("/proc/{}", running.0.id());
    assert!(std::path::Path::new(&process).exists());
    drop(running);
    assert!(!std::path::Path::new(&process).exists());
}
