use std::net::TcpListener;

use super::*;

fn own_pid() -> i32 {
    std::process::id().cast_signed()
}

fn stranger() -> Found {
    let name = fs::read_to_string("/proc/self/comm").unwrap().trim_end().to_owned();
    Found::Stranger(Holder { name, pid: own_pid() })
}

fn fixed(number: u16) -> TaskPort {
    TaskPort { number, assigned: false }
}

fn assigned(number: u16) -> TaskPort {
    TaskPort { number, assigned: true }
}

/// Who is found at a listener's port, by a Task of these processes.
fn seen(listener: &TcpListener, own: &[i32]) -> [Found; 2] {
    let address = listener.local_addr().unwrap();
    let listeners = Listeners::read();
    let sockets = [listeners.answering(address), listeners.in_the_way(fixed(address.port()))];
    sockets.map(|sockets| find(&sockets, || Some(own.iter().copied().collect())))
}

#[test]
fn a_process_outside_the_task_is_a_stranger_on_its_port_and_one_of_the_task_is_not() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let listener = TcpListener::bind(address).unwrap();
        assert_eq!(seen(&listener, &[]), [stranger(), stranger()], "{address}");
        assert_eq!(seen(&listener, &[1]), [stranger(), stranger()], "{address}");
        for found in seen(&listener, &[1, own_pid()]) {
            assert!(matches!(found, Found::Own(_)), "{address}: {found:?}");
        }
    }
}

#[test]
fn a_port_on_which_nobody_listens_has_no_holder() {
    // Bound and connected sockets do not listen.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let connection = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let address = connection.local_addr().unwrap();
    let listeners = Listeners::read();
    assert_eq!(listeners.answering(address), BTreeSet::new());
    assert_eq!(listeners.in_the_way(assigned(address.port())), BTreeSet::new());
    assert_eq!(find(&BTreeSet::new(), || panic!("there is nobody to look for")), Found::Nobody);
}

#[test]
fn who_cannot_be_looked_at_is_not_accused() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let sockets = Listeners::read().answering(listener.local_addr().unwrap());
    assert_eq!(find(&sockets, || None), Found::Nobody);
    assert_eq!(find(&BTreeSet::from([u64::MAX]), || Some(BTreeSet::new())), Found::Nobody);
}

#[test]
fn a_process_that_the_task_started_during_the_search_is_its_own() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let sockets = Listeners::read().answering(listener.local_addr().unwrap());
    let looks = std::cell::Cell::new(0);
    let own = || {
        looks.set(looks.get() + 1);
        Some(if looks.get() == 1 { BTreeSet::new() } else { BTreeSet::from([own_pid()]) })
    };
    assert!(matches!(find(&sockets, own), Found::Own(_)));
}

const TCP: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 11 1 0 100 0 0 10 0
   1: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 12 1 0 100 0 0 10 0
   2: 3500007F:0035 00000000:0000 0A 00000000:00000000 00:00000000 00000000   101        0 13 1 0 100 0 0 10 0
   3: 00000000:1F91 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 14 1 0 100 0 0 10 0
   4: 00000000:1F91 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 15 1 0 100 0 0 10 0
   5: 0100007F:1F90 0100007F:BCE0 01 00000000:00000000 03:00000406 00000000     0        0 16 3 0
";
const TCP6: &str = "\
  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000000000000000000000000000:1F90 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 21 1 0 100 0 0 10 0
   1: 00000000000000000000000001000000:1F92 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 22 1 0 100 0 0 10 0
   2: 0000000000000000FFFF00000100007F:1F93 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 23 1 0 100 0 0 10 0
";

fn listeners() -> Listeners {
    let dir = tempfile::tempdir().unwrap();
    let read = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        read_table(&path)
    };
    Listeners([read("tcp", TCP), read("tcp6", TCP6)].concat())
}

#[test]
#[cfg(target_endian = "little")]
fn a_connection_goes_to_the_very_address_first_and_then_to_all_addresses() {
    let table: [(&str, &[u64]); 9] = [
        ("127.0.0.1:8080", &[11]),
        ("127.0.0.2:8080", &[12]),
        ("[::1]:8080", &[21]),
        ("127.0.0.1:8081", &[14, 15]),
        ("[::1]:8081", &[]),
        ("[::1]:8082", &[22]),
        ("127.0.0.1:8082", &[]),
        ("127.0.0.1:8083", &[23]),
        ("127.0.0.1:53", &[]),
    ];
    for (asked, expected) in table {
        assert_eq!(
            listeners().answering(asked.parse().unwrap()),
            expected.iter().copied().collect(),
            "{asked}"
        );
    }
}

#[test]
#[cfg(target_endian = "little")]
fn a_fixed_port_is_free_where_only_another_address_listens_and_an_assigned_one_is_not() {
    let table: [(TaskPort, &[u64]); 5] = [
        (fixed(8080), &[11, 12, 21]),
        (fixed(8082), &[22]),
        (fixed(8084), &[]),
        (fixed(53), &[]),
        (assigned(53), &[13]),
    ];
    for (port, expected) in table {
        assert_eq!(listeners().in_the_way(port), expected.iter().copied().collect(), "{port:?}");
    }
}

#[test]
fn an_own_socket_is_known_by_its_task_and_port_until_the_task_is_forgotten() {
    let (one, two) = (TaskUid::parse(&"1".repeat(32)).unwrap(), TaskUid::parse(&"2".repeat(32)).unwrap());
    let own = OwnSockets::default();
    own.remember(&one, 80, 7);
    own.remember(&one, 81, 8);
    let knows = |task: &TaskUid, port, sockets: &[u64]| {
        own.include_one(task, port, &sockets.iter().copied().collect())
    };
    assert!(knows(&one, 80, &[6, 7]) && knows(&one, 81, &[8]));
    assert!(!knows(&one, 80, &[6, 8]) && !knows(&two, 80, &[7]) && !knows(&one, 82, &[7]));
    own.remember(&one, 80, 9);
    assert!(knows(&one, 80, &[9]) && !knows(&one, 80, &[7]));
    own.forget(&one);
    assert!(!knows(&one, 80, &[9]));
}
